#!/usr/bin/env bash
# G, D.1 3-6: going on with chains of eve4pve-barc, made by the pipelines that it builds; nothing of it changes.
. "$LAB_SOURCE/lib.sh"
begin_case

old="$WORK/old backups"
daily="$old/barc/100/daily"
mkdir -p "$daily"
# A pool with a namespace, and a pool whose name begins with a digit and whose data is in another pool.
disks=(ceph:vm-100-disk-0 tenant:vm-100-disk-1 big:vm-100-disk-2)
names=(rbd.vm-100-disk-0 rbd.ns1.vm-100-disk-1 2tb.vm-100-disk-2)
vm 100 <<'CONF'
scsi0: ceph:vm-100-disk-0,discard=on,size=32M
scsi1: tenant:vm-100-disk-1,size=16M
scsi2: big:vm-100-disk-2,size=16M
CONF
make_volume "${disks[0]}" 32M
make_volume "${disks[1]}" 16M
make_volume "${disks[2]}" 16M
change "${disks[0]}" 32M random:0:3M:1 text:8M:2M:2
change "${disks[1]}" 16M random:0:1M:3
change "${disks[2]}" 16M text:1M:1M:4
running 100 2

# barc_run STAMP [STAMP-BEFORE]: snapshots of all disks first, protected; then each disk's pipeline with its checksum
# and its length beside it; then the configuration; then the snapshots before it go.
barc_run() {
    local stamp=$1 before=${2-} n file
    for n in 0 1 2; do
        on_volume "${disks[n]}@barcdaily$stamp" snap create --no-progress {}
        on_volume "${disks[n]}" snap protect "{}@barcdaily$stamp"
    done 2>/dev/null
    for n in 0 1 2; do
        if [ -z "$before" ]; then
            file=$daily/$stamp${names[n]}.img.zz
            on_volume "${disks[n]}" export --rbd-concurrent-management-ops 10 --no-progress "{}@barcdaily$stamp" - |
                tee >(gzip -3 >"$file") >(wc -c >"$file.sha1.size") | sha1sum >"$file.sha1"
        else
            file=$daily/$stamp${names[n]}.diff.zz
            on_volume "${disks[n]}" export-diff --no-progress --from-snap "barcdaily$before" "{}@barcdaily$stamp" - |
                tee >(gzip -3 >"$file") >(wc -c >"$file.sha1.size") | sha1sum >"$file.sha1"
            on_volume "${disks[n]}" snap unprotect "{}@barcdaily$before"
            on_volume "${disks[n]}" snap rm --no-progress "{}@barcdaily$before"
        fi
    done
    cp "$(conf_of 100)" "$daily/$stamp.conf"
    sleep 0.5
}

of_barc() {
    local n
    find "$old/barc" -printf '%p %y %s %T@ %m\n' | sort
    find "$old/barc" -type f -exec sha256sum {} + | sort -k2
    for n in 0 1 2; do
        on_volume "${disks[n]}" snap ls --format json {} | jq -c '.[] | select(.name | startswith("barc")) | [.id, .name, .size, .protected]'
    done
}

shas() { for n in 0 1 2; do printf '%s %s ' "scsi$n" "$(sha_of "${disks[n]}")"; done; }

first=20260101120000 second=20260102120000 third=20260103120000
barc_run $first
change "${disks[0]}" 48M random:40M:1M:5 zero:1M:1M random:9M:64K:6
change "${disks[1]}" 16M random:2M:1M:7
barc_run $second $first
change "${disks[0]}" 48M random:20M:2M:8 zero:40M:512K
change "${disks[2]}" 16M zero:1M:512K random:5M:300K:9
barc_run $third $second
for n in 0 1 2; do
    check "the old tool's snapshot stands on ${disks[n]}" same "$(snapshots_of "${disks[n]}")" barcdaily$third
done
then=$(shas)
# The guest writes on.
change "${disks[0]}" 48M random:22M:512K:10
of_barc >"$WORK/before"

ferry adopt --path "$old" --to "$REPO" --vmid 100 --label daily --dry-run
check "the dry run names each snapshot" says "adopt +ceph:vm-100-disk-0@barcdaily$third"
check "F16 it makes nothing" same "$(find "$REPO" -mindepth 1)" ""
ferry adopt --path "$old" --to "$REPO" --vmid 100 --label daily --json
check "G the chain is adopted" exits 0
check "all three disks" json_is '.guests[0].volumes | length' 3
check "G nothing of the old tool's is changed" cmp "$WORK/before" <(of_barc)
check "no snapshot of ours was made" same "$(our_snapshots_of ceph:vm-100-disk-0)" ""
ferry verify --path "$REPO"
check "the point verifies" exits 0
# shellcheck disable=SC2086
check "the adopted point is what the snapshots hold" restored_equals 100 latest 900 $then

change "${disks[0]}" 48M random:30M:1M:11
change "${disks[1]}" 32M random:20M:1M:12 zero:2M:256K
now=$(shas)
backup 100 --json
check "the next backup works" exits 0
check "G and is an increment of each disk" json_is '[.guests[0].volumes[].kind] | unique | join(",")' increment
# shellcheck disable=SC2086
check "the increment is right" restored_equals 100 latest 901 $now
change "${disks[2]}" 16M random:9M:1M:13
last=$(shas)
backup 100 --json
check "the one after it, too" json_is '[.guests[0].volumes[].kind] | unique | join(",")' increment
# shellcheck disable=SC2086
check "and is right" restored_equals 100 latest 902 $last
check "G nothing of the old tool's is changed by them" cmp "$WORK/before" <(of_barc)

mv "$old/barc" "$WORK/away"
# shellcheck disable=SC2086
check "without the old files the adopted point is there" restored_equals 100 "$(points 100 | head -n 1)" 903 $then
# shellcheck disable=SC2086
check "and the increment on it" restored_equals 100 "$(points 100 | sed -n 2p)" 904 $now
mv "$WORK/away" "$old/barc"
file=$(find "$REPO" -name 'scsi0.base.rbd.zst')
rbd_a create --size 1 rbd/stock
zstd -dcq "$file" | rbd_a import-diff --no-progress - rbd/stock
check "stock tools restore the adopted image" same "$(rbd_a export --no-progress rbd/stock - | sha256sum | cut -d' ' -f1)" \
    "$(echo "$then" | cut -d' ' -f2)"
rbd_a snap purge --no-progress rbd/stock
rbd_a rm --no-progress rbd/stock

ferry adopt --path "$old" --to "$REPO" --vmid 100 --label daily
check "a second run has nothing to do" exits 0
check "and says so" says 'adopted already'

# A name proves nothing: somebody removes the snapshot and gives its name to a later one.
on_volume "${disks[0]}" snap unprotect "{}@barcdaily$third"
on_volume "${disks[0]}" snap rm --no-progress "{}@barcdaily$third"
on_volume "${disks[0]}" snap create --no-progress "{}@barcdaily$third"
ferry adopt --path "$old" --to "$REPO" --vmid 100 --label daily --as again
check "an impostor is found out" exits 12
check "and no point is made of it" same "$(count_points 100 'select(.label == "again") | .time')" 0
gzip -dc "$daily/$second${names[1]}.diff.zz" | head -c 100000 | gzip >"$WORK/cut"
cp "$WORK/cut" "$daily/$second${names[1]}.diff.zz"
ferry adopt --path "$old" --to "$REPO" --vmid 100 --label daily --as again
check "D3 a cut file is found out" exits 12
for n in 1 2; do on_volume "${disks[n]}" snap unprotect "{}@barcdaily$third"; done
