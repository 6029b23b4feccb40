#!/usr/bin/env bash
# A container's acceptance: rootfs and mount points, saved, renewed, pruned and restored as a container that `pct` can run.
. "$LAB_SOURCE/lib.sh"
begin_case

ct 210 <<'CONF'
features: nesting=1
mp0: ceph:vm-210-disk-1,mp=/srv/data,backup=1,mountoptions=noatime;discard,size=16M
mp1: ceph:vm-210-disk-2,mp=/srv/scratch,backup=0,size=16M
mp2: tenant:vm-210-disk-0,mp=/srv/more,backup=1,quota=1,size=16M
mp3: ceph:vm-210-disk-3,mp=/srv/unsaid,size=16M
onboot: 1
rootfs: ceph:vm-210-disk-0,acl=1,size=24M
swap: 256
unprivileged: 1
unused0: ceph:vm-210-disk-9
lxc.apparmor.profile: unconfined

[before]
rootfs: ceph:vm-210-disk-0,size=24M
snaptime: 1700000000
CONF
printf '[OPTIONS]\n\nenable: 1\n\n[RULES]\n\nIN SSH(ACCEPT) -i net0\n' >"$ETC/firewall/210.fw"
make_volume ceph:vm-210-disk-0 24M
for n in 1 2 3 9; do make_volume ceph:vm-210-disk-$n 16M; done
make_volume tenant:vm-210-disk-0 16M
write() {
    change ceph:vm-210-disk-0 24M "random:$1M:1M:root$1"
    change ceph:vm-210-disk-1 16M "random:$1M:1M:data$1"
    change tenant:vm-210-disk-0 16M "random:$1M:1M:more$1"
}
declare -a roots datas mores
keep() {
    roots+=("$(sha_of ceph:vm-210-disk-0)") datas+=("$(sha_of ceph:vm-210-disk-1)") mores+=("$(sha_of tenant:vm-210-disk-0)")
}

mkdir -p "$STATE/210"
: >"$STATE/210/running"
write 1
keep
backup 210 --json
check "a running container is saved" exits 0
check "its consistency is said: crash, as PVE has no safe freeze for it" json_is '.guests[0].consistency' crash
check "what its configuration leaves out is named and no failure" \
    json_is '[.guests[0].skipped[] | .disk] | sort | join(" ")' "mp1 mp3 unused0"
check "with the reason" json_is '[.guests[0].skipped[] | select(.disk == "mp1") | .reason | length > 3] | all' true
write 3
keep
backup 210 --audit 1/1
check "an increment that equals its source" exits 0
check "and it is one" same "$(newest 210 '.images | map(.kind) | unique | join(",")')" increment
rm "$STATE/210/running"
write 5
keep
backup 210 --json
check "a stopped container is consistent as it stands" json_is '.guests[0].consistency' stopped
mapfile -t times < <(points 210)
ferry list --path "$REPO"
check "list says both" says 'crash'
check "list says both, the other one" says 'stopped'

for p in 0 1 2; do
    check "point $((p + 1)) comes back bit-identical" \
        restored_equals 210 "${times[$p]}" 901 rootfs "${roots[$p]}" mp0 "${datas[$p]}" mp2 "${mores[$p]}"
done

ferry restore --path "$REPO" --vmid 210 --target-vmid 211
check "it comes back beside itself" exits 0
conf=$(ct_conf_of 211)
check "as a container" test -f "$conf"
# line KEY PATTERN: the key's value in the current section.
line() { sed -n "/^\[/q; s/^$1: //p" "$conf" | grep -qE -- "^$2\$" || { cat "$conf" && false; }; }
check "rootfs keeps its options" line rootfs 'ceph:vm-211-disk-[0-9]+,acl=1,size=24M'
check "mp0 keeps its options" line mp0 'ceph:vm-211-disk-[0-9]+,mp=/srv/data,backup=1,mountoptions=noatime;discard,size=16M'
check "mp2 keeps its storage" line mp2 'tenant:vm-211-disk-[0-9]+,mp=/srv/more,backup=1,quota=1,size=16M'
check "what was not saved is not in it, so that it can start" not grep -E '^(mp1|mp3|unused[0-9]+):' "$conf"
check "no volume of the old container is in it but as a note" not grep -E '^[^#].*vm-210-' "$conf"
check "no snapshot section is in it, as there are no snapshots" not grep -qE '^\[before|^snaptime' "$conf"
check "what it is stays" line unprivileged 1
check "its features stay" line features nesting=1
check "lines of lxc's own stay" line lxc.apparmor.profile unconfined
check "its address is a new one" not grep -q "$(sed -n 's/.*hwaddr=\([^,]*\),.*/\1/p' "$(ct_conf_of 210)")" "$conf"
check "its firewall comes with it" cmp "$ETC/firewall/211.fw" "$ETC/firewall/210.fw"
check "pct starts it" pct start 211
check "and it runs" test -e "$STATE/211/running"
rm -f "$STATE/211/running"
remove_guest 211

# One mount point alone, onto another storage.
ferry restore --path "$REPO" --vmid 210 --disk mp0 --storage krbd --time "${times[0]}" --target-vmid 212
check "a mount point alone comes back" exits 0
check "as a volume of its own" same "$(on_volume "krbd:$(rbd_a ls ssd-rbd | head -n 1)" export --no-progress {} - | sha256sum | cut -d' ' -f1)" "${datas[0]}"

# Lost for good: the node's files and all volumes are gone.
remove_guest 210
ferry restore --path "$REPO" --vmid 210 --time "${times[1]}"
check "a container that is gone comes back under its own number" exits 0
check "with its address" grep -q 'hwaddr=BC:24:11:01' "$(ct_conf_of 210)"
check "and its content" same "$(sha_of "$(volume_of 210 rootfs)")" "${roots[1]}"
check "qm was never asked about a container" not grep -E '^qm|/qm ' "$STATE/log"
