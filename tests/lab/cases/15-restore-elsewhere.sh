#!/usr/bin/env bash
# F 15, D.1 26: a deleted guest comes back non-interactively, under a new vmid, on other storages, and starts.
. "$LAB_SOURCE/lib.sh"
begin_case

vm 100 <<'CONF'
scsi0: ceph:vm-100-disk-0,size=16M
scsi1: krbd:vm-100-disk-0,size=16M

[before]
scsi0: ceph:vm-100-disk-0,size=16M
snaptime: 1700000000
CONF
make_volume ceph:vm-100-disk-0 16M
make_volume krbd:vm-100-disk-0 16M
change ceph:vm-100-disk-0 16M random:0:1M:0
change krbd:vm-100-disk-0 16M random:0:1M:1
sha0=$(sha_of ceph:vm-100-disk-0) sha1=$(sha_of krbd:vm-100-disk-0)
old_conf=$(cat "$(conf_of 100)")
backup 100
check "F15 the backup" exits 0

ferry restore --path "$REPO" --vmid 100
check "F15 an existing guest is refused" fails
check "F15 and not touched" same "$(cat "$(conf_of 100)")" "$old_conf"

remove_guest 100
check "D21 our snapshots do not keep PVE from deleting the guest" not exists ceph:vm-100-disk-0
ferry restore --path "$REPO" --vmid 100
check "F15 a deleted guest comes back as itself" exits 0
check "F15 with its MAC address" grep -qi 'BC:24:11:00:00:64' "$(conf_of 100)"
check "F15 with its uuid" grep -q "$(uuid_for 100)" "$(conf_of 100)"
check "F15 bit-identical" same "$(sha_of "$(volume_of 100 scsi0)")" "$sha0"

# Its image is named as a longer one begins: names are compared whole (D.1 26).
make_volume ceph:vm-900-disk-10 16M
ferry restore --path "$REPO" --vmid 100 --target-vmid 900 --map-storage ceph:tenant --map-storage krbd:dotted --start
check "F15 a new vmid, mapped storages, started" exits 0
check "F15 scsi0 is where the map says" same "$(volume_of 900 scsi0 | cut -d: -f1)" tenant
check "F15 scsi1 is where the map says" same "$(volume_of 900 scsi1 | cut -d: -f1)" dotted
check "F15 scsi0 is bit-identical" same "$(sha_of "$(volume_of 900 scsi0)")" "$sha0"
check "F15 scsi1 is bit-identical" same "$(sha_of "$(volume_of 900 scsi1)")" "$sha1"
check "F15 it runs" test -e "$STATE/900/running"
check "F15 it has a MAC address of its own" not grep -qi 'BC:24:11:00:00:64' "$(conf_of 900)"
check "F15 and keeps the network's other options" grep -qE '^net0: virtio=([0-9A-F]{2}:){5}[0-9A-F]{2},bridge=vmbr0,firewall=1$' "$(conf_of 900)"
check "F15 and a vmgenid of its own" not grep -q "$(uuid_for 100 gen)" "$(conf_of 900)"
check "F15 its configuration has no snapshot sections of volumes that are not there" not grep -q '^\[before\]' "$(conf_of 900)"
check "F15 PVE reads it" same "$(qm config 900 | sed -n 's/^memory: //p')" 2048

# A volume of that name is there already: refused, and not a byte of it changes.
make_volume ceph:vm-902-disk-0 16M
change ceph:vm-902-disk-0 16M random:0:64K:mine
mine=$(sha_of ceph:vm-902-disk-0)
ferry restore --path "$REPO" --vmid 100 --target-vmid 902 --disk scsi0 --to ceph:vm-902-disk-0
check "F15, D26 an existing image is refused" fails
check "F15, D26 and not touched" same "$(sha_of ceph:vm-902-disk-0)" "$mine"
ferry restore --path "$REPO" --vmid 100 --disk scsi0 --to tenant:vm-902-disk-7
check "F15 a single disk as a volume of its own" exits 0
check "F15 it is bit-identical" same "$(sha_of tenant:vm-902-disk-7)" "$sha0"
simple_vm 903
ferry restore --path "$REPO" --vmid 100 --disk scsi1 --to tenant --attach 903
check "F15 a single disk attached to another guest" exits 0
check "F15 it is in that guest's configuration" grep -qE '^(unused|scsi)[0-9]+: tenant:' "$(conf_of 903)"

# A restore that fails leaves nothing half there.
spoil_rbd '{"match": ["import-diff"], "action": "fail", "rc": 5, "times": 0}'
ferry restore --path "$REPO" --vmid 100 --target-vmid 904
check "D9 a restore whose import fails says so" fails
repair_rbd
check "D9 no configuration is left" test ! -e "$(conf_of 904)"
check "D9 no image is left" same "$(rbd_a ls rbd | grep -c 'vm-904' || true)" 0
check "D9 the guest can be restored afterwards" "$FERRY" restore --path "$REPO" --vmid 100 --target-vmid 904

# A restore that is killed leaves its volumes; the next one removes exactly those and brings the guest back.
spoil_rbd '{"match": ["import-diff"], "action": "pause"}'
ferry_background restore --path "$REPO" --vmid 100 --target-vmid 905
check "D9 killed: while it writes a volume" wait_until 30 spoiled
kill_run
repair_rbd
check "D9 killed: its volumes are there" exists ceph:vm-905-disk-0
ferry restore --path "$REPO" --vmid 100 --target-vmid 905 --dry-run
check "D9 killed: the next one's plan names what was left" says 'delete volume +ceph:vm-905-disk-0 +because an interrupted restore left it'
ferry restore --path "$REPO" --vmid 100 --target-vmid 905
check "D9 killed: the next one works" exits 0
check "D9 killed: and says what it removed" says 'deleted volume ceph:vm-905-disk-0'
check "D9 killed: bit-identical" same "$(sha_of "$(volume_of 905 scsi0)")" "$sha0"
