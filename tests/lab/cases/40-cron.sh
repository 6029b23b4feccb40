#!/usr/bin/env bash
# A real cron daemon runs jobs: two at one minute for one guest, none that is gone, in cron's own grammar.
. "$LAB_SOURCE/lib.sh"
begin_case

REPO="$WORK/Bücher 50% 'am Ort'"
mkdir -p "$REPO" "$WORK/cron.d" "$WORK/spool"
export PVE_FERRY_STATE=$WORK/state-dir

# Cron sees only what is ours: its directories are private to this case (the lab has mounts of its own).
: >"$WORK/crontab"
mount --bind "$WORK/cron.d" /etc/cron.d
[ ! -e /etc/crontab ] || mount --bind "$WORK/crontab" /etc/crontab
chgrp crontab "$WORK/spool" && chmod 1730 "$WORK/spool"
mount --bind "$WORK/spool" /var/spool/cron/crontabs
mount -t tmpfs -o mode=755 case-sbin /usr/local/sbin

# Cron gives its commands no environment, so that the program as cron finds it brings the lab's node with it, and notes
# how it was called, how it ended and whether it said anything: that is what cron would mail.
cat >/usr/local/sbin/pve-ferry <<SCRIPT
#!/bin/bash
. '$NODE/env'
export PVE_FERRY_STATE='$PVE_FERRY_STATE'
PATH='$WORK/faults':\$PATH
said=\$('$FERRY' "\$@" 2>&1 </dev/null)
rc=\$?
printf '%s|%s|%s\n' "\$*" "\$rc" "\${said//\$'\n'/ / }" >>'$WORK/runs'
[ -z "\$said" ] || printf '%s\n' "\$said"
exit \$rc
SCRIPT
chmod 755 /usr/local/sbin/pve-ferry
: >"$WORK/runs"

runs_of() { grep -c "^job run $1 --scheduled|$2|" "$WORK/runs" || true; }
ran() { [ "$(runs_of "$1" "$2")" -ge 1 ]; }
running_jobs() { "$FERRY" job list --json | jq -r '[.jobs[] | select(.running)] | length'; }

# What cron and its runs said, when they do not do what they should.
show_cron() {
    {
        cat "$WORK/cron.log" "$WORK/runs" /etc/cron.d/pve-ferry
        pgrep -a 'cron|pve-ferry'
        "$FERRY" job list
    } 2>&1 | tail -n 20
    false
}
cron_starts_both() { wait_until 75 both_run || show_cron; }
both_run() { [ "$(running_jobs)" = 2 ]; }

# setsid: a daemon of this case, ended by its id.
setsid cron -f >"$WORK/cron.log" 2>&1 &
CRON=$!
stop_cron() { kill "$CRON" 2>/dev/null; }
trap 'stop_cron; end_case' EXIT

simple_vm 100
running 100
simple_vm 101 pve2
running 101
ferry job create --vmid all --label daily --path "$REPO" --schedule '* * * * *'
check "a job is made" exits 0
check "and says when it runs next" says 'every minute, next 20'
ferry job create --vmid 100 --label hourly --path "$REPO" --schedule '* * * * *' --comment "50% of ä's"
check "a second one for the same guest and minute" exits 0
check "the cron file has the mode that cron wants" same "$(stat -c '%a %U %F' /etc/cron.d/pve-ferry)" "644 root regular file"

# The first to transfer stands still until both have begun: the other must wait for it, and then work.
spoil_rbd '{"match": ["export-diff", "vm-100-disk-0"], "action": "pause"}'
check "F11 cron starts both jobs at one minute" cron_starts_both
check "F11 one of them transfers" wait_until 30 spoiled
check "F11 the other waits without having made anything" same "$(count_points 100)" 0
waits_for_the_other() {
    ferry job list --json
    jq -e '[.jobs[] | select(.last_run.waiting)] | length == 1 and (.[0] as $one | $one.last_run.waiting[0]
        | .holder.what == "backup" and .holder.pid > 1 and (.holder.job | startswith("backup-")) and .holder.job != $one.name)' "$OUT"
}
check "F11 and the list says for whom" wait_until 10 waits_for_the_other
# From here on each job has had its turn: no more of them while we look.
ferry job disable backup-daily
ferry job disable backup-hourly
go_on
check "F11 the first ends well" wait_until 90 ran backup-daily 0
check "F11 the second ends well, too" wait_until 90 ran backup-hourly 0
repair_rbd
check "F11 both labels have their point" same "$(points 100 .label | sort | tr '\n' ' ')" "daily hourly "
check "a guest of another node is left to that node" same "$(count_points 101)" 0
check "jobs that end well say nothing that cron would mail" not grep -E '^job run [a-z-]+ --scheduled\|0\|.' "$WORK/runs"
ferry job list
check "the list knows how the runs ended" same "$(grep -c ' ok$' "$OUT")" 2
check "and that nobody waits any more" not grep -q 'wait' "$OUT"
check "the restored guest is the one that was saved" restored_equals 100 latest 900 scsi0 "$(sha_of ceph:vm-100-disk-0)"

# A node that was away when a job was destroyed comes back with its old cron file.
ferry job enable backup-hourly
cp /etc/cron.d/pve-ferry "$WORK/old-cron-file"
ferry job destroy backup-hourly
check "a job is destroyed" exits 0
before=$(count_points 100)
: >"$WORK/runs"
cp "$WORK/old-cron-file" /etc/cron.d/pve-ferry
check "the old cron file still fires the job" wait_until 75 ran backup-hourly 0
check "which ends silently" not grep -E '^job run backup-hourly --scheduled\|0\|.' "$WORK/runs"
check "and saves nothing" same "$(count_points 100)" "$before"
check "and makes the cron file right" not grep -q 'job run backup-hourly' /etc/cron.d/pve-ferry

# A failing job is not silent: what it says is what cron mails.
mv "$REPO" "$REPO.away"
ferry job enable backup-daily
: >"$WORK/runs"
check "a job without its repository fails" wait_until 75 ran backup-daily 10
check "and says so" grep -q '|10|.*must exist' "$WORK/runs"
ferry job list
check "and the list says so, too" says 'repository missing'
ferry status
check "status does not know what it cannot read" exits 3
check "and says so in its first line" grep -qE '^PVE-FERRY UNKNOWN - .*cannot be read' "$OUT"
mv "$REPO.away" "$REPO"

# One word too few in one line, and the real cron runs no line of the file, nor the one that would undo the edit.
edit='s/ root pve-ferry job render/ pve-ferry job render/'
sed -i "$edit" /etc/cron.d/pve-ferry
: >"$WORK/runs"
ferry job list
check "an edit for which cron passes the file over is said" says 'was edited by hand'
check "and that the job does not run" exits 3
ferry status
check "and is critical" exits 2
check "in the first line" grep -qE '^PVE-FERRY CRITICAL - .*is none that cron knows' "$OUT"
sleep 90
check "which is true: cron ran nothing" not test -s "$WORK/runs"
ferry job render
check "the edited text is kept" grep -q '[*] pve-ferry job render' /etc/cron.d/pve-ferry.edited
check "and cron runs the job again" wait_until 75 ran backup-daily 0
ferry job list
check "and nothing is left to say" exits 0
check "of the cron file" not says 'cron.d/pve-ferry'
ferry job disable backup-daily
stop_cron

# Our grammar of schedules is that of the cron that runs here.
same_as_cron() {
    local expression=$1 theirs=refused ours=refused
    printf '%s true\n' "$expression" >"$WORK/one"
    crontab "$WORK/one" >/dev/null 2>&1 </dev/null && theirs=accepted
    ferry job set backup-daily --schedule "$expression"
    [ "$RC" = 0 ] && ours=accepted
    same "$expression: $ours" "$expression: $theirs"
}
while read -r expression; do
    check "cron and we agree about '$expression'" same_as_cron "$expression"
done <<'LIST'
*/5 0-23/2 1,15 jan-mar,12 mon-fri,7
59 23 31 12 0
0 0 * * 5-7
0 0 * * SUN
60 * * * *
* 24 * * *
* * 0 * *
* * * 13 *
* * * * 8
5/10 * * * *
*/0 * * * *
a * * * *
-1 * * * *
1,2,3-5/2 * * * *
* * * jan *
*/90 * * * *
*,5 * * * *
1,,2 * * * *
* * * * monday
LIST

# Ranges that run backwards cron takes and never runs: a job like that would save nothing, ever.
for expression in '5-1 * * * *' '* * * * sat-mon'; do
    check "we refuse '$expression', which cron never runs" not same_as_cron "$expression"
    check "and say so" exits 2
done
