#!/usr/bin/env bash
# Installs what building (and with the argument "test", testing) needs. Fast when everything is there.
# Sourced by the other scripts for ensure_setup; run directly by `make setup`.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$ROOT/scripts/packages.sh"
source "$ROOT/scripts/server.sh"
source "$ROOT/scripts/pgvector.sh"

# ensure_setup [test]: leaves PG_CONFIG, PG_MAJOR, PRIVATE_PG_CONFIG, PRIVATE_BIN and STAGE set.
ensure_setup() {
    mkdir -p "$CVX_CACHE" "$BUILD" "$LOGS" 2>/dev/null || die "cannot write to $CVX_CACHE or $BUILD." \
        "Set CVX_CACHE to a folder of yours; if build/ is another account's, remove it."
    check_rust
    want build-essential command -v cc
    want make command -v make
    want clang command -v clang
    want libclang-dev has_libclang
    want pkg-config command -v pkg-config
    want libssl-dev pkg-config --exists openssl
    want zlib1g-dev pkg-config --exists zlib
    [ "${1:-}" = test ] && want_test_packages
    install_missing
    choose_server
    # After the server's packages, which bring the account.
    [ "$(id -u)" != 0 ] || id "$(server_user)" >/dev/null 2>&1 ||
        die "PostgreSQL refuses to run as root and there is no account '$(server_user)' to run it." \
            "Create one, or name another with CVX_RUN_AS=account."
    choose_stage
    with_lock setup prepare_shared_tools "${1:-}"
    make_private_server
    ensure_pgvector
}

check_rust() {
    command -v cargo >/dev/null || die "Rust is missing." "Install Rust 1.88 or later with rustup, and run again."
    local version
    version=$(cargo --version | cut -d' ' -f2)
    at_least "$version" 1.88 || die "Rust $version is too old; 1.88 or later is needed." "Try: rustup update stable"
}

want_test_packages() {
    want python3 find_python
    want python3-venv python_has_venv
    want openssl command -v openssl
    # Not every distribution has it: without it the tests say that they leave that part out.
    command -v sqlsmith >/dev/null || have_package_lists || apt_update sqlsmith
    if ! command -v sqlsmith >/dev/null && apt-cache show sqlsmith >/dev/null 2>&1; then MISSING+=(sqlsmith); fi
}

find_python() {
    local python
    for python in python3 /usr/bin/python3; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
            "$python" -c 'import ensurepip, venv' 2>/dev/null && printf '%s\n' "$python" && return
    done
    return 1
}

python_has_venv() { [ -x "$VENV/bin/python" ] || find_python; }

has_cargo_pgrx() {
    [ "$("$TOOLS/bin/cargo-pgrx" pgrx --version 2>/dev/null)" = "cargo-pgrx $CARGO_PGRX_VERSION" ]
}

prepare_shared_tools() {
    if ! has_cargo_pgrx; then
        step cargo-pgrx "Building cargo-pgrx $CARGO_PGRX_VERSION (once; 4 to 7 minutes on two cores)" \
            cargo install --locked cargo-pgrx --version "$CARGO_PGRX_VERSION" --root "$TOOLS" ||
            die "cargo-pgrx could not be built." "Is the crates registry reachable from here?"
    fi
    configure_pgrx
    if [ "${1:-}" = test ]; then ensure_venv; fi
}

# pgrx reads the server's headers through this file. It is a dependency of the build: rewritten only on change.
configure_pgrx() {
    local config=$PGRX_HOME/config.toml wanted
    mkdir -p "$PGRX_HOME"
    wanted=$(printf '[configs]\n' &&
        { sed -n '/^pg[0-9]* = /p' "$config" 2>/dev/null | grep -v "^pg$PG_MAJOR = " || true; } &&
        printf 'pg%s = "%s"\n' "$PG_MAJOR" "$PG_CONFIG")
    [ "$(cat "$config" 2>/dev/null)" = "$wanted" ] || printf '%s\n' "$wanted" >"$config"
}

ensure_venv() {
    local requirements=$ROOT/pg_test/py/requirements.txt
    cmp -s "$requirements" "$VENV/.installed" && return
    step python "Installing the tests' Python packages into $VENV" make_venv "$requirements" ||
        die "the Python packages could not be installed." "Is the Python package index reachable from here?"
}

make_venv() {
    [ -x "$VENV/bin/python" ] || "$(find_python)" -m venv "$VENV" || return
    "$VENV/bin/python" -m pip install --disable-pip-version-check --only-binary :all: -r "$1" || return
    cp "$1" "$VENV/.installed"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    ensure_setup test
    say "Ready: PostgreSQL $PG_MAJOR ($PG_CONFIG), pgvector $(pgvector_version "$PRIVATE_PG_CONFIG")," \
        "cargo-pgrx $CARGO_PGRX_VERSION, Python packages in $VENV"
fi
