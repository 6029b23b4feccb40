#!/usr/bin/env bash
# Tests of the fakes themselves: a fake that lies makes every test above it worthless.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/test-fakes.XXXXXX")
trap 'rm -rf "$work"' EXIT
export FAKE_PVE_STATE=$work/state FAKE_PVE_ETC=$work/etc PATH=$here:$PATH
passed=0 failed=0

# same NAME EXPECTED-RC EXPECTED-STDOUT COMMAND...
same() {
    local name=$1 want_rc=$2 want=$3 got rc=0
    shift 3
    got=$(timeout 20 "$@" 2>"$work/stderr") || rc=$?
    if [ "$rc" = "$want_rc" ] && [ "$got" = "$want" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED %s: rc %s, stdout <%s>, stderr <%s>\n' "$name" "$rc" "$got" "$(cat "$work/stderr")"
    fi
}

mkdir -p "$FAKE_PVE_ETC"/nodes/pve1/{qemu-server,lxc} "$FAKE_PVE_STATE/100"
ln -s nodes/pve1 "$FAKE_PVE_ETC/local"
printf 'agent: 1\nname: web\nscsi0: ceph:vm-100-disk-0,size=1G\n\n[old]\nname: other\n' >"$FAKE_PVE_ETC/nodes/pve1/qemu-server/100.conf"
printf 'hostname: ct\nlock: backup\nrootfs: ceph:vm-101-disk-0\n' >"$FAKE_PVE_ETC/nodes/pve1/lxc/101.conf"
printf 'rbd: ceph\n\tpool rbd\n\tcontent images\n' >"$FAKE_PVE_ETC/storage.cfg"

same "a stopped guest" 0 "status: stopped" qm status 100
same "a guest that is not here" 2 "" qm status 999
same "a start" 0 "" qm start 100
same "a running guest" 0 "status: running" qm status 100
same "no agent" 255 "" qm guest cmd 100 ping
echo 3 >"$FAKE_PVE_STATE/100/agent"
same "ping prints nothing" 0 "" qm guest cmd 100 ping
same "thawed" 0 "thawed" qm guest cmd 100 fsfreeze-status
same "freeze prints a count" 0 "3" qm guest cmd 100 fsfreeze-freeze
same "frozen can be seen" 0 "3" cat "$FAKE_PVE_STATE/100/frozen"
same "frozen" 0 "frozen" qm agent 100 fsfreeze-status
same "a second freeze is an error with exit 0" 0 "CommandNotFound" \
    sh -c 'qm guest cmd 100 fsfreeze-freeze | sed -n "s/.*class\" : \"\(.*\)\",/\1/p"'
same "thaw prints a count" 0 "3" qm guest cmd 100 fsfreeze-thaw
same "a second thaw thaws nothing" 0 "0" qm guest cmd 100 fsfreeze-thaw
echo "disk on fire" >"$FAKE_PVE_STATE/100/freeze-fails"
same "an agent's error is JSON with exit 0" 0 "disk on fire" \
    sh -c 'qm guest cmd 100 fsfreeze-freeze | jq -r .error.desc'
rm "$FAKE_PVE_STATE/100/freeze-fails"
echo 2 >"$FAKE_PVE_STATE/100/freeze-hangs"
same "a caller that gives up" 124 "" timeout 0.5 qm guest cmd 100 fsfreeze-freeze
same "does not stop the guest, and the next command waits for it" 0 "frozen" qm guest cmd 100 fsfreeze-status
rm "$FAKE_PVE_STATE/100/freeze-hangs"
echo 1 >"$FAKE_PVE_STATE/100/thaw-fewer"
same "fewer thawed" 0 "1" qm guest cmd 100 fsfreeze-thaw
same "a locked guest does not start" 255 "" pct start 101
same "unlock" 0 "" pct unlock 101
same "an unlocked one does" 0 "" pct start 101
same "resources" 0 "100 web running,101 ct running" \
    sh -c 'pvesh get /cluster/resources --type vm --output-format json | jq -r "map(\"\(.vmid) \(.name) \(.status)\")|join(\",\")"'
same "an unknown call" 99 "" qm migrate 100 pve2
# shellcheck disable=SC2016
same "is noted" 0 "qm migrate 100 pve2" sh -c 'cut -d" " -f3- "$FAKE_PVE_STATE/unexpected"'

qm guest cmd 100 fsfreeze-freeze >/dev/null
rm "$FAKE_PVE_STATE/100/thaw-fewer"
same "a timer" 0 "" systemd-run --unit=guard --collect --on-active=2s qm guest cmd 100 fsfreeze-thaw
same "is active" 0 "active" systemctl is-active guard.timer
same "its name is taken" 1 "" systemd-run --unit=guard --on-active=2 true
for _ in $(seq 60); do [ -e "$FAKE_PVE_STATE/100/frozen" ] || break; sleep 0.1; done
same "has thawed the guest" 1 "" test -e "$FAKE_PVE_STATE/100/frozen"
same "stopping nothing" 5 "" systemctl stop guard.timer
same "a second timer" 0 "" systemd-run --unit=guard2 --on-active=1s touch "$work/fired"
same "is stopped" 0 "" systemctl stop guard2.timer
same "a unit does not inherit the environment" 0 "" env SECRET=x systemd-run --unit=e --setenv=A=b sh -c "echo \$A\$SECRET >$work/env"
for _ in $(seq 50); do [ -s "$work/env" ] && break; sleep 0.1; done
same "but what it was given" 0 "b" cat "$work/env"
sleep 1
same "a stopped timer does not fire" 1 "" test -e "$work/fired"

export FAKE_LOG=$work/calls FAKE_RBD=$work/fixture
cat >"$FAKE_RBD" <<'JSON'
[{"argv": ["info", "*", "--format", "json"], "stdout": "{}", "times": 2},
 {"argv": ["export-diff", "..."], "stdout_hex": "616263", "truncate": 2, "kill": 9}]
JSON
same "a replay" 0 "{}" rbd info rbd/a --format json
same "a replay again" 0 "{}" rbd info rbd/b --format json
same "a replay used up" 99 "" rbd info rbd/c --format json
same "a truncated stream and a kill" 137 "ab" rbd export-diff a b c
same "the order of calls" 0 '["UNEXPECTED", "rbd", "info", "rbd/c", "--format", "json"]' sed -n 3p "$FAKE_LOG"
same "ssh quotes for a real shell" 0 "a b'c pve2" env FAKE_SSH_HOSTS=10.0.0.2=pve2 \
    ssh -e none -o BatchMode=yes -o ConnectTimeout=10 -- root@10.0.0.2 "printf '%s ' 'a b'\"'\"'c'; printf %s \$FAKE_NODE"
same "ssh without BatchMode" 99 "" ssh -o ConnectTimeout=10 -- root@10.0.0.2 true
same "ssh to a dead host" 255 "" env FAKE_SSH_DOWN=pve2 ssh -o BatchMode=yes -o ConnectTimeout=1 -- root@pve2 true

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
