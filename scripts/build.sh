#!/usr/bin/env bash
# Builds cvx and installs it into the private server; with --install, into the server of PG_CONFIG.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

cargo_pgrx_install() { (cd "$ROOT" && cargo pgrx install --release "$@"); }

# ensure_setup has to have run.
build_extension() {
    with_lock build step build "Building cvx for PostgreSQL $PG_MAJOR (minutes the first time, then seconds)" \
        cargo_pgrx_install --pg-config "$PRIVATE_PG_CONFIG" ||
        die "cvx did not build." "The compiler's message stands above."
}

# The flags with which cargo-pgrx builds: the same ones let both share what is compiled.
readonly PGRX_FLAGS='target."cfg(all(target_family = \"unix\", not(target_os = \"macos\")))".rustflags=["-C", "link-arg=-Wl,--no-gc-sections"]'

# The features of cvx-sources that the extension is built with.
readonly CONNECTORS=cvx-sources/kafka,cvx-sources/postgres,cvx-sources/s3

# What the tests run beside the server: a Kafka broker, for benches too, and README.md's listener in Rust.
build_peers() {
    with_lock build step peers "Building the Kafka broker of the tests, and a listener" cargo_peers ||
        die "what the tests run beside the server did not build." "The compiler's message stands above."
    CVX_KAFKA_MOCK=$CARGO_TARGET_DIR/release/examples/kafka_mock
    CVX_LISTEN_ALERTS=$CARGO_TARGET_DIR/release/examples/listen_alerts
    export CVX_KAFKA_MOCK CVX_LISTEN_ALERTS
}

cargo_peers() {
    cd "$ROOT" && cargo --config "$PGRX_FLAGS" build --release -p cvx-sources --features "$CONNECTORS" \
        --example kafka_mock --example listen_alerts
}

# Installs into the machine's server, with sudo where its folders are not ours to write.
install_extension() {
    local target=("--pg-config" "$PG_CONFIG")
    if [ ! -w "$("$PG_CONFIG" --pkglibdir)" ]; then
        command -v sudo >/dev/null || die "$("$PG_CONFIG" --pkglibdir) is not writable, and sudo is not here." \
            "Run make install as root."
        sudo -v || die "sudo was refused."
        target+=("--sudo")
    fi
    with_lock build step install "Installing cvx into $("$PG_CONFIG" --pkglibdir)" cargo_pgrx_install "${target[@]}" ||
        die "cvx could not be installed."
    [ -n "$(pgvector_version "$PG_CONFIG")" ] ||
        note "that server has no pgvector yet: $(pgvector_advice)"
    say "Installed. In the database:  CREATE EXTENSION cvx CASCADE;"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    ensure_setup
    if [ "${1:-}" = --install ]; then install_extension; else build_extension; fi
fi
