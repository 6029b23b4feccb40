#!/usr/bin/env bash
# A soak: random writes, resizes, faults, retention and company; every point stays bit-identical. Longer: tests/lab/soak.
. "$LAB_SOURCE/lib.sh"
begin_case

# A file system of its own, so that it can be made read-only.
mount -t tmpfs -o size=4g,mode=700 soak "$REPO"
export LAB WORK REPO ETC FERRY
soak() {
    "$LAB_SOURCE/soak.py" "${SOAK_SECONDS-40}" "${SOAK_SEED-$RANDOM$RANDOM}" 2>&1 | tee "$WORK/soak.log"
    return "${PIPESTATUS[0]}"
}
soak
rc=$?
verdict() { [ "$rc" = 0 ] || { tail -n 30 "$WORK/soak.log" && false; }; }
check "soak: every listed point of every disk was what its snapshot held, after every run" verdict
check "soak: and it compared some" grep -q 'disks compared [0-9]' "$WORK/soak.log"
umount "$REPO"
