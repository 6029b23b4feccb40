# shellcheck shell=bash
# What run, demo and bench do before and after they enter the lab's namespaces; sourced by them, not run.
# They set LAB_SOURCE (this directory) and LAB (the lab's directory).

# shellcheck source=tests/lab/packages.sh
. "$LAB_SOURCE/packages.sh"

install_packages() {
    need ceph-mon ceph-mon
    need ceph-mgr ceph-mgr
    need ceph-osd ceph-osd
    need rbd ceph-common
    need jq jq
    need zstd zstd
    need faketime faketime
    need sshd openssh-server
    need ssh openssh-client
    need ip iproute2
    need cron cron
    /usr/bin/python3 -c 'import rbd, rados' 2>/dev/null || need this-is-missing python3-rbd python3-rados
}

# build PROFILE: sets FERRY to the program of the profile debug or release, unless PVE_FERRY_BIN names one.
build() {
    local root options=()
    root=$(cd "$LAB_SOURCE/../.." && pwd)
    if [ -z "${PVE_FERRY_BIN-}" ]; then
        [ "$1" = debug ] || options=(--release)
        (cd "$root" && cargo build --locked --quiet --bin pve-ferry "${options[@]}")
        PVE_FERRY_BIN=${CARGO_TARGET_DIR:-$root/target}/$1/pve-ferry
    fi
    FERRY=$(realpath "$PVE_FERRY_BIN")
    export FERRY
}

# One lab at a time in one directory; a directory that is not a lab is never touched.
claim_directory() {
    if [ -e "$LAB" ] && [ ! -e "$LAB/.pve-ferry-lab" ]; then
        echo "$LAB exists and is not a lab" >&2
        exit 2
    fi
    mkdir -p "$LAB"
    : >"$LAB/.pve-ferry-lab"
    exec 9>"$LAB/.pve-ferry-lab"
    if ! flock -n 9; then
        echo "another lab is running in $LAB" >&2
        exit 2
    fi
    trap 'rm -rf "$LAB"' EXIT
    find "$LAB" -mindepth 1 -maxdepth 1 ! -name .pve-ferry-lab -exec rm -rf {} +
}

# bring_up one|two: the clusters and nodes, inside the namespaces. With `one` there is no cluster B and no second node.
bring_up() {
    local a b
    if [ "$1" = one ]; then
        "$LAB_SOURCE/ceph.sh" up "$LAB/a" 7310 "${LAB_OSD_GIB-8}"
        "$LAB_SOURCE/node.sh" make "$LAB/node" "$LAB/a"
        return
    fi
    "$LAB_SOURCE/ceph.sh" up "$LAB/a" 7310 "${LAB_OSD_GIB-8}" &
    a=$!
    "$LAB_SOURCE/ceph.sh" up "$LAB/b" 7320 4 &
    b=$!
    wait $a
    wait $b
    "$LAB_SOURCE/node.sh" make "$LAB/node" "$LAB/a" "$LAB/b"
    "$LAB_SOURCE/ssh.sh" up "$LAB/node"
}
