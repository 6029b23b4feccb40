#!/usr/bin/env bash
# A real single-node Ceph cluster on loopback for the lab; not for anything that must survive.
#
#   ceph.sh up DIR PORT [OSD_GIB]   starts a cluster whose whole state is below DIR; PORT and PORT+1 are its monitor's
#   ceph.sh down DIR                ends its daemons by their ids and removes DIR
#
# Several clusters run side by side when DIR and PORT differ. The cluster has one monitor, one manager and one OSD with
# one file of OSD_GIB (default 8) that grows as it is written. Pools: rbd (with the namespace ns1), ssd-rbd, 2tb, my.pool,
# and data-only for use as a data-pool. PVE's users have an erasure-coded pool there; that needs three OSDs, so here it is
# a replicated one: to rbd and its clients a data-pool is the same thing either way.
# Files that others read: DIR/ceph.conf, DIR/keyring (client.admin), DIR/fsid, DIR/port.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lab/packages.sh
. "$here/packages.sh"

main() {
    case "${1-}" in
    up) up "${2:?DIR is missing}" "${3:?PORT is missing}" "${4:-8}" ;;
    down) down "${2:?DIR is missing}" ;;
    *)
        echo "usage: ceph.sh up DIR PORT [OSD_GIB] | down DIR" >&2
        exit 2
        ;;
    esac
}

up() {
    local dir=$1 port=$2 gib=$3
    if [ -f "$dir/ceph.conf" ] && timeout 10 ceph -c "$dir/ceph.conf" health >/dev/null 2>&1; then
        return 0
    fi
    need ceph-mon ceph-mon
    need ceph-osd ceph-osd
    need ceph-mgr ceph-mgr
    need rbd ceph-common
    down "$dir"
    mkdir -p "$dir"/{mon,mgr,osd,run,log}
    dir=$(cd "$dir" && pwd)
    write_configuration "$dir" "$port" "$gib"
    start_monitor "$dir" "$port"
    start_manager "$dir"
    start_osd "$dir"
    make_pools "$dir"
    wait_healthy "$dir"
}

write_configuration() {
    local dir=$1 port=$2 gib=$3 fsid
    fsid=$(cat /proc/sys/kernel/random/uuid)
    echo "$fsid" >"$dir/fsid"
    echo "$port" >"$dir/port"
    cat >"$dir/ceph.conf" <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$port,v1:127.0.0.1:$((port + 1))]
keyring = $dir/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon allow pool delete = true
mon warn on pool no redundancy = false
# Short rounds of the monitor: otherwise every pool and every second snapshot waits a second.
paxos propose interval = .1
paxos min wait = .01
mon data avail warn = 1
mon data avail crit = 0
mon max pg per osd = 1000
auth allow insecure global id reclaim = false
mgr initial modules =
run dir = $dir/run
log file = $dir/log/\$name.log
admin socket = $dir/run/\$name.asok
pid file = $dir/run/\$name.pid
mon data = $dir/mon
mgr data = $dir/mgr
osd data = $dir/osd
crash dir = $dir/run
bluestore block size = $((gib * 1024 * 1024 * 1024))
osd memory target = 939524096
osd op num threads per shard hdd = 2
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1

[osd]
keyring = $dir/osd/keyring

[mgr]
keyring = $dir/mgr/keyring

[client]
admin socket = $dir/run/\$cluster-\$type.\$id.\$pid.asok
log file = /dev/null
CONF
}

# Runs the ceph tool against the cluster in $1, never for longer than a minute.
ask() {
    local dir=$1
    shift
    timeout -k 3 60 ceph -c "$dir/ceph.conf" "$@"
}

start_monitor() {
    local dir=$1 port=$2
    ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
    ceph-authtool "$dir/keyring" --gen-key -n client.admin \
        --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' >/dev/null
    monmaptool --create --fsid "$(cat "$dir/fsid")" \
        --addv a "[v2:127.0.0.1:$port,v1:127.0.0.1:$((port + 1))]" "$dir/monmap" >/dev/null
    timeout 60 ceph-mon -c "$dir/ceph.conf" --mkfs -i a --monmap "$dir/monmap" --keyring "$dir/keyring"
    timeout 60 ceph-mon -c "$dir/ceph.conf" -i a
}

start_manager() {
    local dir=$1
    ask "$dir" auth get-or-create mgr.x mon 'allow profile mgr' osd 'allow *' >"$dir/mgr/keyring"
    timeout 60 ceph-mgr -c "$dir/ceph.conf" -i x
}

start_osd() {
    local dir=$1 uuid secret
    uuid=$(cat /proc/sys/kernel/random/uuid)
    secret=$(ceph-authtool --gen-print-key)
    echo "{\"cephx_secret\": \"$secret\"}" | ask "$dir" osd new "$uuid" -i - >/dev/null
    ceph-authtool --create-keyring "$dir/osd/keyring" --name osd.0 --add-key "$secret" >/dev/null
    timeout 60 ceph-osd -c "$dir/ceph.conf" -i 0 --mkfs --osd-uuid "$uuid" 2>/dev/null
    timeout 60 ceph-osd -c "$dir/ceph.conf" -i 0 2>/dev/null
}

# All commands go to one ceph process: starting that Python program costs more than what it asks.
make_pools() {
    local dir=$1 pool
    for pool in rbd ssd-rbd 2tb my.pool data-only; do
        echo "osd pool create $pool 8 8"
        echo "osd pool application enable $pool rbd"
    done | ask "$dir" >/dev/null 2>&1
    timeout 60 rbd -c "$dir/ceph.conf" namespace create rbd/ns1
}

wait_healthy() {
    local dir=$1 end=$((SECONDS + 60))
    until [ "$(ask "$dir" health 2>/dev/null)" = HEALTH_OK ]; do
        if [ $SECONDS -ge $end ]; then
            ask "$dir" health detail >&2
            return 1
        fi
        sleep 0.3
    done
}

# Ends the daemons whose pid files lie in $1/run: kindly, then by force after 5 seconds.
down() {
    local dir=$1 file pid end
    for file in "$dir"/run/*.pid; do
        [ -s "$file" ] || continue
        pid=$(cat "$file")
        is_daemon_of "$pid" "$dir" || continue
        kill -CONT "$pid" 2>/dev/null || true
        kill "$pid" 2>/dev/null || true
        end=$((SECONDS + 5))
        while kill -0 "$pid" 2>/dev/null && [ $SECONDS -lt $end ]; do sleep 0.1; done
        kill -9 "$pid" 2>/dev/null || true
    done
    rm -rf "$dir"
}

# A pid file may be older than the process that has its number now: only a Ceph daemon of this directory is ended.
is_daemon_of() {
    tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -qF -- "$2/ceph.conf"
}

main "$@"
