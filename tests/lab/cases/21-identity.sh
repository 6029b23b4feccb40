#!/usr/bin/env bash
# Two clusters into one directory, a vmid given to another guest, one label into two repositories: nothing is shared.
. "$LAB_SOURCE/lib.sh"
begin_case

simple_vm 100
backup 100
mine=$(sha_of ceph:vm-100-disk-0)
first=$(newest 100)

# Another cluster: its own /etc/pve (and so its own cluster id), its own Ceph, the same vmid, the same share.
other=$WORK/other-node
"$LAB_SOURCE/node.sh" make "$other" "$B" "$A"
sed 's/vm100/other100/' "$(conf_of 100)" | sed "s/$(uuid_for 100)/$(uuid_for 100 other)/" \
    >"$other/etc-pve/nodes/pve1/qemu-server/100.conf"
make_volume remote:vm-100-disk-0 32M
change remote:vm-100-disk-0 32M random:0:1M:other
next_second
RC=0
LAST="backup of the other cluster's guest 100"
(
    # shellcheck source=/dev/null
    . "$other/env"
    "$FERRY" backup --vmid 100 --label daily --path "$REPO"
) >"$OUT" 2>"$ERR" || RC=$?
check "two clusters into one directory: both are backed up" exits 0
check "two clusters into one directory: two directories" same "$(find "$REPO/pve-ferry" -mindepth 1 -maxdepth 1 -type d | wc -l)" 2
backup 100
check "two clusters into one directory: the first one goes on with its own chain" exits 0
kinds=$("$FERRY" list --path "$REPO" --json | jq -r '[.restore_points[] | [.cluster, .images[0].kind] | join("/")] | sort | join(" ")')
check "two clusters into one directory: two bases and one increment" same \
    "$(tr ' ' '\n' <<<"$kinds" | sed 's/.*\///' | sort | uniq -c | xargs)" "2 base 1 increment"
check "two clusters into one directory: a restore takes this cluster's" restored_equals 100 "$first" 900 scsi0 "$mine"

# The vmid was destroyed and given to another guest.
remove_guest 100
simple_vm 100
sed -i "s/$(uuid_for 100)/$(uuid_for 100 second-life)/; s/name: vm100/name: stranger/" "$(conf_of 100)"
change ceph:vm-100-disk-0 32M random:9M:2M:stranger
backup 100
check "a vmid given to another guest: the run works" exits 0
check "a vmid given to another guest: it begins with a base" same \
    "$("$FERRY" list --path "$REPO" --json | jq -r '[.restore_points[] | select(.name == "stranger") | .images[0].kind] | join(",")')" base
check "a vmid given to another guest: a directory of its own" same \
    "$(find "$REPO/pve-ferry" -mindepth 2 -maxdepth 2 -type d -name '100-*' | wc -l)" 3
check "a vmid given to another guest: the old guest's points are still listed" same \
    "$("$FERRY" list --path "$REPO" --json | jq -r '[.restore_points[] | select(.name == "vm100")] | length')" 2

# One label into two repositories: two chains, which do not touch each other's snapshots.
second=$WORK/second
mkdir "$second"
for round in 1 2 3; do
    change ceph:vm-100-disk-0 32M "random:${round}M:128K:r$round"
    backup 100
    check "two chains with one label: repository 1, run $round" exits 0
    next_second
    ferry backup --vmid 100 --label daily --path "$second"
    check "two chains with one label: repository 2, run $round" exits 0
done
check "two chains with one label: both stay incremental" same \
    "$("$FERRY" list --path "$second" --json | jq -r '[.restore_points | sort_by(.seq)[] | .images[0].kind] | join(",")')" base,increment,increment
check "two chains with one label: one snapshot for each" same "$(count_our_snapshots ceph:vm-100-disk-0)" 2
last=$("$FERRY" list --path "$second" --json | jq -r '.restore_points | max_by(.seq) | .time')
REPO=$second
check "two chains with one label: the second one is right" restored_equals 100 "$last" 900 scsi0 "$(sha_of ceph:vm-100-disk-0)"
