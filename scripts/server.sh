# Which PostgreSQL to use, and a private copy of it: source after lib.sh and packages.sh.
#
# The machine's own server is never written to by the demo or the tests. PostgreSQL's programs find their libraries
# and extensions relative to where they stand, so a copy of the few folders that matter (50 MB) is a complete server
# in which cvx and pgvector can be installed without root and thrown away with the build folder.

major_of() { "$1" --version | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p'; }

is_supported() { [[ " $SUPPORTED_MAJORS " == *" $1 "* ]]; }

# A server that extensions can be built for: the programs and the headers.
is_complete() {
    [ -x "$1" ] && is_supported "$(major_of "$1")" && [ -x "$("$1" --bindir)/postgres" ] &&
        [ -f "$("$1" --includedir-server)/postgres.h" ]
}

# The newest complete server of this machine, Debian's folders first.
find_server() {
    local major candidate
    for major in $SUPPORTED_MAJORS; do
        candidate=/usr/lib/postgresql/$major/bin/pg_config
        is_complete "$candidate" && printf '%s\n' "$candidate" && return
    done
    candidate=$(command -v pg_config) && is_complete "$candidate" && printf '%s\n' "$candidate"
}

# Which major's packages to install: one whose server is there already and only lacks its headers, else apt's newest.
major_to_install() {
    local major
    for major in $SUPPORTED_MAJORS; do
        [ -x "/usr/lib/postgresql/$major/bin/postgres" ] && printf '%s\n' "$major" && return
    done
    for major in $SUPPORTED_MAJORS; do
        [[ "$(apt-cache policy "postgresql-server-dev-$major" 2>/dev/null)" == *"Candidate: "[0-9]* ]] &&
            printf '%s\n' "$major" && return
    done
    return 1
}

# Sets PG_CONFIG and PG_MAJOR; installs PostgreSQL when the machine has none that will do.
choose_server() {
    if [ -n "${PG_CONFIG:-}" ]; then
        command -v "$PG_CONFIG" >/dev/null || die "PG_CONFIG=$PG_CONFIG is not a program."
        PG_CONFIG=$(command -v "$PG_CONFIG")
        is_complete "$PG_CONFIG" || die "PG_CONFIG=$PG_CONFIG does not name a PostgreSQL 15 to 18 with its headers." \
            "Install the server's development package (postgresql-server-dev-NN), or name another pg_config."
    elif ! PG_CONFIG=$(find_server); then
        apt_update postgresql-NN postgresql-server-dev-NN
        local major
        major=$(major_to_install) || die "neither this machine nor its package sources have PostgreSQL 15 to 18." \
            "Install one with its development package and run again with PG_CONFIG=/path/to/pg_config."
        want "postgresql-$major" test -x "/usr/lib/postgresql/$major/bin/postgres"
        want "postgresql-server-dev-$major" test -f "/usr/include/postgresql/$major/server/postgres.h"
        install_missing
        PG_CONFIG=/usr/lib/postgresql/$major/bin/pg_config
        is_complete "$PG_CONFIG" || die "PostgreSQL $major was installed, but $PG_CONFIG does not work."
    fi
    PG_MAJOR=$(major_of "$PG_CONFIG")
    export PG_CONFIG
}

# Copies the server to $STAGE/server/pgNN when it is not there or the machine's was updated since.
# Sets PRIVATE_PG_CONFIG and PRIVATE_BIN.
make_private_server() {
    local prefix=$STAGE/server/pg$PG_MAJOR bin mark
    bin=$("$PG_CONFIG" --bindir)
    mark="with headers and vacuumdb: $PG_CONFIG $("$PG_CONFIG" --version) $(stat -c %Y "$bin/postgres")"
    PRIVATE_BIN=$prefix$bin
    PRIVATE_PG_CONFIG=$PRIVATE_BIN/pg_config
    [ "$(cat "$prefix/.copied" 2>/dev/null)" = "$mark" ] && return
    step private-server "Copying PostgreSQL $PG_MAJOR to a private folder, $prefix" copy_server "$prefix" ||
        die "the server could not be copied." "Is there room for 60 MB in $STAGE?"
    printf '%s\n' "$mark" >"$prefix/.copied"
}

copy_server() {
    local prefix=$1 bin dir program
    rm -rf "$prefix"
    bin=$("$PG_CONFIG" --bindir)
    mkdir -p "$prefix$bin" || return
    for program in "$bin"/{postgres,initdb,psql,pg_*,pgbench,createdb,dropdb,vacuumdb}; do
        if [ -e "$program" ]; then cp -L "$program" "$prefix$bin/" || return; fi
    done
    # The headers too, by copy: extensions install some of their own among them.
    for dir in "$("$PG_CONFIG" --pkglibdir)" "$("$PG_CONFIG" --sharedir)" "$("$PG_CONFIG" --includedir-server)"; do
        mkdir -p "$prefix$dir" && cp -a "$dir/." "$prefix$dir/" || return
    done
    rm -f "$prefix$("$PG_CONFIG" --sharedir)"/extension/cvx* "$prefix$("$PG_CONFIG" --pkglibdir)"/cvx*.so
    local what
    for what in sharedir pkglibdir includedir-server; do
        if [ "$("$prefix$bin/pg_config" "--$what")" != "$prefix$("$PG_CONFIG" "--$what")" ]; then
            printf '%s\n' "$prefix$bin/pg_config --$what points to $("$prefix$bin/pg_config" "--$what")"
            return 1
        fi
    done
}
