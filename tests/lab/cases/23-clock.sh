#!/usr/bin/env bash
# D.1 22: clocks that jump back, two runs within a second, summer time: order is never a name or a clock.
. "$LAB_SOURCE/lib.sh"
begin_case

disk=ceph:vm-100-disk-0
simple_vm 100
declare -a sums=()
# at OFFSET: one backup under a clock that is off by that much.
at() {
    under_clock "$1" backup --vmid 100 --label daily --path "$REPO"
    sums+=("$(sha_of $disk)")
    change $disk 32M "random:${#sums[@]}M:256K:c"
}
at +0d
check "clock: today" exits 0
at -30d
check "clock: jumped back 30 days" exits 0
at +400d
check "clock: jumped ahead more than a year" exits 0
at -1d
check "clock: back again" exits 0
check "clock: four points in the order they were made" same "$(count_points 100)" 4
check "clock: one base, then increments" same \
    "$("$FERRY" list --path "$REPO" --json | jq -r '.restore_points | sort_by(.seq) | map(.images[0].kind) | join(",")')" \
    base,increment,increment,increment
n=0
for time in $(points 100); do
    check "clock: point $n is right" restored_equals 100 "$time" 900 scsi0 "${sums[n]}"
    n=$((n + 1))
done
check "clock: one snapshot of ours stays" same "$(count_our_snapshots $disk)" 1

# The hour that comes twice in autumn: names are UTC.
TZ=Europe/Berlin at "@2027-10-31 02:30:00"
check "clock: the doubled hour, first time" exits 0
TZ=Europe/Berlin at "@2027-10-31 02:30:10"
check "clock: the doubled hour, second time" exits 0

# The same second twice: the clock stands still.
at "2028-01-01 00:00:00"
code=$RC
at "2028-01-01 00:00:00"
check "clock: two runs in one second make two points or a clear refusal" test "$code" = 0
check "clock: no point was overwritten" same "$(points 100 | sort -u | wc -l)" "$(count_points 100)"
check "clock: everything verifies" "$FERRY" verify --path "$REPO"
