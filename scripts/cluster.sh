#!/usr/bin/env bash
# Throwaway clusters of the private server. Sourced for cluster_start and cluster_stop;
# run directly by `make cluster` (start one and leave it), `make cluster-stop` and `make psql`.
#
# A cluster listens on no TCP port, only on a socket in a folder of its own: it cannot collide with another.

source "$(dirname "${BASH_SOURCE[0]}")/build.sh"

# cluster_start NAME: a new cluster in $STAGE/NAME, whatever stood there before. Exports PGHOST, PGPORT, PGUSER,
# PGDATABASE and CVX_SERVER_LOG.
cluster_start() {
    CLUSTER=$STAGE/$1
    cluster_stop
    rm -rf "$CLUSTER"
    mkdir -p "$CLUSTER"
    [ "$(id -u)" != 0 ] || chown "$(server_user)" "$CLUSTER"
    chmod 755 "$CLUSTER"
    # Traversable, so that a log can be read: data and socket folders are closed by themselves.
    local socket=$CLUSTER/socket
    # A socket's address holds 107 bytes; the file in the folder takes 14 of them.
    if [ "${#socket}" -gt 92 ]; then socket=$(as_server mktemp -d /tmp/cvx.XXXXXX); else as_server mkdir -m 700 "$socket"; fi
    printf '%s\n' "$socket" >"$CLUSTER/socket-folder"
    step "cluster-$1" "Starting a throwaway PostgreSQL $PG_MAJOR in $CLUSTER" cluster_create "$socket" ||
        die "the cluster did not start." "Its log: $CLUSTER/log"
    cluster_env "$CLUSTER"
}

cluster_env() { # CLUSTER
    PGHOST=$(cat "$1/socket-folder")
    export PGHOST PGPORT=5432 PGUSER=postgres PGDATABASE=postgres CVX_SERVER_LOG=$1/log
    export PATH=$PRIVATE_BIN:$PATH
}

cluster_create() { # SOCKET_FOLDER
    as_server "$PRIVATE_BIN/initdb" --pgdata "$CLUSTER/data" --username postgres --auth trust --no-sync \
        --encoding UTF8 --locale C.UTF-8 || return
    # Nothing here survives the run: durability is only time lost.
    as_server tee -a "$CLUSTER/data/postgresql.conf" >/dev/null <<CONF || return
listen_addresses = ''
port = 5432
unix_socket_directories = '$1'
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = '256MB'
shared_preload_libraries = 'cvx'
max_wal_size = '4GB'
log_line_prefix = '%m [%p] %b %e '
log_statement = 'none'
timezone = 'UTC'
CONF
    (
        close_inherited_files
        # Asks for backtraces, so that the tests see that errors hold none all the same.
        as_server env RUST_BACKTRACE=1 \
            "$PRIVATE_BIN/pg_ctl" --pgdata "$CLUSTER/data" --log "$CLUSTER/log" --silent --wait start
    )
}

# A server outlives the command that starts it: it must not keep that command's files open, nor the locks on them
# (make cluster under flock would never let go).
close_inherited_files() {
    local fd
    for fd in /proc/"$BASHPID"/fd/*; do
        fd=${fd##*/}
        if [ "$fd" -gt 2 ]; then eval "exec $fd>&-"; fi
    done
}

# Stops the cluster named by CLUSTER, if it runs.
cluster_stop() {
    [ -n "${CLUSTER:-}" ] && [ -f "$CLUSTER/data/postmaster.pid" ] || return 0
    as_server "$PRIVATE_BIN/pg_ctl" --pgdata "$CLUSTER/data" --silent --mode immediate stop >/dev/null 2>&1 || true
    case $(cat "$CLUSTER/socket-folder" 2>/dev/null) in
        /tmp/cvx.*) rm -rf "$(cat "$CLUSTER/socket-folder")" ;;
    esac
}

cluster_main() {
    ensure_setup
    CLUSTER=$STAGE/dev
    case ${1:-} in
        start)
            build_extension
            cluster_start dev
            psql --quiet --set ON_ERROR_STOP=1 --command 'CREATE EXTENSION cvx CASCADE' ||
                die "CREATE EXTENSION failed." "The server's log: $CVX_SERVER_LOG"
            say "It runs, with cvx in the database postgres, until make cluster-stop. Connect with make psql, or:"
            note "$PRIVATE_BIN/psql -h $PGHOST -U postgres"
            note "log: $CVX_SERVER_LOG"
            ;;
        stop)
            cluster_stop
            say "Stopped."
            ;;
        psql)
            [ -f "$CLUSTER/data/postmaster.pid" ] || die "no cluster runs." "Start one with make cluster."
            cluster_env "$CLUSTER"
            exec env -u PSQLRC "$PRIVATE_BIN/psql"
            ;;
        *) die "usage: scripts/cluster.sh start|stop|psql" ;;
    esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then cluster_main "$@"; fi
