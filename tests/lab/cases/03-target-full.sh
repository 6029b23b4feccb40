#!/usr/bin/env bash
# F 3, D.1 2, 14, 23: the target fills up in the middle; nothing half is left, and the next run goes on.
. "$LAB_SOURCE/lib.sh"
begin_case

REPO=$WORK/small
mkdir -p "$REPO"
mount -t tmpfs -o size=60m lab "$REPO"
printf 'scsi0: ceph:vm-100-disk-0,size=64M\nscsi1: ceph:vm-100-disk-1,size=64M\n' | vm 100
for n in 0 1; do
    make_volume ceph:vm-100-disk-$n 64M
    change ceph:vm-100-disk-$n 64M "random:0:4M:$n"
done
backup 100
check "F3 a first backup fits" exits 0
base0=$(our_snapshots_of ceph:vm-100-disk-0)
base1=$(our_snapshots_of ceph:vm-100-disk-1)
change ceph:vm-100-disk-0 64M random:8M:20M:a
change ceph:vm-100-disk-1 64M random:8M:2M:b

# The export stops after 4 MiB; meanwhile somebody else fills the file system.
spoil_rbd '{"match": ["export-diff", "vm-100-disk-0"], "action": "pause", "bytes": 4000000}'
next_second
ferry_background backup --vmid 100 --label daily --path "$REPO" --json
check "F3 the export is under way" wait_until 30 spoiled
dd if=/dev/zero of="$REPO/other" bs=1M status=none 2>/dev/null
go_on
RC=0
wait $FERRY_PID || RC=$?
repair_rbd
check "F3, D2 the run reports failure" fails
check "F3 and why" says 'no space|space left'
check "F3 the point does not exist" same "$(count_points 100)" 1
check "F3 no data file without a manifest stays visible" same \
    "$(find "$REPO" -name '*.rbd*' -size +3M | wc -l)" 2
check "F3 the base's snapshot is still there (disk 0)" grep -qx "$base0" <(snapshots_of ceph:vm-100-disk-0)
check "F3 the base's snapshot is still there (disk 1)" grep -qx "$base1" <(snapshots_of ceph:vm-100-disk-1)
check "F3, D14 the new snapshot is gone (disk 0)" same "$(count_our_snapshots ceph:vm-100-disk-0)" 1
check "F3, D14 the new snapshot is gone (disk 1)" same "$(count_our_snapshots ceph:vm-100-disk-1)" 1

rm "$REPO/other"
backup 100
check "F3 with room again it works" exits 0
check "F3 as an increment" same "$(newest 100 '.images | map(.kind) | unique | join(",")')" increment
sha0=$(sha_of ceph:vm-100-disk-0)
sha1=$(sha_of ceph:vm-100-disk-1)
check "F3 and it restores bit-identical" restored_equals 100 latest 900 scsi0 "$sha0" scsi1 "$sha1"
umount "$REPO"

# A disk that cannot fit is refused before anything is written (free space is checked before).
REPO=$WORK/tiny
mkdir -p "$REPO"
mount -t tmpfs -o size=8m lab "$REPO"
remove_guest 100
simple_vm 101
change ceph:vm-101-disk-0 32M random:0:30M:x
backup 101
check "D23 30 MiB do not go into 8" fails
check "D23 and it says that before it writes" says "space in the repository.*nothing was changed"
check "D23 nothing of it stays" same "$(find "$REPO" -name '*.rbd*' | wc -l)" 0
check "D23 no snapshot stays" same "$(count_our_snapshots ceph:vm-101-disk-0)" 0
umount "$REPO"
