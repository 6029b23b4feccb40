#!/usr/bin/env bash
# F 7, D.1 5: snapshots of others are never touched, whatever they are called.
. "$LAB_SOURCE/lib.sh"
begin_case

disk=ceph:vm-100-disk-0
simple_vm 100
foreign=(before-daily-update autodaily20260101000000 barcdaily20240101000000 daily ferry-daily ferrydaily20260101T000000Z
    ferry.00000000.daily.20200101T000000Z ferry.00000000.daily2.20200101T000000Z zzz-daily)
for name in "${foreign[@]}"; do on_volume "$disk@$name" snap create --no-progress {}; done
on_volume "$disk@zzz-daily" snap protect {}
for round in 1 2 3; do
    change $disk 32M "random:${round}M:512K:$round"
    backup 100
    check "F7 run $round" exits 0
    next_second
    ferry backup --vmid 100 --label daily2 --path "$REPO"
    check "F7 run $round of label daily2" exits 0
done
for name in "${foreign[@]}"; do
    check "F7, D5 $name is still there" grep -qxF "$name" <(snapshots_of $disk)
done
check "F7 one snapshot of ours for each label" same "$(our_snapshots_of $disk | grep -vc '^ferry.00000000')" 2
check "F7 daily2 has its own chain" same "$(count_points 100 'select(.label == "daily2") | .time')" 3
check "F7 daily has its own chain" same "$(count_points 100 'select(.label == "daily") | .time')" 3
on_volume "$disk@zzz-daily" snap unprotect {}
