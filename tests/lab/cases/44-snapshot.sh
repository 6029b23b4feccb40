#!/usr/bin/env bash
# Snapshots of guests through PVE are real ones: made, kept by number, rolled back to the byte, and no harm to backups.
. "$LAB_SOURCE/lib.sh"
begin_case

printf 'scsi0: ceph:vm-100-disk-0,discard=on,size=32M\nscsi1: krbd:vm-100-disk-1,size=16M\n' | vm 100
make_volume ceph:vm-100-disk-0 32M
make_volume krbd:vm-100-disk-1 16M
running 100
simple_vm 101

# write NAME: both disks get a content of their own.
write() {
    change ceph:vm-100-disk-0 32M "random:0:3M:$1" "random:20M:1M:$1"
    change krbd:vm-100-disk-1 16M "random:4M:2M:$1"
}
content() { echo "$(sha_of ceph:vm-100-disk-0) $(sha_of krbd:vm-100-disk-1)"; }
# names LABEL: the guest's snapshots of a label, oldest first.
names() { "$FERRY" snapshot list --vmid 100 --label "$1" -o json | jq -r '.[].NAME'; }
count() { names "$1" | grep -c . || true; }

write first
ferry snapshot create --vmid 100,101 --label daily --keep 2
check "snapshots of two guests are made" exits 0
oldest=$(names daily)
check "the snapshot is one of both images" same "$(snapshots_of ceph:vm-100-disk-0) $(snapshots_of krbd:vm-100-disk-1)" "$oldest $oldest"
write second
second=$(content)
next_second
ferry snapshot create --vmid 100 --label daily --keep 2 --state
check "one with memory is made" exits 0
newer=$(names daily | tail -n 1)
check "the memory has its volume" exists "ceph:vm-100-state-$newer"
write third
third=$(content)
backup 100
check "a backup of what came then" exits 0
check "which left PVE's snapshots alone" same "$(snapshots_of ceph:vm-100-disk-0 | grep -c '^auto')" 2

# A disk that PVE cannot snapshot is named before anything is made, and the others go on.
printf 'scsi0: ceph:vm-102-disk-0,size=1M\nscsi1: local:102/vm-102-disk-1.raw,backup=0,size=1M\n' | vm 102
make_volume ceph:vm-102-disk-0 1M
ferry snapshot create --vmid 102 --label daily --dry-run
check "the dry run sees it" exits 1
next_second
ferry snapshot create --vmid 101,102 --label other
check "one of two guests fails: exit 3" exits 3
check "its disk is named, with the way out" says 'scsi1 is raw on storage local .*qm disk move 102 scsi1 local --format qcow2.*nothing was changed'
check "nothing of it was snapshotted" same "$(snapshots_of ceph:vm-102-disk-0)" ""
ferry snapshot prune --vmid 101 --label other --keep 0 --yes
check "the other's goes again" exits 0
ferry snapshot create --vmid 102 --label late
check "alone it is exit 1" exits 1

# Rollback: first to the one with memory, then further back.
ferry snapshot rollback --vmid 100 --name "$newer"
check "nobody to ask: exit 2" exits 2
check "and nothing is changed" same "$(content)" "$third"
ferry snapshot rollback --vmid 100 --name "$newer" --yes
check "a rollback" exits 0
check "every byte of both disks is as it was" same "$(content)" "$second"
check "the guest runs: its memory was there" test -e "$STATE/100/running"
backup 100
check "the backup after a rollback" exits 0
check "it is what the guest is now" restored_equals 100 latest 900 \
    scsi0 "$(sha_of ceph:vm-100-disk-0)" scsi1 "$(sha_of krbd:vm-100-disk-1)"

# The job: what is too old goes, the volume of its memory with it; a failure is said and told.
mkdir -p "$ETC/pve-ferry" "$WORK/metrics"
printf 'prometheus: node\n\tdirectory %s\n' "$WORK/metrics" >"$ETC/pve-ferry/notify.cfg"
ferry job create nightly --operation snapshot --vmid 100,101 --label daily --keep 2
check "a job of it" exits 0
next_second
ferry job run nightly --scheduled
check "runs" exits 0
check "in silence" same "$(cat "$OUT" "$ERR")" ""
check "the oldest is gone" not grep -qx "$oldest" <(names daily)
check "from the images, too" not grep -qx "$oldest" <(snapshots_of ceph:vm-100-disk-0)
check "two are left" same "$(count daily)" 2
check "somebody was told" grep -rq nightly "$WORK/metrics"
next_second
ferry job run nightly --scheduled
check "the second run" exits 0
check "the volume of the memory went with its snapshot" not exists "ceph:vm-100-state-$newer"
ferry status
check "snapshots are no backup" says 'snapshots only, which are no backup'
mkdir -p "$STATE/101"
echo 'snapshot feature is not available' >"$STATE/101/snapshot-fails"
next_second
ferry job run nightly --scheduled
check "one guest fails: exit 3" exits 3
check "and cron mails why" says 'guest 101 .*FAILED.*snapshot feature is not available'
check "the other has its snapshot, and two are left" same "$(count daily)" 2
ferry job list
check "the list says so" says partial

ferry snapshot rollback --vmid 100 --name "$oldest" --yes
check "what is gone cannot be rolled back to" fails
check "and nothing is changed" same "$(content)" "$second"
change ceph:vm-100-disk-0 32M random:0:8M:later
kept=$(names daily | head -n 1)
ferry snapshot rollback --vmid 100 --name "$kept" --yes
check "back to one that retention kept" exits 0
check "to the byte" same "$(content)" "$second"
check "without memory the guest is stopped, and that is said" says 'stopped, and stays so'
check "as it is" test ! -e "$STATE/100/running"

ferry snapshot prune --vmid 100,101 --label daily --keep 0 --yes
check "all of the label go" exits 0
check "from both images" same "$(snapshots_of ceph:vm-100-disk-0 | grep -c '^auto') $(snapshots_of krbd:vm-100-disk-1 | grep -c '^auto')" "0 0"
check "our own snapshots of the backup stay" differs "$(count_our_snapshots ceph:vm-100-disk-0)" 0
