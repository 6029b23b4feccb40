#!/usr/bin/env bash
# Restorable with stock tools only: what RESTORE.txt says is done to the letter, with the product not on PATH.
. "$LAB_SOURCE/lib.sh"
begin_case

vm 100 <<'CONF'
efidisk0: tenant:vm-100-disk-2,efitype=4m,size=528K
scsi0: ceph:vm-100-disk-0,size=40M
virtio1: big:vm-100-disk-1,size=16M
CONF
echo "[OPTIONS]" >"$ETC/firewall/100.fw"
make_volume ceph:vm-100-disk-0 40M --object-size 1M
make_volume big:vm-100-disk-1 16M
make_volume tenant:vm-100-disk-2 528K
change ceph:vm-100-disk-0 40M random:0:2M:1 text:20M:6M:3
change big:vm-100-disk-1 16M random:0:2M:1
change tenant:vm-100-disk-2 528K random:4K:64K:1
conf=$(cat "$(conf_of 100)")
declare -A sums
points=()
for round in 1 2 3; do
    backup 100 --compress "$(sed -n "${round}p" <<<$'zstd:1\ngzip\nnone')"
    check "stock tools: backup $round" exits 0
    stamp=$(date -u -d "$(newest 100)" +%Y%m%dT%H%M%SZ)
    points+=("daily/$stamp")
    sums[daily/$stamp/scsi0]=$(sha_of ceph:vm-100-disk-0)
    sums[daily/$stamp/virtio1]=$(sha_of big:vm-100-disk-1)
    sums[daily/$stamp/efidisk0]=$(sha_of tenant:vm-100-disk-2)
    change ceph:vm-100-disk-0 $((40 + round * 8))M "random:$((round * 7))M:1M:$round" zero:21M:2M
    change big:vm-100-disk-1 16M "random:$((round * 3))M:1M:$round"
done
last=${points[2]}
text=$(find "$REPO" -name RESTORE.txt)
check "stock tools: there is a RESTORE.txt" test -s "$text"
guest=$(dirname "$text")

# The commands of a section are its indented lines; a person copies them into a shell in the guest's directory.
section() { awk -v name="$1" '/^-+$/ { inside = (before == name) } { before = $0 } inside && /^    /' "$text" | sed 's/^    //'; }
# A machine with Ceph and Python, but without us.
stock() { (cd "$guest" && env -i HOME=/root CEPH_CONF="$A/ceph.conf" OUT="$WORK" PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"); }
check "stock tools: the product is not there" not stock sh -c 'command -v pve-ferry'

# The disaster: guest, disks and configuration are gone.
remove_guest 100
check "stock tools: the disks are gone" not exists ceph:vm-100-disk-0
section "With Ceph" >"$WORK/with"
check "stock tools: commands for Ceph" grep -q 'rbd import-diff' "$WORK/with"
LAST="the section With Ceph" RC=0
stock bash -eu -o pipefail "$WORK/with" >"$OUT" 2>"$ERR" || RC=$?
check "stock tools: they work as they stand" exits 0
check "stock tools: scsi0 is bit-identical" same "$(sha_of ceph:vm-100-disk-0)" "${sums[$last/scsi0]}"
check "stock tools: virtio1 is bit-identical" same "$(sha_of big:vm-100-disk-1)" "${sums[$last/virtio1]}"
check "stock tools: efidisk0 is bit-identical" same "$(sha_of tenant:vm-100-disk-2)" "${sums[$last/efidisk0]}"
check "stock tools: no snapshot is left on it" same "$(snapshots_of ceph:vm-100-disk-0 | grep -c .)" 0
check "stock tools: the object size is back" same "$(on_volume ceph:vm-100-disk-0 info --format json {} | jq .object_size)" 1048576
check "stock tools: the data-pool is back" same "$(on_volume big:vm-100-disk-1 info --format json {} | jq -r .data_pool)" data-only

section "Configuration" | sed "s|^ETC_PVE=.*|ETC_PVE='$ETC'|" >"$WORK/configuration"
LAST="the section Configuration" RC=0
stock bash -eu "$WORK/configuration" >"$OUT" 2>"$ERR" || RC=$?
check "stock tools: the configuration comes back" exits 0
check "stock tools: as it was" same "$(cat "$(conf_of 100)")" "$conf"
check "stock tools: with the firewall" same "$(cat "$ETC/firewall/100.fw")" "[OPTIONS]"
check "stock tools: and the guest starts" qm start 100

mkdir "$WORK/raw"
section "Without Ceph" | sed "s|^OUT=.*|OUT='$WORK/raw'|" >"$WORK/without"
LAST="the section Without Ceph" RC=0
stock bash -eu "$WORK/without" >"$OUT" 2>"$ERR" || RC=$?
check "stock tools: the commands without Ceph work" exits 0
for disk in scsi0 virtio1 efidisk0; do
    check "stock tools: $disk as a raw file is bit-identical" same "$(sha_of_file "$WORK/raw/$disk.raw")" "${sums[$last/$disk]}"
done

# "To take another one, let the program list the points and the files that hold a disk, and use those instead."
program=$WORK/raw/restore.py
check "stock tools: the program lists every point" same "$(stock python3 "$program" | sed 's/:.*//' | xargs)" "${points[*]}"
for point in "${points[@]}"; do
    check "stock tools: $point, scsi0 without Ceph" stock python3 "$program" "$point" scsi0 "$WORK/one.raw"
    check "stock tools: is bit-identical" same "$(sha_of_file "$WORK/one.raw")" "${sums[$point/scsi0]}"
    rm -f "$WORK/one.raw"
    rbd_a create --size 1M rbd/by-hand
    for file in $(stock python3 "$program" "$point" scsi0); do
        case $file in
        *.zst) reader=zstd ;;
        *.gz) reader=gzip ;;
        *) reader=cat ;;
        esac
        [ $reader = cat ] || reader="$reader -dc"
        check "stock tools: $(basename "$file") by hand" stock bash -eu -o pipefail -c \
            "$reader '$file' | rbd import-diff --no-progress - rbd/by-hand"
    done
    check "stock tools: $point, scsi0 with Ceph is bit-identical" same \
        "$(rbd_a export --no-progress rbd/by-hand - | sha256sum | cut -d' ' -f1)" "${sums[$point/scsi0]}"
    rbd_a snap purge --no-progress rbd/by-hand
    rbd_a rm --no-progress rbd/by-hand
done
