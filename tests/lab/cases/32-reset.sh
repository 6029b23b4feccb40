#!/usr/bin/env bash
# F 7, D.1 5, 19: reset deletes exactly our own chain's snapshots, whatever others are called; the next run is a base.
. "$LAB_SOURCE/lib.sh"
begin_case

disk=ceph:vm-100-disk-0
second="$WORK/second repository"
mkdir -p "$second"
simple_vm 100
make_volume ceph:vm-100-disk-1 16M
change ceph:vm-100-disk-1 16M random:0:1M:1
echo 'scsi1: ceph:vm-100-disk-1,size=16M' >>"$(conf_of 100)"
foreign=(before-daily-update autodaily20260101000000 barcdaily20240101000000 daily ferry-daily zzz-daily
    ferry.00000000.daily.20200101T000000Z xferry.00000000.daily.20200101T000000Z)
for name in "${foreign[@]}"; do on_volume "$disk@$name" snap create --no-progress {}; done
on_volume "$disk@barcdaily20240101000000" snap protect {}
backup 100 --protect-snap
next_second
ferry backup --vmid 100 --label hourly --path "$REPO"
next_second
ferry backup --vmid 100 --label daily --path "$second"
check "three chains have a snapshot each" same "$(our_snapshots_of $disk | grep -vc '^ferry.00000000')" 3
first=$(sha_of $disk)
everything >"$WORK/before"

ferry reset --vmid 100 --path "$REPO" --dry-run
check "the dry run lists what would go" says 'delete snapshot .*@ferry\.'
check "the dry run lists what stays, and why" says 'keep .*before-daily-update .*because it is not ours'
ferry reset --vmid 100 --path "$REPO"
check "D19 unasked it deletes nothing" exits 2
ferry reset --vmid 100 --yes
check "F7 without a repository it asks whose they are" exits 13
everything >"$WORK/after"
check "F16 nothing was changed so far" cmp "$WORK/before" "$WORK/after"

# on_terminal EXPECT KEYS ARGUMENT...: the program on a terminal, where one question is answered.
on_terminal() {
    LAST="pve-ferry ${*:3} (on a terminal)" RC=0
    timeout -k 5 180 "$LAB_SOURCE/terminal.py" "$1" "$2" -- "$FERRY" "${@:3}" >"$OUT" 2>"$ERR" || RC=$?
}
on_terminal Delete n reset --vmid 100 --label daily --path "$REPO"
check "D19 on a terminal it shows what would go and asks" says 'delete snapshot .*@ferry\.'
check "no is no" exits 2
on_terminal Delete '{ctrl-c}' reset --vmid 100 --label daily --path "$REPO"
check "giving up is an interruption" exits 130
everything >"$WORK/after"
check "F16 nothing was changed by that" cmp "$WORK/before" "$WORK/after"
on_terminal Delete y reset --vmid 100 --label daily --path "$REPO"
check "one label is reset" exits 0
check "the other label's snapshot stays" same "$(our_snapshots_of $disk | grep -c '\.hourly\.')" 1
check "F7 the other repository's snapshot stays" same \
    "$(our_snapshots_of $disk | grep -v '^ferry.00000000' | grep -c '\.daily\.')" 1
ferry reset --vmid 100 --path "$REPO" --yes --json
check "the rest is reset" exits 0
check "each deletion is told" json_is '.guests[0].changes | length' 2
for name in "${foreign[@]}"; do
    check "F7, D5 $name is still there" grep -qxF "$name" <(snapshots_of $disk)
done
check "its protection stays, too" same \
    "$(on_volume $disk snap ls --format json {} | jq -r '.[] | select(.name == "barcdaily20240101000000") | .protected')" true

change $disk 32M random:9M:1M:3
backup 100
check "the next backup works" exits 0
check "and makes a base of each disk" same "$(newest 100 '[.images[].kind] | unique | join(",")')" base
check "it is right" restored_equals 100 latest 900 scsi0 "$(sha_of $disk)"
check "the older point is right, too" restored_equals 100 "$(points 100 'select(.label == "daily") | .time' | head -n 1)" 901 scsi0 "$first"
next_second
ferry backup --vmid 100 --label daily --path "$second" --json
check "F7 the other repository goes on with increments" json_is '[.guests[0].volumes[].kind] | unique | join(",")' increment

mv "$(conf_of 100)" "$WORK/100.conf"
ferry reset --volume $disk --volume ceph:vm-100-disk-1 --path "$REPO" --yes
check "a guest whose configuration is gone is reset by its volumes" exits 0
check "nothing of this repository is left" same "$(our_snapshots_of $disk | grep -vc '^ferry.00000000')" 1
chain=$(our_snapshots_of ceph:vm-100-disk-1 | cut -d. -f2)
ferry reset --volume $disk --volume ceph:vm-100-disk-1 --chain "$chain" --yes
check "a chain that is named needs no repository" exits 0
check "nothing of ours is left" same "$(our_snapshots_of $disk | grep -v '^ferry.00000000')" ""
on_volume "$disk@barcdaily20240101000000" snap unprotect {}
