#!/usr/bin/env bash
# F 1, D.1 24: every disk, EFI disk, TPM state and cloud-init volume is saved; what is left out is named, and why.
. "$LAB_SOURCE/lib.sh"
begin_case

vm 100 <<'CONF'
bios: ovmf
efidisk0: ceph:vm-100-disk-0,efitype=4m,pre-enrolled-keys=1,size=528K
ide0: none,media=cdrom
ide2: ceph:vm-100-cloudinit,media=cdrom
ide3: local:iso/debian.iso,media=cdrom
scsi0: ceph:vm-100-disk-1,discard=on,iothread=1,size=32M
scsi1: ceph:vm-100-disk-3,backup=0,size=16M
tpmstate0: ceph:vm-100-disk-4,size=4M,version=v2.0
unused0: ceph:vm-100-disk-5
virtio1: ceph:vm-100-disk-2,cache=none,size=16M

[before]
scsi0: ceph:vm-100-disk-9,size=32M
snaptime: 1700000000
CONF
echo "[OPTIONS]" >"$ETC/firewall/100.fw"
number=0
for size in 528K 32M 16M 16M 4M 4M; do
    make_volume "ceph:vm-100-disk-$number" $size
    change "ceph:vm-100-disk-$number" $size "random:64K:64K:$number"
    number=$((number + 1))
done
make_volume ceph:vm-100-cloudinit 4M
change ceph:vm-100-cloudinit 4M text:0:64K:ci
running 100 3

backup 100 --json
check "F1 the backup works although disks are skipped by configuration" exits 0
check "F1 the report says so" json_is .status ok
check "F1 the report names the skipped disk" json_is '[.guests[0].skipped[] | select(.disk == "scsi1")] | length' 1
check "F1 and why" json_is '.guests[0].skipped[] | select(.disk == "scsi1") | .reason | test("backup=0")' true
check "F1 the report says that the repository is a new one" \
    json_is '.warnings | map(select(test("a new repository was begun"))) | length' 1
check "F1 the guest was frozen only for a moment" json_is '.guests[0].frozen_seconds < 5' true

"$FERRY" list --path "$REPO" --json >"$OUT"
check "F1, D24 exactly the right disks are in the point" \
    json_is '[.restore_points[0].images[].disk] | sort | join(" ")' "efidisk0 ide2 scsi0 tpmstate0 virtio1"
check "F1 the point is a frozen one" json_is '.restore_points[0].consistency' frozen
check "F1 the list names the skipped disk, too" \
    json_is '[.restore_points[0].skipped[] | select(.disk == "scsi1")] | length' 1
check "D13 the guest runs on, thawed" test ! -e "$STATE/100/frozen"
check "D13 freeze and thaw were asked once each" same \
    "$(grep -c -e '#frozen 100' -e '#thawed 100' "$STATE/log")" 2

ferry verify --path "$REPO"
check "F1 every image verifies" exits 0

ferry restore --path "$REPO" --vmid 100 --target-vmid 900
check "F1 it comes back as another guest" exits 0
for pair in efidisk0:0 scsi0:1 virtio1:2 tpmstate0:4; do
    key=${pair%:*}
    check "F1 $key is bit-identical" same \
        "$(sha_of "$(volume_of 900 "$key")")" "$(sha_of "ceph:vm-100-disk-${pair#*:}")"
done
check "F1 the cloud-init volume is bit-identical" same \
    "$(sha_of "$(volume_of 900 ide2)")" "$(sha_of ceph:vm-100-cloudinit)"
check "F1 no volume of the old guest is left in the new configuration" \
    not grep -E '^(efidisk0|scsi0|virtio1|tpmstate0|ide2):.*vm-100-' "$(conf_of 900)"
check "F1 the cd-rom is as it was" grep -qx 'ide0: none,media=cdrom' "$(conf_of 900)"
check "F1 disk options survive" grep -qE '^scsi0: .*discard=on.*iothread=1|^scsi0: .*iothread=1.*discard=on' "$(conf_of 900)"
check "F1 the firewall is back" same "$(cat "$ETC/firewall/900.fw")" "[OPTIONS]"
