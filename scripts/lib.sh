# Shared by the scripts of this folder: source it, do not run it.
# Sets ROOT, BUILD, STAGE, CVX_CACHE and friends, and offers the helpers below.

set -euo pipefail
umask 022 # the server's account has to read what root builds

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
BUILD=$ROOT/build
LOGS=$BUILD/log

readonly CARGO_PGRX_VERSION=0.18.1
readonly SUPPORTED_MAJORS="18 17 16 15"

# A user's PGHOST, PGDATABASE, PGSERVICE... must not point the demo or a test at a real database.
for name in $(compgen -e); do
    case $name in
        PG_CONFIG | PGVECTOR_SRC | PGRX_HOME) ;;
        PG*) unset "$name" ;;
    esac
done
# pgrx adds a backtrace to the DETAIL of errors when this is set; nobody reading a demo wants it.
unset RUST_BACKTRACE
export LC_ALL=C.UTF-8 PSQLRC=/dev/null CARGO_TERM_COLOR=never NO_COLOR=1

if [ "$(id -u)" = 0 ]; then
    CVX_CACHE=${CVX_CACHE:-/var/cache/cvx}
else
    CVX_CACHE=${CVX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cvx}
fi
TOOLS=$CVX_CACHE/tools
VENV=$CVX_CACHE/venv
export CVX_CACHE PGRX_HOME=$CVX_CACHE/pgrx
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CVX_CACHE/target}
export PATH=$TOOLS/bin:$PATH:$HOME/.cargo/bin

say() { printf '%s\n' "==> $*"; }
note() { printf '%s\n' "    $*"; }

# die MESSAGE [WHAT TO DO]...
die() {
    printf '\n%s\n' "cvx: $1" >&2
    shift
    for line in "$@"; do printf '%s\n' "     $line" >&2; done
    exit 1
}

# step LOGNAME "What is done" COMMAND...: runs COMMAND with its output in build/log/LOGNAME.log, says every
# 20 seconds that it is still at work and on what, and shows the log's end when it fails. Returns its status.
step() {
    local log=$LOGS/$1.log text=$2 start=$SECONDS ticker rc=0
    shift 2
    mkdir -p "$LOGS"
    say "$text"
    : >"$log"
    keep_saying "$log" >&2 &
    ticker=$!
    (set -e; "$@") >"$log" 2>&1 </dev/null || rc=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    if [ "$rc" = 0 ]; then
        note "done in $((SECONDS - start)) s"
    else
        printf '\n' >&2
        tail -n 40 "$log" | sed 's/^/    | /' >&2
        printf '\n%s\n' "    failed after $((SECONDS - start)) s; the whole log: $log" >&2
    fi
    return "$rc"
}

# The other half of step: ends when it is told to, or when the script is gone.
keep_saying() { # LOG
    local start=$SECONDS nap=
    trap 'kill "$nap" 2>/dev/null; exit' TERM
    while kill -0 "$$" 2>/dev/null; do
        sleep 20 >/dev/null 2>&1 &
        nap=$!
        wait "$nap"
        note "still at it after $((SECONDS - start)) s: $(tail -n 1 "$1" | tr -d '\r' | cut -c1-90)"
    done
}

# The account that runs the server: PostgreSQL refuses root.
server_user() {
    if [ "$(id -u)" != 0 ]; then
        id -un
    else
        printf '%s\n' "${CVX_RUN_AS:-postgres}"
    fi
}

# as_server COMMAND...: run as that account, from a folder it can enter, without the caller's environment.
as_server() {
    if [ "$(id -u)" != 0 ]; then
        (cd / && env -u PGRX_HOME -u CARGO_TARGET_DIR "$@")
    else
        (cd / && runuser -u "$(server_user)" -- env -i PATH=/usr/bin:/bin LC_ALL="$LC_ALL" HOME=/ "$@")
    fi
}

# Where the private server and its cluster stand: build/, or the cache when the server's account cannot enter the
# checkout (root's home folder, a mktemp folder). Sets STAGE.
choose_stage() {
    mkdir -p "$BUILD"
    STAGE=$BUILD
    as_server test -x "$BUILD" 2>/dev/null && return
    STAGE=$CVX_CACHE/stage/$(printf '%s' "$ROOT" | sha256sum | cut -c1-12)
    mkdir -p "$STAGE"
    as_server test -x "$STAGE" || die "the account $(server_user) can enter neither $BUILD nor $STAGE." \
        "Set CVX_CACHE to a folder that every account can enter, and run again."
    note "the account $(server_user) cannot enter this checkout: server and cluster stand in $STAGE"
}

# readable_by_server FOLDER: prints FOLDER, or a copy of it under STAGE that the server's account can read.
readable_by_server() {
    local probe
    probe=$(find "$1" -type f -print -quit)
    if as_server test -r "$probe"; then
        printf '%s\n' "$1"
        return
    fi
    local copy
    copy=$STAGE/data/$(basename "$(dirname "$1")")-$(basename "$1")
    rm -rf "$copy"
    mkdir -p "$(dirname "$copy")"
    cp -r "$1" "$copy"
    printf '%s\n' "$copy"
}

# with_lock NAME COMMAND...: two checkouts or terminals share the cache; one at a time changes it.
with_lock() {
    local name=$1
    shift
    mkdir -p "$CVX_CACHE"
    (
        flock -n 9 || { note "waiting for another build that uses $CVX_CACHE"; flock 9; }
        "$@"
    ) 9>"$CVX_CACHE/.$name.lock"
}
