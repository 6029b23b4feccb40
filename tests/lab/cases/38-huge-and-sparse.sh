#!/usr/bin/env bash
# kind 6: a thin volume of 1 TiB costs what its three blocks do. What was done is counted, not timed.
. "$LAB_SOURCE/lib.sh"
begin_case
# `export-diff` asks the cluster for each of 262,144 objects, which takes a loaded machine some minutes.
FERRY_TIMEOUT=900

# content_of VOLUME: a digest of what is not zero in it, by place. `export` would write 1 TiB.
content_of() {
    on_volume "$1" export-diff --no-progress --whole-object {} - | /usr/bin/python3 -IB -c '
import hashlib, struct, sys
stream, digest = sys.stdin.buffer, hashlib.sha256()
assert stream.read(12) == b"rbd diff v1\n"
while (tag := stream.read(1)) != b"e":
    if tag == b"s":
        digest.update(stream.read(8))
        continue
    offset, length = struct.unpack("<QQ", stream.read(16))
    data = stream.read(length) if tag == b"w" else b""
    for at in range(0, len(data), 4096):
        if any(data[at : at + 4096]):
            digest.update(struct.pack("<Q", offset + at) + data[at : at + 4096])
print(digest.hexdigest())'
}
# asked: how many messages the OSDs have had; what they count as operations lacks those for objects that do not exist.
asked() {
    local osd
    for osd in $(ceph_a osd ls); do ceph_a tell "osd.$osd" perf dump; done |
        jq -s '[.[] | to_entries[] | .value.msgr_recv_messages? // empty] | add'
}
ceph_a() { timeout -k 3 60 /usr/bin/ceph -c "$A/ceph.conf" "$@"; }
used_of() { on_volume "$1" du --format json {} | jq '.images | map(.used_size) | max'; }

echo "scsi0: ceph:vm-100-disk-0,discard=on,size=1T" | vm 100
make_volume ceph:vm-100-disk-0 1T
change ceph:vm-100-disk-0 1024G random:0:4M:1 random:512G:4M:2 random:1048572M:4M:3
content=$(content_of ceph:vm-100-disk-0)
check "1 TiB with three blocks use 12 MiB" same "$(used_of ceph:vm-100-disk-0)" $((12 << 20))

backup 100
check "the backup works" exits 0
check "and reads no more than the three blocks" says 'base of ceph:vm-100-disk-0 \(1.00 TiB\): 12.00 MiB read'
check "which is about what it stores" test "$(du -sm "$REPO" | cut -f1)" -lt 20
before=$(asked)
ferry verify --path "$REPO" --source
check "all of the source is compared" exits 0
check "of which three blocks are read" says 'scsi0 of .*equal, 12.00 MiB compared \(all blocks\)'
check "without a question for each of 262,144 objects" test $(($(asked) - before)) -lt 20000

change ceph:vm-100-disk-0 1024G random:256G:4M:4
changed=$(content_of ceph:vm-100-disk-0)
check "another content is another digest" differs "$content" "$changed"
backup 100
check "an increment of one block works" exits 0
check "and reads that block" says 'increment of ceph:vm-100-disk-0 \(1.00 TiB\): 4.00 MiB read'
change ceph:vm-100-disk-0 1024G zero:0:4M zero:512G:4M
before=$(asked)
ferry verify --path "$REPO" --source
check "what was deleted after the snapshot is compared, too" exits 0
check "all four blocks" says 'scsi0 of .*equal, 16.00 MiB compared \(all blocks\)'
check "with as few questions" test $(($(asked) - before)) -lt 20000

for point in "1 $content" "2 $changed"; do
    time=$(points 100 | sed -n "${point%% *}p")
    ferry restore --path "$REPO" --vmid 100 --time "$time" --target-vmid 901
    check "point ${point%% *} is restored" exits 0
    restored=$(volume_of 901 scsi0)
    check "with its content" same "$(content_of "$restored")" "${point#* }"
    check "and as thin as it was" test "$(used_of "$restored")" -le $((16 << 20))
    remove_guest 901
done
