#!/usr/bin/env bash
# F 6, D.1 3-8: --keep over grow, shrink, shrink-then-grow and discards. Merged images do what `rbd merge-diff` makes of
# the same increments, and every listed point is what its snapshot held at that time; --fold, too.
. "$LAB_SOURCE/lib.sh"
begin_case
begin_repository

printf 'scsi0: ceph:vm-100-disk-0,discard=on,size=40M\nvirtio1: big:vm-100-disk-1,size=16M\n' | vm 100
disk=ceph:vm-100-disk-0 other=big:vm-100-disk-1
make_volume $disk 40M
make_volume $other 16M
declare -A sum stamp

# point NAME [OPTION...]: a backup; what both disks hold then is noted under its time.
point() {
    local name=$1 time
    shift
    backup 100 "$@"
    check "F6 backup after $name" exits 0
    check "F6 backup after $name has nothing to warn of" not_says warning
    time=$(newest 100)
    sum[$time/scsi0]=$(sha_of $disk@"$(our_snapshots_of $disk)")
    sum[$time/virtio1]=$(sha_of $other@"$(our_snapshots_of $other)")
    stamp[$name]=$(date -u -d "$time" +%Y%m%dT%H%M%SZ)
}

# all_listed WHEN: each listed point of each disk is bit by bit what it was.
all_listed() {
    local time key result=0
    for time in $(points 100); do
        for key in scsi0 virtio1; do
            rm -f "$WORK/one.raw"
            ferry assemble --path "$REPO" --vmid 100 --disk $key --time "$time" --output "$WORK/one.raw"
            [ "$RC" = 0 ] && same "$(sha_of_file "$WORK/one.raw")" "${sum[$time/$key]}" || result=1
        done
    done
    check "F6 $1: every listed point of every disk is what its snapshot held" same $result 0
    ferry verify --path "$REPO"
    check "F6 $1: verify finds nothing" exits 0
}

change $disk 40M random:0:2M:1 random:12M:100:2 text:20M:6M:3 random:41943000:40:4
change $other 16M random:0:2M:1
point base
change $disk 60M random:50M:3M:5 zero:20M:4M random:512:512:6
change $other 16M random:5M:1M:2
point grow
change $disk 24M random:16M:1M:7
change $other 16M zero:0:1M
point shrink
change $disk 12M random:2M:64K:8
change $disk 48M random:44M:1M:9
point shrink-grow
change $disk 48M zero:0:4M random:1M:64K:10 zero:44M:512K
change $other 20M random:19M:512K:4
point discard
point nothing
change $disk 40M random:39M:1M:11
point last
cp -a "$REPO" "$WORK/before"

ferry prune --path "$REPO" --keep 2
check "F6 prune --keep 2" exits 0
check "F6 one base and two increments are left" same "$(count_points 100)" 3
check "F6 nothing else is left of the others" same "$(find "$REPO" -name manifest.json | wc -l)" 3
all_listed "after prune"
for time in $(points 100); do
    check "F6 and restores so" restored_equals 100 "$time" 901 scsi0 "${sum[$time/scsi0]}" virtio1 "${sum[$time/virtio1]}"
done

# The reference: the same increments, merged by Ceph's own tool, then applied to the same base.
stream() { find "$1" -path "*daily/$2/$3.*.zst" -exec zstd -dcq {} +; }
applied() { # applied BASE-STREAM INCREMENT-STREAM SIZE: the sum of an image made of both
    rbd_a create --size "$3" rbd/reference
    rbd_a import-diff --no-progress "$1" rbd/reference && rbd_a import-diff --no-progress "$2" rbd/reference
    rbd_a export --no-progress rbd/reference - | sha256sum | cut -d' ' -f1
    rbd_a snap purge --no-progress rbd/reference 2>/dev/null
    rbd_a rm --no-progress rbd/reference
}
kept=${stamp[nothing]}
for key in scsi0 virtio1; do
    stream "$WORK/before" "${stamp[base]}" $key >"$WORK/base.diff"
    stream "$WORK/before" "${stamp[grow]}" $key >"$WORK/sum.diff"
    for name in shrink shrink-grow discard nothing; do
        stream "$WORK/before" "${stamp[$name]}" $key >"$WORK/next.diff"
        rbd_a merge-diff --no-progress "$WORK/sum.diff" "$WORK/next.diff" "$WORK/merged.diff"
        mv "$WORK/merged.diff" "$WORK/sum.diff"
    done
    stream "$REPO" "$kept" $key >"$WORK/ours.diff"
    check "F6 $key: one merged file stands there" same "$(find "$REPO" -path "*daily/$kept/$key.*.zst" | wc -l)" 1
    theirs=$(applied "$WORK/base.diff" "$WORK/sum.diff" 1M)
    ours=$(applied "$WORK/base.diff" "$WORK/ours.diff" 1M)
    check "F6 $key: the merged increment does what that of rbd merge-diff does" same "$ours" "$theirs"
    check "F6 $key: which is what the snapshot held" same "$ours" "${sum[$(points 100 | sed -n 2p)/$key]}"
done

# Every backup merges from now on, and a base is moved up when it is worth it.
round=0
for size in 56M 30M 30M 52M; do
    round=$((round + 1))
    change $disk $size "random:$((round * 3))M:2M:$round" "zero:$((round * 5))M:1M"
    change $other 20M "random:${round}M:300K:$round"
    point "round $round" --keep 2
    check "F6 three points after round $round" same "$(count_points 100)" 3
    check "F6 and no hidden one" same "$(find "$REPO" -name manifest.json | wc -l)" 3
    all_listed "round $round"
done
first=$(points 100 | head -n 1)
change $disk 52M random:1M:1M:x
point folded --keep 2 --fold 10%
check "fold: the base is another point now" differs "$(points 100 | head -n 1)" "$first"
check "fold: which is a base" same "$(points 100 '.images | map(.kind) | unique | join(",")' | head -n 1)" base
check "fold: there are three points" same "$(count_points 100)" 3
all_listed "after a fold"
time=$(points 100 | head -n 1)
check "fold: it restores" restored_equals 100 "$time" 901 scsi0 "${sum[$time/scsi0]}" virtio1 "${sum[$time/virtio1]}"
change $disk 52M random:2M:1M:y
point "the fold"
check "fold: the next one is an increment" same "$(newest 100 '.images | map(.kind) | unique | join(",")')" increment
all_listed "after all"
