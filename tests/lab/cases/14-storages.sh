#!/usr/bin/env bash
# F 14, D.1 16: krbd, a namespace, a data-pool, an external cluster, a linked clone.
. "$LAB_SOURCE/lib.sh"
begin_case

volumes=(krbd:vm-100-disk-0 tenant:vm-100-disk-0 big:vm-100-disk-0 remote:vm-100-disk-0 remote-ns:vm-100-disk-0)
for n in 0 1 2 3 4; do
    make_volume "${volumes[n]}" 16M
    change "${volumes[n]}" 16M "random:1M:1M:$n"
    echo "scsi$n: ${volumes[n]},size=16M"
done | vm 100

# A linked clone: its volume names the base's, too.
make_volume ceph:base-110-disk-0 16M --object-size 1M
change ceph:base-110-disk-0 16M random:0:4M:base
on_volume ceph:base-110-disk-0@__base__ snap create --no-progress {}
on_volume ceph:base-110-disk-0@__base__ snap protect {}
rbd_a clone rbd/base-110-disk-0@__base__ rbd/vm-100-disk-5
change ceph:vm-100-disk-5 16M random:2M:1M:clone zero:1M:512K
echo 'scsi5: ceph:base-110-disk-0/vm-100-disk-5,size=16M' >>"$(conf_of 100)"

# Striped: what a diff names are places of the volume, not of its objects.
make_volume ceph:vm-100-disk-6 16M --stripe-unit 64K --stripe-count 4
change ceph:vm-100-disk-6 16M random:1M:3M:striped
echo 'scsi6: ceph:vm-100-disk-6,size=16M' >>"$(conf_of 100)"

for round in 1 2; do
    backup 100 --json
    check "F14 run $round works" exits 0
    check "F14, D16 run $round leaves nothing out" json_is '[.guests[0].volumes[].disk] | sort | join(" ")' \
        "scsi0 scsi1 scsi2 scsi3 scsi4 scsi5 scsi6"
    for n in 0 1 2 3 4; do change "${volumes[n]}" 16M "random:$((4 + round))M:256K:$round$n"; done
    change ceph:vm-100-disk-5 16M "random:8M:256K:$round"
    change ceph:vm-100-disk-6 16M "random:2M:300K:$round"
done
backup 100
check "F14 the last ones are increments" same "$(newest 100 '.images | map(.kind) | unique | join(",")')" increment
ferry restore --path "$REPO" --vmid 100 --target-vmid 900
check "F14 it comes back" exits 0
for n in 0 1 2 3 4; do
    check "F14 ${volumes[n]%%:*}: bit-identical" same "$(sha_of "$(volume_of 900 scsi$n)")" "$(sha_of "${volumes[n]}")"
    check "F14 ${volumes[n]%%:*}: on the storage it was on" same "$(volume_of 900 scsi$n | cut -d: -f1)" "${volumes[n]%%:*}"
done
check "F14 a striped volume: bit-identical" same "$(sha_of "$(volume_of 900 scsi6)")" "$(sha_of ceph:vm-100-disk-6)"
check "F14 a striped volume: said that it is so no more" says "striping of scsi6"
clone=$(volume_of 900 scsi5)
check "F14 linked clone: bit-identical" same "$(sha_of "$clone")" "$(sha_of ceph:vm-100-disk-5)"
check "F14 linked clone: a flat image comes back" same "$(on_volume "$clone" info --format json {} | jq -r '.parent')" null
check "F14 linked clone: and is named so" not grep -qE '^scsi5: .*base-110' "$(conf_of 900)"
check "F14 the object size comes back" same \
    "$(on_volume "$clone" info --format json {} | jq -r .object_size)" \
    "$(on_volume ceph:vm-100-disk-5 info --format json {} | jq -r .object_size)"
check "F14 the data-pool comes back" same \
    "$(on_volume "$(volume_of 900 scsi2)" info --format json {} | jq -r .data_pool)" data-only

ferry restore --path "$REPO" --vmid 100 --target-vmid 901 --storage dotted
check "F14 all of it onto one storage" exits 0
check "F14 every disk is there" same "$(grep -cE '^scsi[0-5]: dotted:' "$(conf_of 901)")" 6

# The external cluster is away: its disk cannot be saved, and that is no success (D.1 16).
sed -i 's/monhost 127.0.0.1:7320/monhost 127.0.0.1:7999/' "$ETC/storage.cfg"
FERRY_TIMEOUT=120 backup 100 --json
check "D16 an unreachable storage is not a success" fails
check "D16 and it is named" says 'remote'
sed -i 's/monhost 127.0.0.1:7999/monhost 127.0.0.1:7320/' "$ETC/storage.cfg"
