#!/usr/bin/env bash
# On a terminal, restore and assemble ask for what was not typed, with lists to choose from; elsewhere they do not.
. "$LAB_SOURCE/lib.sh"
begin_case

simple_vm 100
simple_vm 101
backup 100
first=$(newest 100)
sha=$(sha_of ceph:vm-100-disk-0)
change ceph:vm-100-disk-0 32M random:16M:1M:later
backup 100
backup 101

# asks [EXPECT KEYS]... -- ARGUMENT...: the program on a terminal.
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

ferry restore --path "$REPO"
check "without a terminal nothing is asked: exit 2" exits 2
# The list of points begins with the newest point; the one below it is the first backup.
asks Guest '{enter}' 'Restore point' '{down}{enter}' Volumes '{enter}' 'Restore as vmid' '900{enter}' \
    Storage '{enter}' 'Restore guest' y -- restore --path "$REPO"
check "restore asks and restores" exits 0
check "the guest that was chosen" test -f "$(conf_of 900)"
check "the point that was chosen" same "$(sha_of "$(volume_of 900 scsi0)")" "$sha"
check "the list shows the times" says "$first"
asks Guest '{enter}' 'Restore point' '{ctrl-c}' -- restore --path "$REPO"
check "giving up is an interruption" exits 130
check "and changes nothing" same "$(rbd_a ls rbd | grep -c vm-9 || true)" 1
asks Guest '{enter}' 'Restore point' '{enter}' Disk '{enter}' 'Write to' "$WORK/asked.raw{enter}" -- assemble --path "$REPO"
check "assemble asks and assembles" exits 0
check "the image is right" same "$(sha_of_file "$WORK/asked.raw")" "$(sha_of ceph:vm-100-disk-0)"
