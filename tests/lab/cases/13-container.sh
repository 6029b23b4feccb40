#!/usr/bin/env bash
# F 13: a container's rootfs and the mount points with backup=1 are saved; the others are named.
. "$LAB_SOURCE/lib.sh"
begin_case

ct 200 <<'CONF'
mp0: ceph:vm-200-disk-1,mp=/srv/data,backup=1,size=16M
mp1: ceph:vm-200-disk-2,mp=/srv/scratch,size=16M
mp2: /mnt/host,mp=/srv/host
rootfs: ceph:vm-200-disk-0,size=16M
unprivileged: 1
CONF
for n in 0 1 2; do
    make_volume ceph:vm-200-disk-$n 16M
    change ceph:vm-200-disk-$n 16M "random:1M:1M:$n"
done
mkdir -p "$STATE/200"
: >"$STATE/200/running"
backup 200 --json
check "F13 the backup works" exits 0
check "F13 mp1 is skipped and said so" json_is '[.guests[0].skipped[] | select(.disk == "mp1")] | length' 1
"$FERRY" list --path "$REPO" --json >"$OUT"
check "F13 rootfs and mp0 are saved" json_is '[.restore_points[0].images[].disk] | sort | join(" ")' "mp0 rootfs"
check "F13 it is a container" json_is '.restore_points[0].kind' lxc
change ceph:vm-200-disk-0 16M random:4M:1M:x
backup 200
check "F13 an increment" same "$(newest 200 '.images | map(.kind) | unique | join(",")')" increment
ferry restore --path "$REPO" --vmid 200 --target-vmid 201
check "F13 it comes back" exits 0
check "F13 as a container" test -f "$(ct_conf_of 201)"
check "F13 rootfs is bit-identical" same "$(sha_of "$(volume_of 201 rootfs)")" "$(sha_of ceph:vm-200-disk-0)"
check "F13 mp0 is bit-identical" same "$(sha_of "$(volume_of 201 mp0)")" "$(sha_of ceph:vm-200-disk-1)"
check "F13 the skipped mount point's volume is not shared with the old container" \
    not grep -E '^mp1: *ceph:vm-200-disk-2' "$(ct_conf_of 201)"
check "F13, D26 qm was never asked about a container" not grep -E ' qm (rescan|disk|start|status) ?(200|201)?$' "$STATE/log"
