#!/usr/bin/env bash
# The storage conformance suite on real Ceph: what the memory driver passes in every `cargo test`, the rbd driver passes here.
. "$LAB_SOURCE/lib.sh"
begin_case

conformance() {
    cd "$LAB_SOURCE/../.." || return 1
    PVE_FERRY_LAB_CEPH_CONF=$A/ceph.conf timeout -k 5 380 \
        cargo test --locked --offline --test storage -- --test-threads 6 >"$WORK/conformance" 2>&1
}
check "the storage conformance suite passes on real Ceph" conformance
grep -hE -A1 '^test .*FAILED|panicked|^error' "$WORK/conformance" | sed 's/^/     | /'
check "and it did not skip it" not grep -q SKIPPED "$WORK/conformance"
check "and it ran tests" grep -qE 'test result: ok. [1-9][0-9]* passed' "$WORK/conformance"
