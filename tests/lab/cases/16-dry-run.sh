#!/usr/bin/env bash
# F 16: --dry-run changes nothing at all: images, snapshots, files, times, guests.
. "$LAB_SOURCE/lib.sh"
begin_case

simple_vm 100
running 100
# unchanged NAME ARGUMENT...: runs with --dry-run and compares the world before and after.
unchanged() {
    local name=$1
    shift
    everything >"$WORK/before"
    ferry "$@" --dry-run
    check "F16 $name: works" exits 0
    everything >"$WORK/after"
    check "F16 $name: nothing changed" diff "$WORK/before" "$WORK/after"
    check "F16 $name: no guest was frozen, started or stopped" \
        not grep -E 'fsfreeze-(freeze|thaw)| (start|stop|shutdown|unlock|rescan)( |$)|systemd-run' "$STATE/log"
}
unchanged "a first backup" backup --vmid 100 --label daily --path "$REPO"
check "F16 it shows the plan" says 'transfer .*ceph:vm-100-disk-0 .*base'
rm -f "$STATE/log"
backup 100
change ceph:vm-100-disk-0 32M random:4M:1M:2
rm -f "$STATE/log"
unchanged "an increment" backup --vmid 100 --label daily --path "$REPO"
check "F16 the plan says increment" says 'transfer .*increment'
unchanged "a restore" restore --path "$REPO" --vmid 100 --target-vmid 900 --start
unchanged "all guests as JSON" backup --vmid all --label weekly --path "$REPO" --json
check "F16 the plans are one JSON document" jq -e . "$OUT"
