# pgvector in the private server: source after server.sh.

readonly PGVECTOR_NEEDED=0.7
readonly PGVECTOR_VERSION=0.8.0
readonly PGVECTOR_SHA256=867a2c328d4928a5a9d6f052cd3bc78c7d60228a9b914ad32aa3db88e9de27b0

# at_least VERSION MINIMUM
at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

pgvector_version() { # PG_CONFIG
    sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" "$("$1" --sharedir)/extension/vector.control" 2>/dev/null || true
}

# Puts pgvector into the server of PRIVATE_PG_CONFIG, from the first of: the copy that came with the server,
# PGVECTOR_SRC, the distribution's package for this major, the distribution's source.
ensure_pgvector() {
    local version
    version=$(pgvector_version "$PRIVATE_PG_CONFIG")
    if [ -n "$version" ] && at_least "$version" "$PGVECTOR_NEEDED"; then return; fi

    if [ -n "${PGVECTOR_SRC:-}" ]; then
        [ -f "$PGVECTOR_SRC/vector.control" ] || die "PGVECTOR_SRC=$PGVECTOR_SRC holds no pgvector source."
        step pgvector "Building pgvector from $PGVECTOR_SRC" build_pgvector "$PGVECTOR_SRC" ||
            pgvector_failed "pgvector in $PGVECTOR_SRC does not build against $PG_CONFIG."
    elif package_has_pgvector; then
        step pgvector "Unpacking postgresql-$PG_MAJOR-pgvector into the private server" unpack_pgvector_package ||
            pgvector_failed "the package postgresql-$PG_MAJOR-pgvector could not be unpacked."
    else
        step pgvector "Building pgvector $PGVECTOR_VERSION from the distribution's source" fetch_and_build_pgvector ||
            pgvector_failed "pgvector could not be had from the distribution's source: see above."
    fi
    version=$(pgvector_version "$PRIVATE_PG_CONFIG")
    at_least "${version:-0}" "$PGVECTOR_NEEDED" ||
        die "pgvector is at ${version:-no version}, and $PGVECTOR_NEEDED is needed." "$(pgvector_advice)"
}

# Half an installation must not pass for a whole one the next time.
pgvector_failed() {
    rm -f "$("$PRIVATE_PG_CONFIG" --sharedir)/extension/vector.control"
    die "$1" "$(pgvector_advice)"
}

pgvector_advice() {
    printf '%s' "Install pgvector $PGVECTOR_NEEDED or later for PostgreSQL $PG_MAJOR, or unpack its source and name" \
        " the folder with PGVECTOR_SRC=/path/to/pgvector; then run again."
}

package_has_pgvector() {
    local candidate
    command -v apt-get >/dev/null || return
    candidate=$(apt-cache policy "postgresql-$PG_MAJOR-pgvector" 2>/dev/null | sed -n 's/^ *Candidate: //p')
    [[ "$candidate" == [0-9]* ]] && at_least "$candidate" "$PGVECTOR_NEEDED"
}

unpack_pgvector_package() {
    local work dir
    work=$(mktemp -d) || return
    (cd "$work" && apt-get download "postgresql-$PG_MAJOR-pgvector" && dpkg -x ./*.deb files) || return
    for dir in "$("$PG_CONFIG" --pkglibdir)" "$("$PG_CONFIG" --sharedir)"; do
        cp -a "$work/files$dir/." "${PRIVATE_BIN%"$("$PG_CONFIG" --bindir)"}$dir/" || return
    done
    rm -rf "$work"
}

# OPTFLAGS= : no -march=native, so that a cache made on one machine runs on another.
build_pgvector() {
    local work
    work=$(mktemp -d) || return
    cp -r "$1/." "$work/" && make -C "$work" -j2 OPTFLAGS= with_llvm=no PG_CONFIG="$PRIVATE_PG_CONFIG" all &&
        make -C "$work" OPTFLAGS= with_llvm=no PG_CONFIG="$PRIVATE_PG_CONFIG" install || return
    rm -rf "$work"
}

# The distribution's pool keeps the source even where no package is made of it (Debian 12). The mirrors come from
# this machine's apt configuration; apt's own helper downloads, through its proxy settings, and checks the hash.
fetch_and_build_pgvector() {
    local tarball=$CVX_CACHE/pgvector-$PGVECTOR_VERSION.tar.gz work
    if ! printf '%s  %s\n' "$PGVECTOR_SHA256" "$tarball" | sha256sum --check --status 2>/dev/null; then
        download_pgvector "$tarball" || return
    fi
    work=$(mktemp -d) || return
    tar -xzf "$tarball" -C "$work" --strip-components=1 && build_pgvector "$work" || return
    rm -rf "$work"
}

download_pgvector() {
    local mirror component
    [ -x /usr/lib/apt/apt-helper ] || { echo "apt-helper is missing"; return 1; }
    for mirror in $(apt-get indextargets --format '$(SITE)' 2>/dev/null | sort -u); do
        for component in main universe; do
            /usr/lib/apt/apt-helper download-file \
                "$mirror/pool/$component/p/pgvector/pgvector_$PGVECTOR_VERSION.orig.tar.gz" \
                "$1" "SHA256:$PGVECTOR_SHA256" && return
            rm -f "$1"
        done
    done
    echo "none of this machine's apt mirrors has the source of pgvector $PGVECTOR_VERSION"
    return 1
}
