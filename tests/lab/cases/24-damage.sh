#!/usr/bin/env bash
# D.1 9: damaged, truncated and missing files are found, named, never restored as if well; --mark makes the next a base.
. "$LAB_SOURCE/lib.sh"
begin_case

disk=ceph:vm-100-disk-0
simple_vm 100
declare -a sums
for round in 1 2 3; do
    backup 100
    sums+=("$(sha_of $disk)")
    change $disk 32M "random:${round}M:512K:$round"
done
mapfile -t times < <(points 100)
middle=$(find "$REPO" -name 'scsi0.increment.rbd*' ! -name '*.idx' | sort | head -n 1)
cp "$middle" "$WORK/good"

# costs NAME: verify finds it, names the points that it costs, and restore refuses them; others are well.
costs() {
    ferry verify --path "$REPO" --json
    check "D9 $1: verify finds damage" exits 12
    ferry verify --path "$REPO"
    check "D9 $1: and names the file's point" says "${times[1]}|$(basename "$(dirname "$middle")")"
    check "D9 $1: and the point that needs it" says "${times[2]}|$(date -u -d "${times[2]}" +%Y%m%dT%H%M%SZ)"
    ferry restore --path "$REPO" --vmid 100 --time "${times[1]}" --target-vmid 900
    check "D9 $1: the damaged point is not restored" fails
    check "D9 $1: no configuration is left" test ! -e "$(conf_of 900)"
    check "D9 $1: no image is left" same "$(rbd_a ls rbd | grep -c vm-900 || true)" 0
    ferry restore --path "$REPO" --vmid 100 --time "${times[2]}" --target-vmid 900
    check "D9 $1: nor the one that needs it" fails
    check "D9 $1: the base before it restores" restored_equals 100 "${times[0]}" 900 scsi0 "${sums[0]}"
    cp "$WORK/good" "$middle"
}
size=$(stat -c %s "$middle")
printf '\xff' | dd of="$middle" bs=1 seek=$((size / 3)) conv=notrunc status=none
cmp -s "$middle" "$WORK/good" && printf '\x00' | dd of="$middle" bs=1 seek=$((size / 3)) conv=notrunc status=none
costs "a changed byte"
truncate -s $((size / 2)) "$middle"
costs "a truncated file"
rm "$middle"
costs "a missing file"
: >"$middle"
costs "an empty file"

ferry verify --path "$REPO"
check "D9 repaired, everything verifies" exits 0
ferry verify --path "$REPO" --vmid 100 --read-data-subset 1/2
check "verify of a part works" exits 0

truncate -s $((size / 2)) "$middle"
ferry verify --path "$REPO" --mark
check "verify --mark finds damage" exits 12
"$FERRY" list --path "$REPO" --json >"$OUT"
check "verify --mark marks the points" json_is '[.restore_points[] | select(.verified == "failed")] | length' 2
backup 100
check "verify --mark: the next backup works" exits 0
check "verify --mark: and is a base" same "$(newest 100 .images[0].kind)" base
check "verify --mark: and right" restored_equals 100 latest 900 scsi0 "$(sha_of $disk)"

# A chain without its base is no chain: a restore says so and does not write "restored with success" (D.1 9).
rm "$(find "$REPO" -name 'scsi0.base.rbd*' ! -name '*.idx' | sort | head -n 1)"
cp "$WORK/good" "$middle"
ferry restore --path "$REPO" --vmid 100 --time "${times[1]}" --target-vmid 900
check "D9 a chain without its base is not restored" fails
