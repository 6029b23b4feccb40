#!/usr/bin/env bash
# F3, F4: a diff that is whole and wrong is noticed by `backup --audit` and `verify --source`; the next backup is a base.
. "$LAB_SOURCE/lib.sh"
begin_case

# Every kind of image that is read in its own way: plain, in a namespace, with a data pool, a clone.
vm 100 <<'CONF'
scsi0: ceph:vm-100-disk-0,size=32M
scsi1: tenant:vm-100-disk-0,size=16M
scsi2: big:vm-100-disk-0,size=16M
scsi3: ceph:base-900-disk-0/vm-100-disk-1,size=32M
CONF
make_volume ceph:vm-100-disk-0 32M
make_volume tenant:vm-100-disk-0 16M
make_volume big:vm-100-disk-0 16M
make_volume ceph:base-900-disk-0 32M
change ceph:base-900-disk-0 32M random:3M:9M:base
on_volume ceph:base-900-disk-0 snap create --no-progress {}@__base__
on_volume ceph:base-900-disk-0 snap protect {}@__base__
on_volume ceph:base-900-disk-0 clone {}@__base__ rbd/vm-100-disk-1
write_all() {
    change ceph:vm-100-disk-0 32M "random:$(($1 * 2))M:3M:$1" "zero:20M:$(($1 * 64))K"
    change tenant:vm-100-disk-0 16M "random:$(($1 * 2))M:1M:$1"
    change big:vm-100-disk-0 16M "random:$(($1 * 2))M:1M:$1"
    change ceph:vm-100-disk-1 32M "random:$(($1 * 2))M:1M:$1"
}

write_all 1
backup 100 --audit 1/1
check "F3 a base of every kind of image equals its source" exits 0
write_all 2
backup 100 --audit 1/1 --debug
check "F3 so do increments" exits 0
check "F3 and they are increments" same "$(newest 100 '.images | map(.kind) | unique | join(",")')" increment
check "F3 all four were compared" same "$(grep -c '^compared scsi' "$ERR")" 4
ferry verify --path "$REPO" --source
check "F3 verify --source finds them equal" exits 0
check "F3 and says how much it read and compared" says 'scsi3 of .*equal, 12.00 MiB compared \(all blocks\)'
ferry verify --path "$REPO" --source --audit 1/4 --json
check "F3 verify --source takes a share" json_is '[.guests[].points[].disks[].blocks] | join(" ")' "2 1 1 2"
check "F3 the first one first" json_is '.guests[0].points[0].share.n' 1
ferry verify --path "$REPO" --source --audit 1/4 --json
check "F3 and then the next one" json_is '.guests[0].points[0].share.n' 2

# What is deleted after the snapshot has only clones left; `verify --source` relies on its still being listed.
list_a() { timeout -k 3 60 /usr/bin/rados -c "$A/ceph.conf" -p rbd "$@"; }
prefix=$(on_volume ceph:vm-100-disk-0 info --format json {} | jq -r .block_name_prefix)
objects=$(list_a ls | grep "^$prefix\\." | sort)
change ceph:vm-100-disk-0 32M zero:0:32M
gone=$(echo "$objects" | head -n 1)
check "F3 an object is gone" not list_a stat "$gone"
check "F3 and is listed, as a snapshot has it" same "$(list_a ls | grep "^$prefix\\." | sort)" "$objects"
ferry verify --path "$REPO" --source
check "F3 volumes with deleted objects are equal" exits 0
check "F3 of which all is compared" says 'scsi0 of .*equal, 8.00 MiB compared \(all blocks\)'

# One bit of what export-diff says is another one: the stream is whole, and so is every digest.
write_all 3
spoil_rbd '{"match": ["export-diff", "--image vm-100-disk-1"], "action": "corrupt", "bytes": 500000}'
backup 100 --audit 1/1 --retain 1
check "F3 a wrong diff fails the backup with 12" exits 12
check "F3 the wrong diff was shipped" spoiled
repair_rbd
check "F3 it names disk, bytes and digests" says 'scsi3 is not what .*bytes [0-9]+ to [0-9]+ .*blake3:[0-9a-f]{64}.*blake3:[0-9a-f]{64}'
check "F3 it names no other disk" not says 'scsi[012] is not what'
check "F3 nothing was pruned" same "$(count_points 100)" 3
ferry verify --path "$REPO"
check "F3 every digest in the repository is right" exits 0
ferry list --path "$REPO" --json
check "F3 and the point is failed nevertheless" json_is '[.restore_points[] | select(.verified == "failed")] | length' 1
ferry list --path "$REPO"
check "F3 which people see, too" says FAILED
ferry verify --path "$REPO" --source
check "F3 verify --source finds it, too: 12" exits 12
check "F3 and says which disk" says 'scsi3 of ceph:base-900-disk-0/vm-100-disk-1: DIFFERS'
write_all 4
backup 100 --audit 1/1
check "F3 the next backup works" exits 0
check "F3 and is a base of that disk only" same "$(newest 100 '.images | map("\(.disk) \(.kind)") | join(",")')" \
    "scsi0 increment,scsi1 increment,scsi2 increment,scsi3 base"
check "F3 one snapshot of ours is left" same "$(count_our_snapshots ceph:vm-100-disk-1)" 1
check "F3 the new point restores right" restored_equals 100 latest 901 scsi3 "$(sha_of ceph:vm-100-disk-1)"

# What cannot be compared is never said to be well.
snapshot=$(our_snapshots_of ceph:vm-100-disk-0)
on_volume ceph:vm-100-disk-0 snap rm --no-progress "{}@$snapshot"
ferry verify --path "$REPO" --source
check "F3 a snapshot that is gone is named: exit 3" exits 3
check "F3 by its disk" says 'scsi0 of ceph:vm-100-disk-0: NOT COMPARED: .*does not exist'
mkdir -p "$WORK/empty"
ferry verify --path "$REPO" --source --vmid 999
check "F3 nothing to compare is nothing" says "nothing selected by 999"
ferry backup --vmid 100 --label daily --path "$REPO" --audit 50
check "a share without 1/ is refused with its form" exits 2
check "and the form is said" says '1/N'
