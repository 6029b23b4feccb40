#!/usr/bin/env bash
# Restorable with stock tools only: what RESTORE.txt says is done to the letter, with the product not on PATH.
. "$LAB_SOURCE/lib.sh"
begin_case

vm 100 <<'CONF'
scsi0: ceph:vm-100-disk-0,size=40M
virtio1: big:vm-100-disk-1,size=16M
CONF
make_volume ceph:vm-100-disk-0 40M
make_volume big:vm-100-disk-1 16M
change ceph:vm-100-disk-0 40M random:0:2M:1 text:20M:6M:3
change big:vm-100-disk-1 16M random:0:2M:1
declare -a times sums0 sums1
for round in 1 2 3; do
    backup 100
    check "stock tools: backup $round" exits 0
    times+=("$(newest 100)")
    sums0+=("$(sha_of ceph:vm-100-disk-0)")
    sums1+=("$(sha_of big:vm-100-disk-1)")
    change ceph:vm-100-disk-0 $((40 + round * 8))M "random:$((round * 7))M:1M:$round" zero:21M:2M
    change big:vm-100-disk-1 16M "random:$((round * 3))M:1M:$round"
done
guest=$(dirname "$(find "$REPO" -name RESTORE.txt)")
check "stock tools: there is one RESTORE.txt" test -s "$guest/RESTORE.txt"
cp "$guest/RESTORE.txt" "$LAB/last-RESTORE.txt"

# A machine with Ceph and Python, without us: a PATH of the system's directories.
stock() { (cd "$guest" && env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"); }
check "stock tools: the product is not there" not stock sh -c 'command -v pve-ferry'

for n in 0 1 2; do
    for disk in scsi0 virtio1; do
        [ $disk = scsi0 ] && want=${sums0[n]} || want=${sums1[n]}
        if [ $disk = scsi0 ]; then want=${sums0[n]}; else want=${sums1[n]}; fi
        target=rbd/restored-$disk-$n
        "$LAB_SOURCE/restore_txt.py" ceph "$guest/RESTORE.txt" "${times[n]}" $disk "$target" >"$WORK/commands"
        check "stock tools: RESTORE.txt has commands for point $n, $disk" test -s "$WORK/commands"
        check "stock tools: they run" stock CEPH_CONF="$A/ceph.conf" bash -euo pipefail "$WORK/commands"
        check "stock tools: point $n, $disk is bit-identical with Ceph" same \
            "$(rbd_a export --no-progress "$target" - | sha256sum | cut -d' ' -f1)" "$want"
        "$LAB_SOURCE/restore_txt.py" raw "$guest/RESTORE.txt" "${times[n]}" $disk "$WORK/$disk-$n.raw" >"$WORK/commands"
        check "stock tools: RESTORE.txt has commands without Ceph" test -s "$WORK/commands"
        check "stock tools: they run" stock bash -euo pipefail "$WORK/commands"
        check "stock tools: point $n, $disk is bit-identical without Ceph" same \
            "$(sha_of_file "$WORK/$disk-$n.raw")" "$want"
    done
done
