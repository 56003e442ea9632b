#!/usr/bin/env bash
# Stops this checkout's throwaway servers and removes build/; with --cache also the cache of tools and builds.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

stop_servers() { # STAGE
    local pidfile pid
    for pidfile in "$1"/*/data/postmaster.pid; do
        [ -f "$pidfile" ] || continue
        pid=$(head -n 1 "$pidfile")
        # Only a server that runs in that very folder: the number may be another process's by now.
        if [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$(dirname "$pidfile")" ]; then kill -QUIT "$pid"; fi
    done
}

OTHER_STAGE=$CVX_CACHE/stage/$(printf '%s' "$ROOT" | sha256sum | cut -c1-12)
stop_servers "$BUILD"
stop_servers "$OTHER_STAGE"
rm -rf "$BUILD" "$OTHER_STAGE"
say "Removed $BUILD"
if [ "${1:-}" = --cache ]; then
    rm -rf "$CVX_CACHE"
    say "Removed $CVX_CACHE"
fi
