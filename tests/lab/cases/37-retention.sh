#!/usr/bin/env bash
# F 8, F 9: ten days of retention and renewal on two disks; a merge over a damaged image fails loudly and touches nothing.
. "$LAB_SOURCE/lib.sh"
begin_case

vm 100 <<'CONF'
scsi0: ceph:vm-100-disk-0,size=16M
scsi1: krbd:vm-100-disk-0,size=8M
CONF
make_volume ceph:vm-100-disk-0 16M
make_volume krbd:vm-100-disk-0 8M
declare -A first second
declare -a made

# whole: every listed point holds both disks as they were.
whole() {
    local time disk
    for time in $(points 100); do
        for disk in scsi0 scsi1; do
            rm -f "$WORK/point.raw"
            "$FERRY" assemble --path "$REPO" --vmid 100 --time "$time" --disk $disk --output "$WORK/point.raw" || return 1
            [ $disk = scsi0 ] && same "$(sha_of_file "$WORK/point.raw")" "${first[$time]}" && continue
            [ $disk = scsi1 ] && same "$(sha_of_file "$WORK/point.raw")" "${second[$time]}" && continue
            return 1
        done
    done
}
listed() { points 100 | grep -qxF "$1"; }

days_well='' days_whole=yes days_kept=yes
for day in 0 1 2 3 4 5 6 7 8 9; do
    change ceph:vm-100-disk-0 16M "random:${day}M:500K:a$day" "zero:$(((day * 7) % 14))M:300K"
    change krbd:vm-100-disk-0 8M "random:$((day % 6))M:100K:b$day"
    under_clock "+${day}d" backup --vmid 100 --label daily --path "$REPO" --retain 2d --renew 3
    days_well+=$RC
    time=$(newest 100)
    made+=("$time")
    first[$time]=$(sha_of ceph:vm-100-disk-0) second[$time]=$(sha_of krbd:vm-100-disk-0)
    whole >"$WORK/whole" || days_whole="not on day $day: $(cat "$WORK/whole")"
    [ $day = 0 ] || listed "${made[$((day - 1))]}" || days_kept="yesterday's point is gone on day $day"
done
check "F8 all ten runs work" same "$days_well" 0000000000
check "F8 after each, every listed point is right for both disks" same "$days_whole" yes
check "F8 nothing newer than the limit is lost" same "$days_kept" yes
check "F8 what is older than the limit goes" not listed "${made[5]}"
check "F8 bases were renewed" same "$(find "$REPO" -name 'scsi0.base.rbd*' ! -name '*.idx' | wc -l | tr -d ' ')" \
    "$(find "$REPO" -name 'scsi1.base.rbd*' ! -name '*.idx' | wc -l | tr -d ' ')"
check "F8 no more than two chains are stored" test "$(find "$REPO" -name 'scsi0.base.rbd*' ! -name '*.idx' | wc -l)" -le 2
ferry verify --path "$REPO"
check "F8 what is stored verifies" exits 0

# F 9: the second of six images is damaged; keep=2 would merge it with its neighbours.
simple_vm 101
declare -a sums
for round in 1 2 3 4 5 6; do
    backup 101
    sums+=("$(sha_of ceph:vm-101-disk-0)")
    change ceph:vm-101-disk-0 32M "random:${round}M:512K:$round"
done
mapfile -t times < <(points 101)
images() { find "$REPO" -path '*/101-*' -name 'scsi0.*.rbd*' ! -name '*.idx' | sort; }
damaged=$(images | grep increment | sed -n 2p)
cp "$damaged" "$WORK/good"
size=$(stat -c %s "$damaged")
printf '\xff\x00\xff\x00' | dd of="$damaged" bs=1 seek=$((size / 2)) conv=notrunc status=none
state() { images | while read -r file; do sha256sum "$file"; done; }
before=$(state)
ferry prune --path "$REPO" --vmid 101 --keep 2
check "F9 merging over a damaged image fails with 12" exits 12
check "F9 and says so by the file's name" says "$(basename "$(dirname "$damaged")")|${times[2]}"
check "F9 all images are untouched" same "$(state)" "$before"
backup 101 --keep 2
check "F9 a backup that meets the damage while it merges fails with 12" exits 12
check "F9 and names it" says 'committed, but .*increment.rbd.zst is damaged'
check "F9 its point is there whatever became of the merge" same "$(newest 101 | grep -vcxF "${times[5]}")" 1
ferry list --path "$REPO" --json
check "F9 the points that need it are marked" json_is '[.restore_points[] | select(.vmid == 101 and .verified == "failed")] | length' 2
backup 101
check "F9 the next backup works" exits 0
check "F9 and is a base" same "$(newest 101 .images[0].kind)" base
check "F9 and right" restored_equals 101 latest 901 scsi0 "$(sha_of ceph:vm-101-disk-0)"
check "F9 the base is right" restored_equals 101 "${times[0]}" 901 scsi0 "${sums[0]}"
while read -r sum file; do
    [ "$file" = "$damaged" ] || check "F9 ${file##*/my backups/} is as it was" \
        same "$(sha256sum <"$file" | cut -d' ' -f1)" "$sum"
done <<<"$before"
cp "$WORK/good" "$damaged"
ferry prune --path "$REPO" --vmid 101 --keep 2
check "F9 mended, it merges" exits 0
ferry verify --path "$REPO" --vmid 101
check "F9 and everything verifies" exits 0
