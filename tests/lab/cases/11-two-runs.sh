#!/usr/bin/env bash
# F 11, D.1 10, 17: two labels at once, one label twice, and from two hosts: nobody is skipped silently.
. "$LAB_SOURCE/lib.sh"
begin_case

simple_vm 100
running 100
next_second
ferry_background backup --vmid 100 --label hourly --path "$REPO" --lock-wait 60
first=$FERRY_PID
LAST="two labels at once" RC=0
timeout 120 "$FERRY" backup --vmid 100 --label daily --path "$REPO" --lock-wait 60 >"$WORK/second" 2>&1 </dev/null || RC=$?
check "F11, D17 the second label's run works" exits 0
RC=0
wait "$first" || RC=$?
check "F11, D17 the first label's run works" exits 0
check "F11 both made their point" same "$(count_points 100)" 2

# One run holds the guest; a second one for the same guest does not get between.
change ceph:vm-100-disk-0 32M random:4M:8M:2
spoil_rbd '{"match": ["export-diff", "vm-100-disk-0"], "action": "pause", "bytes": 1000000}'
next_second
ferry_background backup --vmid 100 --label daily --path "$REPO"
first=$FERRY_PID
check "F11 the first run transfers" wait_until 30 spoiled
ferry backup --vmid 100 --label daily --path "$REPO" --lock-wait 1
check "D17 a second run says that the guest is locked by ours" exits 11
# The same from another host: another host name, another process table, another /run.
RC=0
timeout 60 unshare --uts --pid --fork --mount-proc bash -c 'hostname pve2; mount -t tmpfs other /run; "$@"' other \
    "$FERRY" backup --vmid 100 --label daily --path "$REPO" --lock-wait 1 >"$OUT" 2>"$ERR" </dev/null || RC=$?
LAST="backup from another host"
check "two runs at once from two hosts: the second is refused" exits 11
go_on
RC=0
wait "$first" || RC=$?
repair_rbd
check "D17 the first run is not disturbed" exits 0
check "D17 one more point, no more" same "$(count_points 100)" 3
check "D17 and it is right" restored_equals 100 latest 900 scsi0 "$(sha_of ceph:vm-100-disk-0)"

# A run that was killed leaves its lock; its process is gone, so the next one does not wait for hours.
change ceph:vm-100-disk-0 32M random:4M:8M:3
spoil_rbd '{"match": ["export-diff", "vm-100-disk-0"], "action": "pause", "bytes": 1000000}'
next_second
ferry_background backup --vmid 100 --label daily --path "$REPO"
check "D17 a third run transfers" wait_until 30 spoiled
kill_run
repair_rbd
backup 100
check "D17 a dead run's lock on this host is recognised" exits 0

# Reading takes a lock, too: nothing is deleted under a running restore (D.1 10); a restore does not stop a backup for ever.
spoil_rbd '{"match": ["import-diff"], "action": "pause"}'
ferry_background restore --path "$REPO" --vmid 100 --target-vmid 901
sleep 1
backup 100 --lock-wait 1
code=$RC
go_on
RC=0
wait "$FERRY_PID" || RC=$?
repair_rbd
check "D10 a restore beside a backup is right" exits 0
check "D10 and the backup either waited or worked" test "$code" = 0 -o "$code" = 11
