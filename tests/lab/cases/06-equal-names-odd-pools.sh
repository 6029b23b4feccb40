#!/usr/bin/env bash
# F 6: equal image names in rbd and ssd-rbd, pools 2tb and my.pool: every disk has its own right chain.
. "$LAB_SOURCE/lib.sh"
begin_case

volumes=(ceph:vm-100-disk-0 krbd:vm-100-disk-0 big:vm-100-disk-0 dotted:vm-100-disk-0)
for n in 0 1 2 3; do
    make_volume "${volumes[n]}" 16M
    change "${volumes[n]}" 16M "random:0:1M:$n"
    echo "scsi$n: ${volumes[n]},size=16M"
done | vm 100
for round in 1 2 3; do
    for n in 0 1 2 3; do change "${volumes[n]}" 16M "random:$((round + n))M:512K:$round$n"; done
    backup 100
    check "F6 run $round" exits 0
    sums=()
    for n in 0 1 2 3; do sums+=("scsi$n" "$(sha_of "${volumes[n]}")"); done
    printf '%s\n' "${sums[@]}" >"$WORK/sums.$round"
done
check "F6 the later ones are increments" same \
    "$(newest 100 '.images | map(.kind) | unique | join(",")')" increment
round=0
for time in $(points 100); do
    round=$((round + 1))
    mapfile -t sums <"$WORK/sums.$round"
    check "F6 point $round restores bit-identical on all four disks" restored_equals 100 "$time" 900 "${sums[@]}"
done
