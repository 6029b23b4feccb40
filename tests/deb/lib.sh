# shellcheck shell=bash
# What the tests of the package share: counting, the package itself, a clean Debian. Sourced with ROOT set, not run.

CACHE=${PVE_FERRY_CACHE:-/var/cache/pve-ferry-tests}
WORK=$(mktemp -d)
CLEAN=$WORK/root
FAILED=0
PASSED=0
# shellcheck source=tests/lab/packages.sh
. "$ROOT/tests/lab/packages.sh"

check() {
    local what=$1
    shift
    if "$@"; then
        PASSED=$((PASSED + 1)) && echo "ok     $what"
    else
        FAILED=$((FAILED + 1)) && echo "FAILED $what: $*" >&2
    fi
}

not() { ! "$@"; }

# packed PATH: the package holds it, as it stands in its list.
packed() { dpkg-deb --contents "$PVE_FERRY_DEB" | grep -F -- " $1" >/dev/null; }

build() {
    need debootstrap debootstrap
    if [ -z "${PVE_FERRY_DEB-}" ]; then
        need dh debhelper
        need dpkg-buildpackage dpkg-dev
        need fakeroot fakeroot
        make -C "$ROOT" deb >"$WORK/build" 2>&1 || { tail -30 "$WORK/build" >&2 && exit 1; }
        PVE_FERRY_DEB=$(echo "$ROOT"/target/deb/*.deb)
    fi
    echo "package: $(basename "$PVE_FERRY_DEB"), $(stat -c %s "$PVE_FERRY_DEB") bytes"
}

# clean_debian NAME PACKAGES: a Debian with these packages and nothing of ours. The key ring is that of this machine.
clean_debian() {
    local suite=${1%%-*} kept=$CACHE/$1.tar
    mkdir -p "$CLEAN"
    if [ ! -e "$kept" ]; then
        debootstrap --variant=minbase --include="$2" "$suite" "$CLEAN" >"$WORK/debootstrap" ||
            { tail -20 "$WORK/debootstrap" >&2 && exit 1; }
        # The cache is a convenience: where it cannot be kept, the next run makes its own.
        { mkdir -p "$CACHE" && tar -C "$CLEAN" -cf "$kept.$$" . && mv "$kept.$$" "$kept"; } || rm -f "$kept.$$"
        return
    fi
    tar -C "$CLEAN" -xf "$kept"
}
