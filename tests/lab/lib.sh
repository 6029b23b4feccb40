# shellcheck shell=bash
# What the lab's cases share: checks, guests, images, the program under test. Sourced by tests/lab/run's cases.
#
# A case is a story: it makes guests, runs the product as a user would, and checks what a user would see. It runs in a
# process of its own inside `enter`, against fresh guests, with these variables:
#   LAB      the lab's directory            A, B   the two Ceph clusters' directories
#   NODE     the node (see node.sh)         STATE  its FAKE_PVE_STATE          ETC   its PVE_FERRY_ETC_PVE
#   WORK     the case's own directory       REPO   a repository in it (has a blank in its path: D.1 27)
#   FERRY    the program                    RESULTS  the file that collects the checks
# After `ferry ...`: RC, OUT and ERR (files) hold exit code, stdout and stderr.

set -uo pipefail

begin_case() {
    A=$LAB/a B=$LAB/b NODE=$LAB/node STATE=$LAB/node/state ETC=$LAB/node/etc-pve
    WORK=$LAB/work/$CASE REPO="$LAB/work/$CASE/my backups" OUT=$WORK/stdout ERR=$WORK/stderr RC=none
    rm -rf "$WORK"
    mkdir -p "$REPO"
    # shellcheck source=/dev/null
    . "$NODE/env"
    wipe_node
    wipe_images a &
    wipe_images b &
    wait
    trap end_case EXIT
}

# Whatever a case does, PVE must know every call that was made.
end_case() {
    check "$CASE: every call is one that PVE knows" test ! -e "$STATE/unexpected"
    [ ! -e "$STATE/unexpected" ] || sed 's/^/     | /' "$STATE/unexpected"
}

wipe_node() {
    rm -rf "${STATE:?}" "$ETC"/pve-ferry "$ETC"/priv/pve-ferry "$ETC"/user.cfg
    mkdir -p "$STATE"
    find "$ETC"/nodes/*/qemu-server "$ETC"/nodes/*/lxc "$ETC"/firewall -type f -delete
}

wipe_images() {
    timeout -k 3 120 /usr/bin/python3 -IB "$LAB_SOURCE/wipe.py" "$LAB/$1/ceph.conf"
}

# --- checks ---------------------------------------------------------------------------------------------------------

# check NAME COMMAND...: one named check; its line is printed and counted. A failed one shows what the program last said.
check() {
    local name=$1
    shift
    if "$@" >"$WORK/check.out" 2>&1; then
        printf 'ok     %s\n' "$name"
        echo ok >>"$RESULTS"
    else
        printf 'FAILED %s\n' "$name"
        echo "FAILED $name" >>"$RESULTS"
        explain "$@"
    fi
}

explain() {
    printf '     | %s\n' "check: $*"
    sed 's/^/     | /' "$WORK/check.out" | tail -n 20
    printf '     | last command: %s\n     | exit code %s\n' "${LAST-none}" "$RC"
    [ ! -s "$OUT" ] || tail -n 12 "$OUT" | cut -c1-600 | sed 's/^/     | stdout: /'
    [ ! -s "$ERR" ] || tail -n 12 "$ERR" | cut -c1-600 | sed 's/^/     | stderr: /'
}

not() { ! "$@"; }
same() { [ "$1" = "$2" ] || { echo "<$1> is not <$2>" && false; }; }
differs() { [ "$1" != "$2" ] || { echo "both are <$1>" && false; }; }
exits() { same "$RC" "$1"; }
fails() { [ "$RC" != 0 ] && [ "$RC" != none ] && [ "$RC" -lt 124 ]; }
says() { grep -qiE -- "$1" "$OUT" "$ERR"; }
not_says() { ! grep -iE -- "$1" "$OUT" "$ERR"; }
# json_is FILTER VALUE: the last stdout, through jq.
json_is() { same "$(jq -r "$1" "$OUT")" "$2"; }

# --- the program ----------------------------------------------------------------------------------------------------

# ferry ARGUMENT...: runs the program as a scheduled job would, without a terminal, and keeps what it said.
ferry() {
    LAST="pve-ferry $*" RC=0
    timeout -k 5 "${FERRY_TIMEOUT-180}" "$FERRY" "$@" >"$OUT" 2>"$ERR" </dev/null || RC=$?
}

# ferry_background ARGUMENT...: the same in a session of its own; FERRY_PID is also its process group.
ferry_background() {
    LAST="pve-ferry $*"
    # A SIGTERM for timeout goes to the program, which then has a minute to leave cleanly.
    setsid timeout -k 60 180 "$FERRY" "$@" >"$OUT" 2>"$ERR" </dev/null &
    FERRY_PID=$!
}

# kill_run: SIGKILL for the whole process group of ferry_background: no handler, no guard in the same group survives.
kill_run() {
    kill -9 -- "-$FERRY_PID"
    wait "$FERRY_PID" 2>/dev/null
    RC=137
}

# under_clock OFFSET ARGUMENT...: `ferry` under the clock that faketime makes of OFFSET. What a killed process of the same
# number left in /dev/shm is removed first, as the wrapper refuses to start beside it.
under_clock() {
    local real=$FERRY
    cat >"$WORK/under-clock" <<SCRIPT
#!/bin/sh
rm -f "/dev/shm/sem.faketime_sem_\$\$" "/dev/shm/faketime_shm_\$\$"
exec faketime -f "$1" "$real" "\$@"
SCRIPT
    chmod +x "$WORK/under-clock"
    shift
    FERRY=$WORK/under-clock
    ferry "$@"
    FERRY=$real
}

# Each point's stamp has a resolution of one second: waits until the next one begins.
next_second() {
    local now
    now=$(date +%s)
    while [ "$(date +%s)" = "$now" ]; do sleep 0.05; done
}

# backup VMID [MORE...]: one backup with label daily, which must work.
backup() {
    local vmid=$1
    shift
    next_second
    ferry backup --vmid "$vmid" --label daily --path "$REPO" "$@"
}

# begin_repository: as `job create` does it; a run by hand that begins one warns of that.
begin_repository() { mkdir "$REPO/pve-ferry"; }

# points VMID [FILTER]: the times of a guest's points, oldest first, as `list` prints them.
points() {
    "$FERRY" list --path "$REPO" --json | jq -r "[.restore_points[] | select(.vmid == $1)] | sort_by(.seq) | .[] | ${2-.time}"
}
newest() { points "$@" | tail -n 1; }
count_points() { points "$@" | grep -c . || true; }

# wait_until SECONDS COMMAND...: tries until it succeeds; false after that time.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}

# --- storages and images --------------------------------------------------------------------------------------------

rbd_a() { timeout -k 3 120 "${REAL_RBD-/usr/bin/rbd}" -c "$A/ceph.conf" "$@"; }
rbd_b() { timeout -k 3 120 "${REAL_RBD-/usr/bin/rbd}" -c "$B/ceph.conf" "$@"; }

# on_storage STORAGE:NAME[@SNAP] COMMAND...: runs rbd COMMAND on the right cluster; the word {} becomes the image's spec.
on_volume() {
    local storage=${1%%:*} name=${1#*:} cluster=rbd_a pool
    shift
    case $storage in
    ceph) pool=rbd ;;
    krbd) pool=ssd-rbd ;;
    tenant) pool=rbd/ns1 ;;
    big) pool=2tb ;;
    dotted) pool=my.pool ;;
    remote) pool=rbd cluster=rbd_b ;;
    remote-ns) pool=rbd/ns1 cluster=rbd_b ;;
    *)
        echo "no storage $storage in this lab" >&2
        return 1
        ;;
    esac
    # A linked clone's volume is `storage:base-1-disk-0/vm-2-disk-0`; its image is the last part.
    "$cluster" "${@//\{\}/$pool/${name##*/}}"
}

# make_volume STORAGE:NAME SIZE [RBD-OPTION...]
make_volume() {
    local volume=$1 size=$2
    shift 2
    [ "${volume%%:*}" != big ] || set -- --data-pool data-only "$@"
    on_volume "$volume" create --size "$size" "$@" {}
}

# change STORAGE:NAME SIZE OPERATION...: writes, discards and resizes; see image.py for the operations.
change() {
    local volume=$1
    shift
    "$LAB_SOURCE/image.py" "$@" | on_volume "$volume" import-diff --no-progress - {}
}

sha_of() { on_volume "$1" export --no-progress {} - | sha256sum | cut -d' ' -f1; }
sha_of_file() { sha256sum <"$1" | cut -d' ' -f1; }
exists() { on_volume "$1" info {}; }
snapshots_of() { on_volume "$1" snap ls --format json {} | jq -r '.[].name'; }
our_snapshots_of() { snapshots_of "$1" | grep '^ferry\.' || true; }
count_our_snapshots() { our_snapshots_of "$1" | grep -c . || true; }

# everything: all that a run could change, as text to compare: images, snapshots, files and their times.
everything() {
    "$LAB_SOURCE/wipe.py" --show "$A/ceph.conf"
    "$LAB_SOURCE/wipe.py" --show "$B/ceph.conf"
    find "$REPO" "$ETC" -printf '%p %y %s %T@ %m\n' | sort
    find "$REPO" "$ETC" -type f -exec sha256sum {} + | sort -k2
    find "$STATE" -path '*/log' -prune -o -printf '%p %y %s\n' | sort
}

# --- guests ---------------------------------------------------------------------------------------------------------

conf_of() { echo "$ETC/nodes/${2-pve1}/qemu-server/$1.conf"; }
ct_conf_of() { echo "$ETC/nodes/${2-pve1}/lxc/$1.conf"; }

# vm VMID [NODE]: a VM without disks, its configuration's lines on stdin after the usual ones.
vm() {
    local conf
    conf=$(conf_of "$1" "${2-pve1}")
    {
        printf 'agent: 1\nboot: order=scsi0\ncores: 2\nmemory: 2048\nname: vm%s\n' "$1"
        printf 'net0: virtio=BC:24:11:00:%02X:%02X,bridge=vmbr0,firewall=1\nostype: l26\nscsihw: virtio-scsi-single\n' \
            $(($1 / 256)) $(($1 % 256))
        printf 'smbios1: uuid=%s\nvmgenid: %s\n' "$(uuid_for "$1")" "$(uuid_for "$1" gen)"
        cat
    } >"$conf"
}

# ct VMID [NODE]: a container, its volumes' lines on stdin.
ct() {
    {
        printf 'arch: amd64\ncores: 1\nhostname: ct%s\nmemory: 512\nostype: debian\n' "$1"
        printf 'net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:01:%02X:%02X,type=veth\n' $(($1 / 256)) $(($1 % 256))
        cat
    } >"$(ct_conf_of "$1" "${2-pve1}")"
}

uuid_for() { /usr/bin/python3 -Ic 'import sys, uuid; print(uuid.uuid5(uuid.NAMESPACE_DNS, " ".join(sys.argv[1:])))' "$@"; }

# running VMID [FILE-SYSTEMS]: marks a guest as running with an agent (none when FILE-SYSTEMS is 0).
running() {
    mkdir -p "$STATE/$1"
    : >"$STATE/$1/running"
    rm -f "$STATE/$1/agent"
    [ "${2-2}" = 0 ] || echo "${2-2}" >"$STATE/$1/agent"
}

# simple_vm VMID [NODE]: a VM with one disk of 32 MiB, a few MiB of it written.
simple_vm() {
    echo "scsi0: ceph:vm-$1-disk-0,discard=on,size=32M" | vm "$1" "${2-pve1}"
    make_volume "ceph:vm-$1-disk-0" 32M
    change "ceph:vm-$1-disk-0" 32M "random:0:3M:$1" "text:8M:2M:$1"
}

# volume_of VMID KEY [NODE]: the volume in the current configuration.
volume_of() {
    local file
    file=$(conf_of "$1" "${3-pve1}")
    [ -f "$file" ] || file=$(ct_conf_of "$1" "${3-pve1}")
    sed -n "/^\[/q; s/^$2: *\([^,]*\).*/\1/p" "$file"
}

# restored_equals VMID TIME NEW KEY SHA...: restores a point to the new vmid and compares its disks; removes it again.
restored_equals() {
    local vmid=$1 time=$2 new=$3 result=0
    shift 3
    ferry restore --path "$REPO" --vmid "$vmid" --time "$time" --target-vmid "$new"
    [ "$RC" = 0 ] || return 1
    while [ $# -gt 0 ]; do
        same "$(sha_of "$(volume_of "$new" "$1")")" "$2" || result=1
        shift 2
    done
    remove_guest "$new"
    return $result
}

# remove_guest VMID: as PVE's destroy does it: all its volumes with the configuration; protected snapshots stop it.
remove_guest() {
    local file volume
    for file in "$ETC"/nodes/*/qemu-server/"$1".conf "$ETC"/nodes/*/lxc/"$1".conf; do
        [ -f "$file" ] || continue
        sed '/^\[/,$d' "$file" | grep -oE '^[a-z]+[0-9]*: *(ceph|krbd|tenant|big|dotted|remote|remote-ns):[^,]+' |
            sed 's/^[^:]*: *//' | while read -r volume; do
            on_volume "$volume" snap purge --no-progress {} && on_volume "$volume" rm --no-progress {}
        done
        rm -f "$file" "$ETC/firewall/$1.fw"
    done
    rm -rf "${STATE:?}/$1"
}

# --- faults ---------------------------------------------------------------------------------------------------------

# spoil_rbd RULE-JSON: from now on the program's rbd fails as the rule says (see faulty-rbd).
spoil_rbd() {
    repair_rbd
    mkdir -p "$WORK/faults"
    ln -sfn "$LAB_SOURCE/faulty-rbd" "$WORK/faults/rbd"
    printf '%s\n' "$1" >"$WORK/faults/rbd.rule"
    PATH=$WORK/faults:$PATH
}

repair_rbd() {
    PATH=${PATH#"$WORK/faults:"}
    rm -rf "$WORK/faults"
}

spoiled() { [ -e "$WORK/faults/hit.1" ]; }
go_on() { : >"$WORK/faults/go"; }
