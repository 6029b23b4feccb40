#!/usr/bin/env bash
# F 10, D.1 13, 25: a run that dies in the middle of a freeze leaves no guest frozen, on this node or another.
. "$LAB_SOURCE/lib.sh"
begin_case
export PVE_FERRY_STATE=$WORK/state-dir

# A guard whose run is dead thaws at once; else at the deadline of the plan ("frozen at most 10 s"). And some seconds for
# starting programs.
deadline=16

# frozen VMID: whether the agent says so; it answers when it is done with what it was told before.
frozen() { [ "$(qm guest cmd "$1" fsfreeze-status)" = frozen ]; }

# The units of guards that live have a file with their process.
no_guard() { [ "$(find "$STATE/units" -name '*.pid' | wc -l)" = 0 ]; }

# dies VMID NODE: kills the run while the guest is frozen, waits for the guard, and looks at the next run.
dies() {
    local vmid=$1 what=$2 begun
    change "ceph:vm-$vmid-disk-0" 32M "random:4M:64K:$what"
    spoil_rbd '{"match": ["snap create", "vm-'"$vmid"'-disk-0"], "action": "pause"}'
    next_second
    ferry_background backup --vmid "$vmid" --label daily --path "$REPO"
    check "F10 $what: the guest is frozen" wait_until 30 test -e "$STATE/$vmid/frozen"
    check "F10 $what: while a snapshot is being made" wait_until 10 spoiled
    begun=$SECONDS
    kill_run
    check "F10, D13 $what: it is thawed by the deadline" wait_until $deadline test ! -e "$STATE/$vmid/frozen"
    echo "     thawed $((SECONDS - begun)) s after the kill"
    repair_rbd
    backup "$vmid" --json
    check "F10 $what: the next run works" exits 0
    check "F10 $what: and says what happened" says 'while the guest was frozen|interrupted run'
    check "F10 $what: one point, which is the new run's" same "$(count_points "$vmid")" 1
    check "F10 $what: the dead run's snapshot is swept" same "$(count_our_snapshots "ceph:vm-$vmid-disk-0")" 1
    check "F10 $what: nothing is left of the guard" wait_until 10 no_guard
    check "F10 $what: nor of the note of the freeze" same "$(find "$PVE_FERRY_STATE/freezes" -name '*.json' | wc -l)" 0
}

simple_vm 100
running 100
dies 100 "own node"
simple_vm 105 pve2
running 105
dies 105 "other node"
check "F10 other node: the guard ran there" grep -qE ' pve2 #unit .*' "$STATE/log"

: >"$STATE/no-systemd"
rmdir /run/systemd/system
simple_vm 101
running 101
dies 101 "without systemd"
mkdir -p /run/systemd/system
rm "$STATE/no-systemd"

# A polite end: the run itself thaws as soon as the snapshot command that it waits for has answered, and says that it was interrupted.
simple_vm 104
running 104
spoil_rbd '{"match": ["snap create", "vm-104-disk-0"], "action": "pause"}'
next_second
ferry_background backup --vmid 104 --label daily --path "$REPO"
check "F10 SIGTERM: the guest is frozen" wait_until 30 test -e "$STATE/104/frozen"
check "F10 SIGTERM: while a snapshot is being made" wait_until 10 spoiled
kill "$FERRY_PID"
sleep 1
go_on
check "F10 SIGTERM: it is thawed at once" wait_until 5 test ! -e "$STATE/104/frozen"
RC=0
wait "$FERRY_PID" || RC=$?
repair_rbd
check "F10 SIGTERM: the exit code says interrupted" exits 130
check "F10 SIGTERM: no point" same "$(count_points 104)" 0
check "F10 SIGTERM: nothing is left of the guard" wait_until 10 no_guard

# The other node takes no new connection while the guest there is frozen: its guard is over there, and is heard over its
# own, which stands.
simple_vm 106 pve2
running 106
spoil_rbd '{"match": ["snap create", "vm-106-disk-0"], "action": "pause"}'
next_second
ferry_background backup --vmid 106 --label daily --path "$REPO" --json
check "F10 ssh breaks: the guest is frozen" wait_until 30 test -e "$STATE/106/frozen"
check "F10 ssh breaks: while a snapshot is being made" wait_until 10 spoiled
kill -STOP "$(cat "$NODE/ssh/pid")"
go_on
check "F10 ssh breaks: it is thawed by the deadline" wait_until $deadline test ! -e "$STATE/106/frozen"
RC=0
wait "$FERRY_PID" || RC=$?
kill -CONT "$(cat "$NODE/ssh/pid")"
repair_rbd
check "F10 ssh breaks: the guard was heard all the same" exits 0
check "F10 ssh breaks: and the point is frozen" json_is '.guests[0].consistency' frozen

# A snapshot that takes too long: the guard thaws while the run lives, and the point is worth only `crash`.
simple_vm 102
running 102
spoil_rbd '{"match": ["snap create", "vm-102-disk-0"], "action": "late", "seconds": 14}'
next_second
ferry_background backup --vmid 102 --label daily --path "$REPO" --json
check "D13 late snapshot: frozen" wait_until 30 test -e "$STATE/102/frozen"
check "D13 late snapshot: thawed by the deadline although the run hangs" wait_until $deadline test ! -e "$STATE/102/frozen"
RC=0
wait $FERRY_PID || RC=$?
repair_rbd
if [ "$RC" = 0 ]; then
    check "D13 late snapshot: what came of it is not called frozen" same "$(newest 102 .consistency)" crash
else
    check "D13 late snapshot: the run failed and made no point" same "$(count_points 102)" 0
fi

# An agent that says no: PVE's qm prints the error and exits 0, so its words count.
simple_vm 103
running 103
echo "fsfreeze hook has failed with status 1" >"$STATE/103/freeze-fails"
backup 103
check "D13 a freeze that failed is not called frozen" same "$(newest 103 .consistency)" crash
rm "$STATE/103/freeze-fails"
echo 1 >"$STATE/103/thaw-fewer"
backup 103
check "D13 fewer thawed than frozen is not called frozen" same "$(newest 103 .consistency)" crash
rm "$STATE/103/thaw-fewer"
# The guest takes longer to freeze than it may stay frozen, which counts from the answer.
echo 13 >"$STATE/103/freeze-hangs"
backup 103
check "D13 a slow freeze is waited for" same "$(newest 103 .consistency)" frozen
check "D13 a slow freeze: the guest is thawed" not frozen 103
# One that is given up is thawed when it comes, and the run is not ok before that.
backup 103 --freeze-timeout 3
check "D13 a freeze that is given up: the run works" exits 0
check "D13 a freeze that is given up: the guest is thawed" not frozen 103
check "D13 a freeze that is given up: the point is not called frozen" same "$(newest 103 .consistency)" crash
rm "$STATE/103/freeze-hangs"
running 103 0
backup 103
check "F26 without an agent it is a crash-consistent point" same "$(newest 103 .consistency)" crash
rm "$STATE/103/running"
backup 103
check "F26 a stopped guest's point says so" same "$(newest 103 .consistency)" stopped
