#!/usr/bin/env bash
# F 12, F 6, F 7, D.1 3-8: what eve4pve-barc wrote is listed, verified, restored, assembled and chosen from, and never changed.
. "$LAB_SOURCE/lib.sh"
begin_case

# Equal image names in pools with digits, dots, dashes and a namespace: the files' names tell them apart.
vm 100 <<'CONF'
scsi0: ceph:vm-100-disk-0,size=24M
scsi1: krbd:vm-100-disk-0,size=16M
scsi2: big:vm-100-disk-0,size=16M
scsi3: dotted:vm-100-disk-0,size=16M
scsi4: tenant:vm-100-disk-0,size=16M
CONF
volumes=(ceph:vm-100-disk-0 krbd:vm-100-disk-0 big:vm-100-disk-0 dotted:vm-100-disk-0 tenant:vm-100-disk-0)
prefixes=(rbd ssd-rbd 2tb my.pool rbd.ns1)
sizes=(24M 16M 16M 16M 16M)
barc=$REPO/barc/100/daily
mkdir -p "$barc"
printf '[OPTIONS]\n\nenable: 1\n' >"$ETC/firewall/100.fw"

# pack SUFFIX: what the old tool pipes its streams through.
pack() {
    case $1 in
    .gz | .zz) gzip -3 ;;
    .bz2) bzip2 ;;
    *) cat ;;
    esac
}

# file STAMP N KIND COMPRESSION ALGORITHM COMMAND...: one data file with its sidecars, as the old tool's pipeline makes them.
file() {
    local path="$barc/$1${prefixes[$2]}.vm-100-disk-0.$3$4" suffix=$4 algorithm=$5
    shift 5
    on_volume "$@" | tee >(pack "$suffix" >"$path") >(wc -c >"$path.$algorithm.size") |
        "${algorithm}sum" >"$path.$algorithm"
    # The last of a pipe's processes may end after the pipe itself.
    wait_until 20 sh -c "[ -s '$path' ] && [ -s '$path.$algorithm.size' ]"
    sleep 0.2
}

# round STAMP: changes all disks, makes the old tool's snapshots; what they hold is kept.
declare -A sums
round() {
    local n
    for n in 0 1 2 3 4; do
        [ -e "$WORK/made.$n" ] || { make_volume "${volumes[$n]}" "${sizes[$n]}" && : >"$WORK/made.$n"; }
        change "${volumes[$n]}" "${sizes[$n]}" "random:$((n + 1))M:600K:$1$n" "text:8M:300K:$1$n" "zero:$((n + 2))M:128K"
        on_volume "${volumes[$n]}" snap create --no-progress "{}@barcdaily$1"
        on_volume "${volumes[$n]}" snap protect "{}@barcdaily$1"
        sums[$1.$n]=$(sha_of "${volumes[$n]}")
    done
}
full() { file "$1" "$2" "$3" "$4" "$5" "${volumes[$2]}" export --no-progress "{}@barcdaily$1" -; }
diff_of() {
    file "$1" "$2" diff "$3" "$4" "${volumes[$2]}" export-diff --no-progress --from-snap "barcdaily$5" "{}@barcdaily$1" -
}
config() {
    cp "$(conf_of 100)" "$barc/$1.conf"
    cp "$ETC/firewall/100.fw" "$barc/$1.fw"
}

# Up to version 0.2.1 stamps had twelve digits. Every kind of compression and checksum occurs.
one=190101120000 two=20190102120000 three=20190103120000 four=20190104120000
round $one
for n in 0 1 2 3 4; do full $one $n img "$([ $n = 1 ] && echo .zz)" sha1; done
config $one
round $two
algorithms=(md5 sha1 sha224 sha384 sha512) suffixes=('' .gz .zz .bz2 '')
for n in 0 1 2 3 4; do diff_of $two $n "${suffixes[$n]}" "${algorithms[$n]}" $one; done
config $two
# The old tool lost scsi0's base snapshot: it made a full and named it a diff (D.1 1).
round $three
full $three 0 diff .gz sha1
for n in 1 2 3 4; do diff_of $three $n .zz sha1 $two; done
config $three
round $four
for n in 0 1 2 3 4; do diff_of $four $n .zz sha1 $three; done
config $four
: >"$barc/${two}rbd.vm-100-disk-0.diff-merged"

all_of_barc() { find "$REPO/barc" -printf '%p %s %T@ %m\n' -type f -exec sha256sum {} + | sort; }
before=$(all_of_barc)

ferry list --path "$REPO"
check "F12 list shows the directory" says 'guest 100 vm100 +4 points.*barc/100/daily'
check "F12 a full that is named a diff is a base" says "$three +barc base \+ increment"
check "F12 what a merge left is named" says 'left by an interrupted merge'
"$FERRY" list --path "$REPO" --json >"$OUT"
times() { jq -r '[.restore_points[] | select(.format == "barc")] | sort_by(.time) | .[].time' "$OUT"; }
mapfile -t moments < <(times)
check "F12 stamps of 12 and 14 digits are moments" same "${#moments[@]}" 4
check "F12 all of a point's disks are known" json_is '[.restore_points[0].images[].disk] | sort | join(" ")' "scsi0 scsi1 scsi2 scsi3 scsi4"
check "F12 every kind of checksum is found" json_is '[.restore_points[].images[].sums[]] | unique | join(" ")' "md5 sha1 sha224 sha384 sha512"
ferry verify --path "$REPO"
check "F12 everything verifies" exits 0

stamps=("$one" "$two" "$three" "$four")
for p in 0 1 2 3; do
    at=()
    for n in 0 1 2 3 4; do at+=("scsi$n" "${sums[${stamps[$p]}.$n]}"); done
    check "F12, F6 point $((p + 1)) restores bit-identical, all five disks" restored_equals 100 "${moments[$p]}" 900 "${at[@]}"
done
ferry restore --path "$REPO" --vmid 100 --time "${moments[1]}" --target-vmid 901
check "F12 the configuration comes back" grep -q '^name: vm100' "$(conf_of 901)"
check "F12 and the firewall" cmp "$ETC/firewall/901.fw" "$barc/$two.fw"
remove_guest 901
ferry assemble --path "$REPO" --vmid 100 --time "${moments[3]}" --disk 2tb.vm-100-disk-0 --output "$WORK/by-name.raw"
check "F12 assemble takes a disk as its files are named" same "$(sha_of_file "$WORK/by-name.raw")" "${sums[$four.2]}"

# At 3 a.m. it is asked for what was not typed, and the old tool's points are among the answers.
asks() {
    local answers=()
    while [ "$1" != -- ]; do
        answers+=("$1")
        shift
    done
    shift
    LAST="pve-ferry $* (on a terminal)" RC=0
    timeout -k 5 180 "$LAB_SOURCE/terminal.py" "${answers[@]}" -- "$FERRY" "$@" >"$OUT" 2>"$ERR" || RC=$?
}
asks Guest '{enter}' 'Restore point' '{down}{enter}' Volumes '{enter}' 'Restore as vmid' '902{enter}' \
    Storage '{enter}' 'Restore guest' y -- restore --path "$REPO"
check "restore asks and offers the old tool's points" exits 0
check "and restores the one that was chosen" same "$(sha_of "$(volume_of 902 scsi0)")" "${sums[$three.0]}"
check "and each of its disks" same "$(sha_of "$(volume_of 902 scsi3)")" "${sums[$three.3]}"
remove_guest 902
asks Guest '{enter}' 'Restore point' '{enter}' Disk '{down}{enter}' 'Write to' "$WORK/asked.raw{enter}" -- assemble --path "$REPO"
check "assemble asks and offers them, too" exits 0
check "and writes the disk that was chosen" says 'assembled scsi[0-9] of guest 100'
asked=$(sed -n 's/.*assembled scsi\([0-9]\) of guest.*/\1/p' "$OUT" | tail -n 1)
check "which is right" same "$(sha_of_file "$WORK/asked.raw")" "${sums[$four.${asked:-none}]-nothing}"

# F 7: our own backups with the very label beside it leave the old tool's snapshots and files alone.
backup 100
backup 100
check "F7 our backup works beside it" exits 0
for n in 0 1 2 3 4; do
    check "F7 all four snapshots of the old tool stay on ${volumes[$n]}" \
        same "$(snapshots_of "${volumes[$n]}" | grep -c '^barcdaily')" 4
done
ferry prune --path "$REPO" --retain 1
check "F7 prune works beside it" exits 0
asks Guest '{down}{enter}' 'Restore point' '{ctrl-c}' -- restore --path "$REPO"
check "ours and the old tool's points stand in one list" says '100 +vm100 .*\(lab-[0-9a-f]{8}/100-'
check "and both are there" says '100 +vm100 .*\(barc/100/daily\)'
check "F12 nothing of the old tool's was changed" same "$(all_of_barc)" "$before"

# Damage is found, named, and never restored as if it were well.
bad="$barc/${two}2tb.vm-100-disk-0.diff.zz"
cp "$bad" "$WORK/good"
truncate -s $(($(stat -c %s "$bad") / 2)) "$bad"
ferry verify --path "$REPO" --vmid 100
check "F12 a truncated file is found: exit 12" exits 12
check "F12 and named" says "${two}2tb.vm-100-disk-0.diff.zz"
ferry restore --path "$REPO" --vmid 100 --guest barc/100/daily --time "${moments[3]}" --target-vmid 903
check "F12 the point that needs it is not restored" fails
check "F12 and nothing of it stays" same "$(rbd_a ls rbd | grep -c vm-903 || true)" 0
check "F12 the point before it is well" restored_equals 100 "${moments[0]}" 903 scsi2 "${sums[$one.2]}"
cp "$WORK/good" "$bad"
printf '%040d  -\n' 0 >"$barc/${one}rbd.vm-100-disk-0.img.sha1"
ferry verify --path "$REPO" --vmid 100
check "F12 a wrong checksum is found: exit 12" exits 12
