#!/usr/bin/env bash
# D.1 12, 18, 20, 21, 25, 27: exit codes, options that swallow others, the config's moment, dead nodes, odd paths.
. "$LAB_SOURCE/lib.sh"
begin_case

simple_vm 100
simple_vm 101
ferry backup --vmid 100,999 --label daily --path "$REPO" --json
check "D12 an unknown guest among known ones is exit 3" exits 3
check "D12 the known one is saved" same "$(count_points 100)" 1
check "D12 the unknown one is named" says 999
ferry backup --vmid 999 --label daily --path "$REPO"
check "D12 nothing selected is exit 4" exits 4
ferry backup --vmid 100 --label daily --path "$WORK/nowhere"
check "D12 no repository is exit 10" exits 10
ferry backup --vmid 100 --label "Daily Run" --path "$REPO"
check "D12 a wrong label is exit 2" exits 2
ferry backup --vmid 100 --path "$REPO"
check "D12 no label is exit 2" exits 2
ferry frobnicate
check "D12 an unknown command is exit 2" exits 2

# One guest fails, the other one is saved, and thawing afterwards does not make it well (D.1 12).
running 100
running 101
spoil_rbd '{"match": ["export-diff", "vm-100-disk-0"], "action": "fail", "rc": 2}'
next_second
ferry backup --vmid 100,101 --label daily --path "$REPO" --json
repair_rbd
check "D12 one of two failed: exit 3" exits 3
check "D12 the report says which" json_is '[.guests[] | [.vmid, .status] | join(":")] | sort | join(" ")' "100:failed 101:ok"
check "D12 both are thawed" test ! -e "$STATE/100/frozen" -a ! -e "$STATE/101/frozen"

sed -i '1i lock: backup' "$(conf_of 101)"
before=$(cat "$(conf_of 101)")
next_second
ferry backup --vmid 100,101 --label daily --path "$REPO" --json
check "F24 a locked guest is not done: exit 3" exits 3
check "F24 the other one is" json_is '[.guests[] | select(.vmid == 100) | .status][0]' ok
check "F24 the lock is not ours to remove" same "$(cat "$(conf_of 101)")" "$before"
sed -i '/^lock: /d' "$(conf_of 101)"

# barc's --compressthreads swallowed what follows it (D.1 18).
next_second
ferry backup --vmid 101 --compressthreads 2 --iothreads 4 --label weekly --path "$REPO" --json
check "D18 --compressthreads takes one word" exits 0
check "D18 the label after it counts" same "$(newest 101 .label)" weekly
next_second
ferry backup --vmid=101 --label=weekly --path="$REPO" --qemu-freeze --cksum=true --unprotect-snap
check "barc's spellings are accepted" exits 0

# The configuration of a point is the one of its moment, not of the transfer's end (D.1 20).
spoil_rbd '{"match": ["export-diff", "vm-101-disk-0"], "action": "pause", "bytes": 10}'
next_second
ferry_background backup --vmid 101 --label daily --path "$REPO"
check "D20 the transfer is under way" wait_until 30 spoiled
sed -i 's/^memory: 2048/memory: 4096/' "$(conf_of 101)"
go_on
RC=0
wait "$FERRY_PID" || RC=$?
repair_rbd
check "D20 the run works" exits 0
ferry restore --path "$REPO" --vmid 101 --label daily --target-vmid 901
check "D20 the saved configuration is that of the snapshot's moment" grep -qx 'memory: 2048' "$(conf_of 901)"

# Snapshots are not protected unless asked for (D.1 21).
check "D21 our snapshot is not protected" same \
    "$(on_volume ceph:vm-101-disk-0 snap ls --format json {} | jq -r '[.[] | select(.protected == "true")] | length')" 0
next_second
ferry backup --vmid 100 --label kept --path "$REPO" --protect-snap
check "D21 --protect-snap works" exits 0
check "D21 and protects" same \
    "$(on_volume ceph:vm-100-disk-0 snap ls --format json {} | jq -r '[.[] | select(.protected == "true")] | length')" 1
change ceph:vm-100-disk-0 32M random:4M:64K:p
next_second
ferry backup --vmid 100 --label kept --path "$REPO" --protect-snap
check "D21 a protected base is replaced all the same" exits 0
check "D21 one protected snapshot stays" same \
    "$(on_volume ceph:vm-100-disk-0 snap ls --format json {} | jq -r '[.[] | select(.protected == "true")] | length')" 1

# A node that does not answer stalls nobody, and its guest is named (D.1 25).
simple_vm 105 pve2
running 105
"$LAB_SOURCE/ssh.sh" down "$NODE"
begun=$SECONDS
next_second
ferry backup --vmid 100,105 --label daily --path "$REPO" --json
check "D25 a guest on a dead node: exit 3" exits 3
check "D25 the others are saved" json_is '[.guests[] | select(.vmid == 100) | .status][0]' ok
check "D25 it is named" says 105
check "D25 within a minute" test $((SECONDS - begun)) -lt 60
"$LAB_SOURCE/ssh.sh" up "$NODE"
backup 105
check "D25 with the node back it works" exits 0
check "D25 and was frozen over there" grep -q ' pve2 #frozen 105' "$STATE/log"

# A single node without a cluster has no members (D.1 25).
cp "$ETC/.members" "$WORK/members"
printf '{\n"nodename": "pve1",\n"version": 0\n}\n' >"$ETC/.members"
backup 100
check "D25 a single node works" exits 0
cp "$WORK/members" "$ETC/.members"

# Odd names of directories are just names (D.1 27); the repository of every case has a blank in its path.
odd="$WORK/a'b \"c\" \$(touch injected) ; d"
mkdir "$odd"
cd "$WORK" || exit 1
ferry backup --vmid 100 --label daily --path "$odd"
check "D27 an odd path works" exits 0
check "D27 and nothing in it is run" test ! -e "$WORK/injected"
ferry verify --path "$odd"
check "D27 and verifies" exits 0
check "D27 directories are private" same "$(find "$odd/pve-ferry" -type d ! -perm 0700 | wc -l)" 0
check "D27 files are private" same "$(find "$odd/pve-ferry" -type f ! -perm 0600 | wc -l)" 0
make_volume ceph:vm-106-disk-0 0
echo 'scsi0: ceph:vm-106-disk-0,size=0' | vm 106
ferry backup --vmid 106 --label daily --path "$REPO"
check "D27 an image of size 0 divides nothing by zero" exits 0
