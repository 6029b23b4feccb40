#!/usr/bin/env bash
# Hooks on a real run: of every command, the shipped ones, those of older tools, a veto, ^C in a hook, a child left behind.
# needs curl curl
. "$LAB_SOURCE/lib.sh"
begin_case

hooks=$(cd "$LAB_SOURCE/../../hooks" && pwd)
export PVE_FERRY_HOOKS_D=$WORK/hooks.d PVE_FERRY_HOOKS_CONF=$WORK/hooks.conf
mkdir -p "$PVE_FERRY_HOOKS_D" "$WORK/bin"
PATH=$WORK/bin:$PATH
simple_vm 100
running 100
our_script() {
    printf '#!/bin/sh\n%s\n' "$2" >"$WORK/$1"
    chmod 755 "$WORK/$1"
}

# --- order ----------------------------------------------------------------------------------------------------------
# shellcheck disable=SC2016 # the script's own variables
our_script order 'if [ -e "$FAKE_PVE_STATE/$3/frozen" ]; then f=FROZEN; else f=thawed; fi; echo "$1 $f" >>'"$WORK/order.log"
backup 100 --script "$WORK/order"
check "a backup with a hook works" exits 0
check "no hook runs while the guest is frozen" not grep FROZEN "$WORK/order.log"
check "the phases come in order" same "$(cut -d' ' -f1 "$WORK/order.log" | tr '\n' ' ')" \
    "job-start guest-start snap-create-pre snap-create-post export-pre export-post guest-end job-end "

# --- a veto ---------------------------------------------------------------------------------------------------------
# shellcheck disable=SC2016
our_script veto '[ "$1" != snap-create-pre ] || { echo "not now"; exit 9; }'
before=$(our_snapshots_of ceph:vm-100-disk-0)
backup 100 --script "$WORK/veto"
check "a pre hook that fails stops the guest" exits 1
check "it is said which one, and why" says 'veto stopped it in phase snap-create-pre.*status 9'
check "its words are in the log" says 'hook veto: not now'
check "no snapshot was made" same "$(our_snapshots_of ceph:vm-100-disk-0)" "$before"
check "no point was made" same "$(count_points 100)" 1
check "the guest is not frozen" test ! -e "$STATE/100/frozen"
backup 100 --script "$WORK/veto" --hook-compat barc
check "a script of barc cannot stop it" exits 0

# --- a child left behind, a hook that hangs, ^C ---------------------------------------------------------------------
# shellcheck disable=SC2016
our_script child '[ "$1" != guest-start ] || { sleep 100 & echo left; }'
begun=$SECONDS
backup 100 --script "$WORK/child"
check "a background child does not hang the run" exits 0
check "nor slow it down" test $((SECONDS - begun)) -lt 30
# shellcheck disable=SC2016
our_script slow '[ "$1" != guest-start ] || sleep 300'
begun=$SECONDS
next_second
PVE_FERRY_HOOK_SECONDS=2 ferry backup --vmid 100 --label daily --path "$REPO" --script "$WORK/slow"
check "a hook that hangs is ended and stops the guest" exits 1
check "that is said" says 'did not end within 2s'
check "in time" test $((SECONDS - begun)) -lt 30
points=$(count_points 100)
ferry_background backup --vmid 100 --label daily --path "$REPO" --script "$WORK/slow"
sleep 2
kill -TERM "$FERRY_PID"
begun=$SECONDS
RC=0
wait "$FERRY_PID" || RC=$?
check "a signal ends a hook and the run" exits 130
check "at once" test $((SECONDS - begun)) -lt 20
check "nothing half is left" same "$(count_points 100)" "$points"
backup 100
check "the next run is a good one" exits 0

# --- every command ---------------------------------------------------------------------------------------------------
# A log of our own: what a person does stands in it.
export PVE_FERRY_SYSLOG=$WORK/log
/usr/bin/python3 -IBc 'import socket, sys
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); log.bind(sys.argv[1])
while True: open(sys.argv[2], "ab").write(log.recv(9000) + b"\n")' "$PVE_FERRY_SYSLOG" "$WORK/logged" 9>&- &
log=$!
trap 'kill $log 2>/dev/null; end_case' EXIT
wait_until 10 test -e "$PVE_FERRY_SYSLOG"
# shellcheck disable=SC2016
our_script phases 'echo "$1" >>'"$WORK/phases.log"
# phases_of WORD...: runs the program with that hook; PHASES are those it was called in.
phases_of() {
    rm -f "$WORK/phases.log"
    ferry "$@" --script "$WORK/phases"
    PHASES=$(tr '\n' ' ' <"$WORK/phases.log")
}
turn() { same "$PHASES" "job-start guest-start $1 guest-end job-end "; }
second="$WORK/second repository"
mkdir "$second"
disk=ceph:vm-100-disk-0
phases_of verify --path "$REPO" --source
check "verify --source: is a check of each guest" turn "verify-pre verify-post"
check "verify --source: and a good one" exits 0
phases_of copy --from "$REPO" --to "$second"
check "copy: works" exits 0
check "copy: a phase for each point" same "$(grep -c '^export-post' "$WORK/phases.log")" "$(count_points 100)"
phases_of assemble --path "$REPO" --vmid 100 --disk scsi0 --output "$WORK/one.raw"
check "assemble: brings a volume back" turn "restore-pre restore-post"
phases_of delete --path "$second" --vmid 100 --time latest --yes
check "delete: takes a point away" turn "prune-pre prune-post"
check "delete: who did it is in the log" grep -qE 'delete daily: guest 100 .*: (removed|hidden).*, by .*root' "$WORK/logged"

before=$(our_snapshots_of $disk)
# shellcheck disable=SC2016
our_script keep '[ "$1" != snap-remove-pre ] || { echo "not yet"; exit 9; }'
ferry reset --vmid 100 --path "$REPO" --yes --script "$WORK/keep"
check "reset: a pre hook that fails stops it" exits 1
check "reset: nothing was changed, and that is said" says 'nothing was changed.*keep stopped it in phase snap-remove-pre'
check "reset: the snapshot stays" same "$(our_snapshots_of $disk)" "$before"
phases_of reset --vmid 100 --path "$REPO" --yes
check "reset: each snapshot has its phases" turn "snap-remove-pre snap-remove-post"
check "reset: the snapshot is gone" same "$(count_our_snapshots $disk)" 0
check "reset: who did it is in the log" grep -qE 'reset: guest 100 .*deleted snapshot ceph:vm-100-disk-0@ferry.*, by .*root' "$WORK/logged"

stamp=20260101120000
mkdir -p "$WORK/old/barc/100/weekly"
on_volume "$disk@barcweekly$stamp" snap create --no-progress {}
on_volume $disk export --no-progress "{}@barcweekly$stamp" - >"$WORK/old/barc/100/weekly/${stamp}rbd.vm-100-disk-0.img"
cp "$(conf_of 100)" "$WORK/old/barc/100/weekly/$stamp.conf"
# shellcheck disable=SC2016
our_script no-export '[ "$1" != export-pre ]'
points=$(count_points 100)
ferry adopt --path "$WORK/old" --to "$REPO" --vmid 100 --label weekly --script "$WORK/no-export"
check "adopt: a pre hook that fails stops it" exits 1
check "adopt: no point was made" same "$(count_points 100)" "$points"
phases_of adopt --path "$WORK/old" --to "$REPO" --vmid 100 --label weekly
check "adopt: each volume is exported" turn "export-pre export-post"
check "adopt: and adopted" same "$(count_points 100)" $((points + 1))
kill $log
unset PVE_FERRY_SYSLOG
backup 100
check "a backup afterwards is a good one" exits 0

# --- older tools' scripts -------------------------------------------------------------------------------------------
# shellcheck disable=SC2016
our_script barc 'echo "$EVE4PVE_BARC_PHASE|$EVE4PVE_BARC_VMID|$EVE4PVE_BARC_LABEL|$EVE4PVE_BARC_SNAP_NAME|$EVE4PVE_BARC_BACKUP_FILE" >>'"$WORK/barc.log"
backup 100 --script "$WORK/barc" --hook-compat barc
check "barc: its phases in its order" same "$(cut -d'|' -f1 "$WORK/barc.log" | tr '\n' ' ')" \
    "backup-job-start snap-create-pre snap-create-post export-diff-pre export-diff-post snap-remove-pre snap-remove-post backup-job-end "
check "barc: the snapshot by pool and image" grep -qE '^snap-create-post\|100\|daily\|rbd/vm-100-disk-0@ferry\.[0-9a-f]{8}\.daily\.[0-9TZ]+\|-$' "$WORK/barc.log"
check "barc: the file with its whole path" grep -qE "^export-diff-post\|.*\|$REPO/.*/scsi0.increment.rbd.zst\$" "$WORK/barc.log"
check "barc: the job has vmid 0" grep -qx 'backup-job-end|0|daily|-|-' "$WORK/barc.log"
# shellcheck disable=SC2016
our_script autosnap 'env | grep ^CV4PVE_AUTOSNAP_ | sort | tr "\n" " " >>'"$WORK/autosnap.log; echo >>$WORK/autosnap.log"
backup 100 --script "$WORK/autosnap" --hook-compat autosnap
check "autosnap: its phases" same "$(grep -o 'PHASE=[a-z-]*' "$WORK/autosnap.log" | cut -d= -f2 | tr '\n' ' ')" \
    "snap-job-start snap-create-pre snap-create-post snap-remove-pre snap-remove-post snap-job-end "
check "autosnap: twelve variables each" not grep -vE '^(CV4PVE_AUTOSNAP_[A-Z_]+=[^ ]* ){12}$' "$WORK/autosnap.log"

# --- the shipped ones -------------------------------------------------------------------------------------------------
cp "$hooks/example" "$PVE_FERRY_HOOKS_D/10-example"
cp "$hooks/example" "$WORK/example"
chmod go-w "$WORK/example" "$PVE_FERRY_HOOKS_D/10-example"
backup 100 --hook-compat barc --script "$WORK/example"
check "example: prints every phase" same "$(grep -c '^hook 10-example: phase ' "$ERR")" 10
check "example: and every variable" says 'hook 10-example: PVE_FERRY_VOLUME=ceph:vm-100-disk-0'
check "example: the report comes on its standard input" says 'hook 10-example: report: [0-9]{3,} bytes'
check "example: those of barc, too" says 'hook example: EVE4PVE_BARC_PHASE=export-diff-pre'
rm "$PVE_FERRY_HOOKS_D/10-example"

printf '#!/bin/sh\n{ echo "ARGV $*"; cat; } >%s/mail\n' "'$WORK'" >"$WORK/bin/sendmail"
# Whoever looks at the process list sees what this sees.
printf '#!/bin/sh\nprintf "%%s " "$@" >>%s/curl.argv\nexec /usr/bin/curl "$@"\n' "'$WORK'" >"$WORK/bin/curl"
chmod 755 "$WORK/bin/"*
printf 'Zq7-hook-Token\n' >"$WORK/hook-token"
# A real HTTP server that keeps what it is sent.
/usr/bin/python3 -IBc 'import http.server, sys
class Keep(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        open(sys.argv[1], "a").write(f"{self.path}\n{self.headers}{body}\n===\n")
        self.send_response(500 if "broken" in self.path else 200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", 8099), Keep).serve_forever()' "$WORK/posted" 9>&- &
server=$!
trap 'kill $server 2>/dev/null; end_case' EXIT
wait_until 10 curl -s -o /dev/null http://127.0.0.1:8099/

# with CONF HOOK: a backup with that hook and that configuration.
with() {
    printf '%s\n' "$1" >"$PVE_FERRY_HOOKS_CONF"
    rm -f "$WORK/posted" "$PVE_FERRY_HOOKS_D"/* "$WORK/curl.argv"
    cp "$hooks/$2" "$PVE_FERRY_HOOKS_D/"
    backup 100
}
with 'MAIL_TO=ops@lab.example' notify-mail
check "notify-mail: is no warning" not says warning
check "notify-mail: sends" grep -q '^Subject: \[OK\] pve-ferry backup daily on pve1$' "$WORK/mail"
check "notify-mail: with the report" grep -q '"operation":"backup"' "$WORK/mail"
rm "$WORK/mail"
with 'MAIL_TO=ops@lab.example MAIL_WHEN=failure' notify-mail
check "notify-mail: only when something failed" test ! -e "$WORK/mail"
with '' notify-mail
check "notify-mail: without an address it says so, and the run is good" exits 0
check "notify-mail: as a warning" says 'hook .*notify-mail in phase job-end'
url=http://127.0.0.1:8099
with "WEBHOOK_URL=$url/any WEBHOOK_TOKEN_FILE=$WORK/hook-token" notify-webhook
check "notify-webhook: generic" grep -q '^Authorization: Bearer Zq7-hook-Token' "$WORK/posted"
body() { sed -n '/^{/p' "$WORK/posted"; }
check "notify-webhook: its JSON holds the report" same "$(body | jq -r '.status + " " + .report.operation + " " + (.report.guests | length | tostring)')" "ok backup 1"
# Hundreds of guests make a report that is larger than an environment may be.
rm -f "$WORK/posted"
printf 'WEBHOOK_URL=%s/large\n' "$url" >"$PVE_FERRY_HOOKS_CONF"
jq -nc '{operation: "backup", guests: [range(3000) | {vmid: ., name: "guest number \(.) äöü", status: "ok"}]}' >"$WORK/large"
check "notify-webhook: a large report" env PVE_FERRY_STATUS=ok PVE_FERRY_OPERATION=backup PVE_FERRY_LABEL=daily PVE_FERRY_SECONDS=1 \
    sh -c '"$0" job-end <"$1"' "$hooks/notify-webhook" "$WORK/large"
check "notify-webhook: arrives whole" same "$(body | jq -r '.report.guests[2999].name')" "guest number 2999 äöü"
with "WEBHOOK_KIND=gotify WEBHOOK_URL=$url/ WEBHOOK_TOKEN_FILE=$WORK/hook-token" notify-webhook
check "notify-webhook: gotify's path and key" sh -c "grep -qx /message '$WORK/posted' && grep -q '^X-Gotify-Key: Zq7-hook-Token' '$WORK/posted'"
check "notify-webhook: gotify's JSON" same "$(body | jq -r '.priority')" 2
with "WEBHOOK_KIND=ntfy WEBHOOK_URL=$url/topic WEBHOOK_TOKEN_FILE=$WORK/hook-token" notify-webhook
check "notify-webhook: ntfy's title" grep -q '^Title: \[ok\] pve-ferry backup daily on pve1' "$WORK/posted"
check "notify-webhook: no token in argv" not grep -F Zq7 "$WORK/curl.argv"
with "WEBHOOK_URL=$url/broken" notify-webhook
check "notify-webhook: a server that refuses is a warning" says 'hook .*notify-webhook in phase job-end'
check "notify-webhook: and no failure" exits 0
for type in prometheus influxdb json; do
    with "METRICS_TYPE=$type METRICS_ENDPOINT=$url/push METRICS_TOKEN_FILE=$WORK/hook-token" metrics
    check "metrics: $type" grep -qE '^(pve_ferry_job_ok\{label="daily",operation="backup"\} 1$|pve_ferry,label=daily,operation=backup guests=1i,|\{.*"guests":1,)' "$WORK/posted"
    check "metrics: $type: no token in argv" not grep -F Zq7 "$WORK/curl.argv"
done
check "no hook's token is in any log of ours" not grep -lF Zq7 "$OUT" "$ERR"
