#!/usr/bin/env bash
# A manifest with an unknown feature, an unknown format, or damage: listed, protected, refused, never swept.
. "$LAB_SOURCE/lib.sh"
begin_case

simple_vm 100
backup 100
change ceph:vm-100-disk-0 32M random:4M:1M:2
backup 100
manifest=$(find "$REPO" -name manifest.json | sort | tail -n 1)
cp "$manifest" "$WORK/manifest"
time=$(newest 100)

jq '.requires += ["time-travel"]' "$WORK/manifest" >"$manifest"
ferry list --path "$REPO"
check "unknown feature: the list still works" exits 0
check "unknown feature: and says what cannot be read, and why" says 'time-travel'
ferry restore --path "$REPO" --vmid 100 --time "$time" --target-vmid 900
check "unknown feature: it is not restored, nor silently an older point in its place" fails
check "unknown feature: nothing is left of the attempt" test ! -e "$(conf_of 900)"
remove_guest 900
backup 100
check "unknown feature: its files stay, whatever the next run does" test -s "$manifest"
check "unknown feature: and its images" test -n "$(find "$(dirname "$manifest")" -name 'scsi0.*.rbd*')"

jq '.format = 99' "$WORK/manifest" >"$manifest"
ferry list --path "$REPO"
check "unknown format: the list still works" exits 0
ferry restore --path "$REPO" --vmid 100 --time "$time" --target-vmid 900
check "unknown format: it is not restored" fails
backup 100
check "unknown format: its files stay" test -s "$manifest"

# A manifest that was edited by hand is noticed: its seal does not fit. (Unknown fields of a later version, sealed as it
# seals them, are no obstacle: the unit tests of the repository.)
remove_guest 900
jq '.futureField = {"a": [1, 2]}' "$WORK/manifest" >"$manifest"
ferry list --path "$REPO" --json
check "an edited manifest: the list still works" exits 0
ferry restore --path "$REPO" --vmid 100 --time "$time" --target-vmid 900
check "an edited manifest is not believed" fails
check "an edited manifest: and it is named" says seal
cp "$WORK/manifest" "$manifest"
ferry restore --path "$REPO" --vmid 100 --time "$time" --target-vmid 900
check "put back as it was, it restores" exits 0
