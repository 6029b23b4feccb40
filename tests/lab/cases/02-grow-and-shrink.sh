#!/usr/bin/env bash
# F 2, C.1: a base and increments with grow, shrink and shrink-then-grow; each point equals its snapshot.
. "$LAB_SOURCE/lib.sh"
begin_case

echo 'scsi0: ceph:vm-100-disk-0,discard=on,size=40M' | vm 100
disk=ceph:vm-100-disk-0
make_volume $disk 40M
declare -A sha kind time

# point NAME: a backup; its snapshot's sum is noted under the name.
point() {
    backup 100
    check "F2 backup after $1" exits 0
    time[$1]=$(newest 100)
    sha[$1]=$(sha_of "$disk@$(our_snapshots_of $disk)")
    kind[$1]=$(newest 100 .images[0].kind)
    check "one snapshot of ours stays after $1" same "$(count_our_snapshots $disk)" 1
}

change $disk 40M random:0:2M:1 random:12M:100:2 text:20M:6M:3 random:41943000:40:4
point base
change $disk 60M random:50M:3M:5 zero:20M:4M random:512:512:6
point grow
change $disk 24M random:16M:1M:7
point shrink
change $disk 12M random:2M:64K:8
change $disk 48M random:44M:1M:9
point shrink-grow
point nothing
on_volume $disk resize --no-progress --size 30M --allow-shrink {}
point only-shrink

check "F2 the first is a base" same "${kind[base]}" base
for name in grow shrink shrink-grow nothing only-shrink; do
    check "F2 $name is an increment: a resize does not need a new base" same "${kind[$name]}" increment
done
for name in base grow shrink shrink-grow nothing only-shrink; do
    check "F2 $name restores bit-identical" restored_equals 100 "${time[$name]}" 901 scsi0 "${sha[$name]}"
    ferry assemble --path "$REPO" --vmid 100 --disk scsi0 --time "${time[$name]}" --output "$WORK/$name.raw"
    check "F2 $name assembles" exits 0
    check "F2 $name assembled is bit-identical" same "$(sha_of_file "$WORK/$name.raw")" "${sha[$name]}"
done
check "an assembled image is sparse" test "$(stat -c %b "$WORK/base.raw")" -lt $((30 * 2048))
before=$(sha_of_file "$WORK/base.raw")
ferry assemble --path "$REPO" --vmid 100 --disk scsi0 --time "${time[grow]}" --output "$WORK/base.raw"
check "assemble refuses a file that exists" fails
check "and leaves it as it was" same "$(sha_of_file "$WORK/base.raw")" "$before"
"$FERRY" list --path "$REPO" --json >"$OUT"
check "C.1 an increment of nothing is small" \
    json_is '[.restore_points[] | select(.seq == 5) | .images[0].stream_bytes][0] < 300' true
ferry verify --path "$REPO"
check "F2 the whole chain verifies" exits 0
