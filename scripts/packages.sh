# System packages: source it after lib.sh. What is already there is left alone.

MISSING=()

# want PACKAGE COMMAND...: PACKAGE is needed unless COMMAND succeeds.
want() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || MISSING+=("$package")
}

has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] || [[ "$(ldconfig -p 2>/dev/null)" == *libclang[-.][0-9s]* ]] ||
        compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@"
}

# Refreshes the package lists once a run, and only when something has to be installed or looked up.
apt_update() {
    [ -n "${APT_UPDATED:-}" ] && return
    check_apt "$@"
    step apt-update "Refreshing the list of system packages" apt_get update ||
        die "apt-get update failed." "Check the network and the apt sources of this machine, and run again."
    APT_UPDATED=1
}

# Container images come without lists, and then no package seems to exist.
have_package_lists() {
    ! command -v apt-get >/dev/null || compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null
}

check_apt() {
    command -v apt-get >/dev/null || die "this machine lacks: $*" \
        "Only Debian and Ubuntu are set up automatically. Install the above (or what your system calls them)," \
        "name the server with PG_CONFIG=/path/to/pg_config, and run again."
    [ "$(id -u)" = 0 ] && return
    command -v sudo >/dev/null || die "system packages are missing and neither root nor sudo is at hand." \
        "Have an administrator run:  apt-get install $*" "and run again."
    sudo -v || die "sudo was refused; the packages needed are: $*"
}

# Debian's postgresql-NN package creates and starts a cluster "main". A demo has no business doing that: the setting
# that governs it is off while the package is installed, and put back as it was afterwards.
install_without_cluster() {
    local conf=/etc/postgresql-common/createcluster.conf rc=0
    apt_get install --no-install-recommends postgresql-common || return
    as_root cp -a "$conf" "$conf.cvx-saved" || return
    as_root sed -i '$a create_main_cluster = false' "$conf"
    apt_get install --no-install-recommends "$@" || rc=$?
    as_root mv -f "$conf.cvx-saved" "$conf"
    return "$rc"
}

# Installs what MISSING names.
install_missing() {
    [ "${#MISSING[@]}" -gt 0 ] || return 0
    apt_update "${MISSING[@]}"
    local installer=(apt_get install --no-install-recommends)
    case " ${MISSING[*]} " in *" postgresql-1"[0-9]" "*) installer=(install_without_cluster) ;; esac
    step "apt-install" "Installing system packages: ${MISSING[*]}" "${installer[@]}" "${MISSING[@]}" ||
        die "the packages could not be installed." "Try by hand:  apt-get install ${MISSING[*]}"
    MISSING=()
}
