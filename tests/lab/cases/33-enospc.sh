#!/usr/bin/env bash
# ENOSPC by a real file system, in prune, in the merge after a backup, and in copy: what is listed stays whole, verify is
# clean, and the next run with room converges. (In the middle of a transfer: 03-target-full.)
. "$LAB_SOURCE/lib.sh"
begin_case

REPO=$WORK/small
mkdir -p "$REPO"
mount -t tmpfs -o size=40m lab "$REPO"
simple_vm 100
disk=ceph:vm-100-disk-0
declare -A sum

point() {
    backup 100 "$@"
    check "backup $*" exits 0
    sum[$(newest 100)]=$(sha_of $disk)
}
# whole WHERE WHEN: what is listed there is what it was, and verify is content.
whole() {
    local time result=0
    for time in $("$FERRY" list --path "$1" --json | jq -r '.restore_points[].time'); do
        rm -f "$WORK/one.raw"
        ferry assemble --path "$1" --vmid 100 --disk scsi0 --time "$time" --output "$WORK/one.raw"
        [ "$RC" = 0 ] && same "$(sha_of_file "$WORK/one.raw")" "${sum[$time]}" || result=1
    done
    check "$2: every listed point is what it was" same $result 0
    ferry verify --path "$1"
    check "$2: verify finds nothing" exits 0
}
# fill KIB: leaves so much room.
fill() {
    local free
    free=$(df --output=avail -k "$REPO" | tail -n 1)
    dd if=/dev/zero of="$REPO/other" bs=1K count=$((free - $1)) status=none
}

for n in 1 2 3 4; do
    change $disk 32M "random:$((n * 4))M:2M:$n"
    point
done

# What nothing needs goes even where not a byte is left: there is no other way to make room.
for n in 1 2; do
    next_second
    ferry backup --vmid 100 --label old --path "$REPO" --renew 0
    check "full: a base of another label" exits 0
    sum[$(newest 100)]=$(sha_of $disk)
done
fill 0
check "full: not a byte is left" same "$(df --output=avail -k "$REPO" | tail -n 1 | xargs)" 0
ferry prune --path "$REPO" --label old --retain 1
check "full: prune makes room" exits 0
check "full: of the two, one is left" same "$(points 100 .label | grep -c old)" 1
rm "$REPO/other"
whole "$REPO" "full"
ferry delete --path "$REPO" --vmid 100 --label old --time "$(newest 100)" --yes
check "full: and the other is deleted" exits 0

for room in 0 8 64 2048; do
    fill $room
    ferry prune --path "$REPO" --keep 1
    check "prune with $room KiB: it fails" fails
    check "prune with $room KiB: and says why" says 'no space left'
    whole "$REPO" "prune with $room KiB"
    rm "$REPO/other"
done
ferry prune --path "$REPO" --keep 1
check "prune with room: it works" exits 0
check "prune with room: two points are left" same "$(count_points 100)" 2
check "prune with room: no file is left that no manifest names" same "$(find "$REPO" -name '*.rbd.zst' | wc -l)" 2
whole "$REPO" "prune with room"

# The increment fits, the merge of it does not: the backup is done, and says what is not.
change $disk 32M random:20M:2M:5
fill 3500
point --keep 1
check "merge without room: the backup says so" says 'warning.*no space left'
whole "$REPO" "merge without room"
rm "$REPO/other"
change $disk 32M random:24M:1M:6
point --keep 1
check "merge with room: nothing to say" not_says warning
check "merge with room: two points" same "$(find "$REPO" -name manifest.json | wc -l)" 2
whole "$REPO" "merge with room"

# A target that is too small is refused before anything is written; one that fills up on the way is gone on with.
change $disk 32M random:28M:1M:7
point
second=$WORK/second
mkdir -p "$second"
mount -t tmpfs -o size=2m lab "$second"
ferry copy --from "$REPO" --to "$second"
check "copy into 2 MiB: it is refused" fails
check "copy into 2 MiB: and says so" says 'not enough space.*nothing was changed'
check "copy into 2 MiB: nothing was written" same "$(find "$second" -type f | wc -l)" 0
umount "$second"
mount -t tmpfs -o size=40m,nr_inodes=22 lab "$second"
ferry copy --from "$REPO" --to "$second" --move
check "copy into too few inodes: it fails" fails
check "copy into too few inodes: and says why" says 'no space left'
check "copy into too few inodes: the source keeps all" same "$(count_points 100)" 3
whole "$REPO" "copy into too few inodes, source"
whole "$second" "copy into too few inodes, target"
mount -o remount,nr_inodes=1000 "$second"
ferry copy --from "$REPO" --to "$second" --move
check "copy with room: it works" exits 0
check "copy with room: the source is empty" same "$(count_points 100)" 0
whole "$second" "copy with room"
umount "$REPO"
REPO=$second
check "copy with room: all points are there" same "$(count_points 100)" 3
change $disk 32M random:29M:1M:8
point
check "copy with room: backups go on in it with increments" same "$(newest 100 .images[0].kind)" increment
whole "$REPO" "gone on"
umount "$second"
