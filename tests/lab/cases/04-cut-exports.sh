#!/usr/bin/env bash
# F 4, D.1 2, 14: rbd is killed or its stream is cut; an exit code of 0 alone is never believed.
. "$LAB_SOURCE/lib.sh"
begin_case

printf 'scsi0: ceph:vm-100-disk-0,size=32M\nscsi1: ceph:vm-100-disk-1,size=32M\n' | vm 100
for n in 0 1; do
    make_volume ceph:vm-100-disk-$n 32M
    change ceph:vm-100-disk-$n 32M "random:0:6M:$n"
done

# severed NAME RULE: the next run fails, leaves no trace, and the run after it is right.
severed() {
    local name=$1 points before
    points=$(count_points 100)
    before=$(our_snapshots_of ceph:vm-100-disk-0)
    change ceph:vm-100-disk-0 32M "random:1M:3M:$name"
    change ceph:vm-100-disk-1 32M "random:1M:3M:$name-1"
    spoil_rbd "$2"
    backup 100
    check "F4 $name: the call was spoiled" spoiled
    repair_rbd
    check "F4, D2 $name: the run fails" fails
    check "F4 $name: no point came of it" same "$(count_points 100)" "$points"
    check "F4, D14 $name: the snapshots are as before (disk 0)" same "$(our_snapshots_of ceph:vm-100-disk-0)" "$before"
    check "F4, D14 $name: no orphan (disk 1)" same "$(count_our_snapshots ceph:vm-100-disk-1)" "$([ -n "$before" ] && echo 1 || echo 0)"
    backup 100
    check "F4 $name: the next run works" exits 0
    check "F4 $name: and is right" restored_equals 100 latest 900 \
        scsi0 "$(sha_of ceph:vm-100-disk-0)" scsi1 "$(sha_of ceph:vm-100-disk-1)"
}

severed "killed base" '{"match": ["export-diff", "vm-100-disk-0"], "action": "kill", "bytes": 1000000}'
severed "cut base" '{"match": ["export-diff", "vm-100-disk-1"], "action": "truncate", "bytes": 1000000}'
severed "killed increment" '{"match": ["export-diff", "vm-100-disk-0"], "action": "kill", "bytes": 1000000}'
severed "cut increment" '{"match": ["export-diff", "vm-100-disk-0"], "action": "truncate", "bytes": 1000000}'
severed "empty stream" '{"match": ["export-diff", "vm-100-disk-0"], "action": "truncate", "bytes": 0}'
severed "failed export" '{"match": ["export-diff", "vm-100-disk-1"], "action": "fail", "rc": 2}'
severed "failed snapshot" '{"match": ["snap create", "vm-100-disk-1"], "action": "fail", "rc": 22}'
check "F4 the guest's points all verify" "$FERRY" verify --path "$REPO"

# Killed without mercy in the middle of a transfer: the next run converges and says nothing false.
points=$(count_points 100)
change ceph:vm-100-disk-0 32M random:4M:8M:k
spoil_rbd '{"match": ["export-diff", "vm-100-disk-0"], "action": "pause", "bytes": 2000000}'
next_second
ferry_background backup --vmid 100 --label daily --path "$REPO"
check "F4 the transfer is under way" wait_until 30 spoiled
kill_run
repair_rbd
check "F4 a killed run's point is never listed" same "$(count_points 100)" "$points"
backup 100
check "F4 the run after a kill works" exits 0
check "F4 as an increment" same "$(newest 100 .images[0].kind)" increment
check "F4 it swept the dead run's snapshots (disk 0)" same "$(count_our_snapshots ceph:vm-100-disk-0)" 1
check "F4 it swept the dead run's snapshots (disk 1)" same "$(count_our_snapshots ceph:vm-100-disk-1)" 1
check "F4 and its files" same "$(find "$REPO" -name '*.base.rbd*' -o -name '*.increment.rbd*' | grep -vc '\.idx$')" \
    $(((points + 1) * 2))
check "F4 it is right" restored_equals 100 latest 900 scsi0 "$(sha_of ceph:vm-100-disk-0)"
