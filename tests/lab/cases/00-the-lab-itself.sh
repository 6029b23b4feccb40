#!/usr/bin/env bash
# The lab's own tools do what the other cases believe: changes, faults, nodes, starting, the memory of everything.
. "$LAB_SOURCE/lib.sh"
begin_case

simple_vm 100
disk=ceph:vm-100-disk-0
before=$(sha_of $disk)
change $disk 32M random:1M:64K:x
check "a change changes" differs "$(sha_of $disk)" "$before"
change $disk 40M zero:0:32M
check "a discard over everything leaves zeroes" same "$(sha_of $disk)" "$(head -c 40M /dev/zero | sha256sum | cut -d' ' -f1)"

everything >"$WORK/first"
everything >"$WORK/second"
check "looking changes nothing" diff "$WORK/first" "$WORK/second"
on_volume "$disk@x" snap create --no-progress {}
everything >"$WORK/second"
check "a snapshot is noticed" not diff "$WORK/first" "$WORK/second"

spoil_rbd '{"match": ["export-diff"], "action": "truncate", "bytes": 100}'
cut=$(rbd -c "$A/ceph.conf" export-diff --no-progress rbd/vm-100-disk-0@x - | wc -c)
check "a stream that is shorter than the cut passes whole" same "$cut" 28
repair_rbd
change $disk 40M random:0:1M:y
spoil_rbd '{"match": ["export-diff"], "action": "truncate", "bytes": 100}'
check "a truncated stream ends with 0" test "$(rbd -c "$A/ceph.conf" export-diff --no-progress rbd/vm-100-disk-0 - | wc -c)" = 100
check "and only once" test "$(rbd -c "$A/ceph.conf" export-diff --no-progress rbd/vm-100-disk-0 - | wc -c)" -gt 1000000
spoil_rbd '{"match": ["export-diff"], "action": "kill", "bytes": 100}'
rc=0
rbd -c "$A/ceph.conf" export-diff --no-progress rbd/vm-100-disk-0 - >"$WORK/cut" 2>/dev/null || rc=$?
check "a killed rbd died of SIGKILL" same "$rc $(stat -c %s "$WORK/cut")" "137 100"
repair_rbd

check "a guest starts only when its volumes exist" qm start 100
sed -i 's/vm-100-disk-0/vm-100-disk-7/' "$(conf_of 100)"
qm stop 100
check "and not otherwise" not qm start 100
sed -i '/^scsi0/d' "$(conf_of 100)"
qm rescan --vmid 100 >/dev/null
check "a rescan finds the volume" grep -qx "unused0: $disk" "$(conf_of 100)"
simple_vm 105 pve2
running 105
options=(-e none -o BatchMode=yes -o ConnectTimeout=10 -o HostKeyAlias=pve2 -o "UserKnownHostsFile=$ETC/nodes/pve2/ssh_known_hosts"
    -o GlobalKnownHostsFile=none)
check "the second node answers by ssh" same "$(ssh "${options[@]}" -- root@127.0.0.2 'hostname; qm status 105' | xargs)" \
    "pve2 status: running"
check "its guest is not ours to ask" not qm status 105
remove_guest 105
check "a guest that is removed leaves no image" not exists ceph:vm-105-disk-0
make_volume remote:vm-1-disk-0 8M
check "cluster B is another one" not exists ceph:vm-1-disk-0
wipe_images b
check "and can be emptied" not exists remote:vm-1-disk-0

# The product's short way to the cluster's id and space gives what Ceph's own program gives.
quick=$("$FERRY" ask-ceph --conf "$A/ceph.conf" --user client.admin)
check "librados names the cluster as ceph does" same "$(jq -r .fsid <<<"$quick")" "$(ceph -c "$A/ceph.conf" fsid)"
check "and its pools" same "$(jq -c '[.df.pools[].name]' <<<"$quick")" \
    "$(ceph -c "$A/ceph.conf" df --format json | jq -c '[.pools[].name]')"
check "no cluster is an error" not "$FERRY" ask-ceph --conf /dev/null --user client.admin
