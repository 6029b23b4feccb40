# shellcheck shell=bash
# Installs a Debian package when a program is missing; sourced by the lab's scripts, not run.

# need PROGRAM PACKAGE...: makes sure that PROGRAM is there. What was installed is said, and noted in $LAB_INSTALLED if set.
need() {
    local program=$1
    shift
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null && return 0
    echo "installing Debian package(s) $*: $program is missing" >&2
    apt_get install -y -qq --no-install-recommends "$@" >/dev/null
    if [ -n "${LAB_INSTALLED-}" ]; then echo "$*" >>"$LAB_INSTALLED"; fi
}

# apt-get that waits for other users of dpkg's lock and tries three times, refreshing the lists between the tries.
apt_get() {
    local try
    for try in 1 2 3; do
        if DEBIAN_FRONTEND=noninteractive timeout 900 apt-get -o DPkg::Lock::Timeout=300 "$@"; then
            return 0
        fi
        [ "$try" = 3 ] || sleep $((try * 5))
        timeout 300 apt-get -o DPkg::Lock::Timeout=300 update -qq || true
    done
    return 1
}
