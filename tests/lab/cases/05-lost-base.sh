#!/usr/bin/env bash
# F 5, D.1 1, 15: whatever happened to the base's snapshot or to the disk, the next run heals by itself.
. "$LAB_SOURCE/lib.sh"
begin_case

disk=ceph:vm-100-disk-0
simple_vm 100
make_volume ceph:vm-100-disk-1 16M
change ceph:vm-100-disk-1 16M random:0:1M:1
echo 'scsi1: ceph:vm-100-disk-1,size=16M' >>"$(conf_of 100)"
backup 100
first=$(sha_of $disk)

# heals NAME: the next run makes a base of disk 0 and an increment of disk 1, and the point is right.
heals() {
    local sha
    backup 100 --json
    check "F5 $1: the run works" exits 0
    check "F5, D1 $1: a base, and it is called one" same \
        "$(newest 100 '.images[] | select(.disk == "scsi0") | .kind')" base
    check "F5, D1 $1: its file is a base and named so" same \
        "$(find "$REPO" -newer "$WORK/mark" -name 'scsi0.*.rbd*' ! -name '*.idx' -printf '%f\n' | sed 's/\.rbd.*//')" scsi0.base
    check "F5, D15 $1: the other disk is not held up by it" same \
        "$(newest 100 '.images[] | select(.disk == "scsi1") | .kind')" increment
    sha=$(sha_of $disk)
    check "F5 $1: the new point is right" restored_equals 100 latest 900 scsi0 "$sha"
}

touch "$WORK/mark"
change $disk 32M random:5M:1M:2
on_volume "$disk@$(our_snapshots_of $disk)" snap rm --no-progress "{}"
next_second
ferry backup --vmid 100 --label daily --path "$REPO" --dry-run
check "F5 the plan says why a base" says 'base .*because'
heals "snapshot deleted"
check "F5 the old chain restores, too" restored_equals 100 "$(points 100 | head -n 1)" 901 scsi0 "$first"

touch "$WORK/mark"
on_volume $disk snap purge --no-progress {}
on_volume $disk rm --no-progress {}
make_volume $disk 32M
change $disk 32M random:9M:1M:3
heals "disk removed and made again"

# The same, and somebody made a snapshot with the name that the repository knows: a name proves nothing.
touch "$WORK/mark"
name=$(our_snapshots_of $disk)
on_volume $disk snap purge --no-progress {}
on_volume $disk rm --no-progress {}
make_volume $disk 32M
change $disk 32M random:1M:1M:4
on_volume "$disk@$name" snap create --no-progress {}
change $disk 32M random:2M:1M:5
heals "an impostor with the snapshot's name"

touch "$WORK/mark"
change $disk 32M random:7M:1M:6
on_volume "$disk@$(our_snapshots_of $disk)" snap rollback --no-progress {}
change $disk 32M random:3M:1M:7
backup 100
check "F5 rolled back to the base: the run works" exits 0
check "F5 rolled back to the base: the point is right" restored_equals 100 latest 900 scsi0 "$(sha_of $disk)"

on_volume "$disk@before" snap create --no-progress {}
change $disk 32M random:8M:1M:8
backup 100
on_volume "$disk@before" snap rollback --no-progress {}
backup 100
check "F5 rolled back behind the base: the run works" exits 0
check "F5 rolled back behind the base: the point is right" restored_equals 100 latest 900 scsi0 "$(sha_of $disk)"
ferry verify --path "$REPO"
check "F5 everything verifies" exits 0
