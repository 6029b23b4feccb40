#!/usr/bin/env bash
# Being told for real: SMTP with STARTTLS and TLS and login, rsyslogd, InfluxDB 1.6, promtool; no secret anywhere.
# needs rsyslogd rsyslog
# needs influxd influxdb
# needs promtool prometheus
# needs openssl openssl
# needs aiosmtpd python3-aiosmtpd
# needs curl curl
. "$LAB_SOURCE/lib.sh"
begin_case
begin_repository

daemons=()
trap 'kill "${daemons[@]}" 2>/dev/null; umount -l /dev /run/own-dev 2>/dev/null; end_case' EXIT
sinks=/run/sinks
mkdir -p "$sinks/metrics" "$ETC/pve-ferry" "$ETC/priv/pve-ferry"
secret_smtp=Zq7-smtp-Secret secret_influx=Zq7-influx-Secret
printf '%s\n' "$secret_smtp" >"$ETC/priv/pve-ferry/smtp"
printf 'writer:%s\n' "$secret_influx" >"$ETC/priv/pve-ferry/influx"
export PVE_FERRY_STATE=$WORK/remembered
simple_vm 100
running 100
simple_vm 101
running 101

# --- the sinks ------------------------------------------------------------------------------------------------------
# An authority of our own, and a server's certificate that it signed.
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab-authority -keyout "$sinks/ca.key" -out "$sinks/ca.pem" 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj /CN=mail.lab -keyout "$sinks/key.pem" -out "$sinks/cert.csr" 2>/dev/null
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >"$sinks/ext"
openssl x509 -req -in "$sinks/cert.csr" -CA "$sinks/ca.pem" -CAkey "$sinks/ca.key" -CAcreateserial -days 2 -extfile "$sinks/ext" \
    -out "$sinks/cert.pem" 2>/dev/null
for sink in "2587 starttls" "2465 tls"; do
    # shellcheck disable=SC2086 # two words
    "$LAB_SOURCE/smtp-sink.py" "$sinks" $sink ferry "$ETC/priv/pve-ferry/smtp" >>"$WORK/smtp.log" 2>&1 9>&- &
    daemons+=($!)
done
check "the SMTP servers are up" wait_until 20 test -e "$sinks/2587.ready" -a -e "$sinks/2465.ready"

# The log's socket is made in a /dev of our own, so that the machine's own is not touched.
own_dev() {
    local dev=/run/own-dev name
    mkdir "$dev"
    mount -t tmpfs -o mode=755 lab-dev "$dev"
    for name in null zero full random urandom tty; do
        : >"$dev/$name"
        mount --bind "/dev/$name" "$dev/$name"
    done
    mkdir "$dev/shm"
    mount --bind /dev/shm "$dev/shm"
    ln -s /proc/self/fd "$dev/fd"
    mount --rbind "$dev" /dev
}
own_dev
cat >"$WORK/rsyslog.conf" <<CONF
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="/dev/log" CreatePath="on")
template(name="plain" type="string" string="%syslogfacility-text%.%syslogseverity-text% %programname% %msg%\n")
*.* action(type="omfile" file="$WORK/syslog" template="plain")
CONF
rsyslogd -n -i "$WORK/rsyslog.pid" -f "$WORK/rsyslog.conf" >"$WORK/rsyslog.log" 2>&1 9>&- &
daemons+=($!)
check "rsyslogd is up" wait_until 10 test -S /dev/log

influx_config() {
    printf 'reporting-disabled = true\n[meta]\ndir = "%s/meta"\n[data]\ndir = "%s/data"\nwal-dir = "%s/wal"\n' \
        "$sinks" "$sinks" "$sinks"
    printf '[http]\nbind-address = "127.0.0.1:8086"\nauth-enabled = true\nlog-enabled = false\n[monitor]\nstore-enabled = false\n'
    printf '[[udp]]\nenabled = false\n'
}
influx_config >"$sinks/influx.conf"
influxd -config "$sinks/influx.conf" >"$WORK/influx.log" 2>&1 9>&- &
daemons+=($!)
query() { curl -fsS -G -u "writer:$secret_influx" http://127.0.0.1:8086/query --data-urlencode "db=pve" --data-urlencode "q=$1"; }
check "InfluxDB is up" wait_until 20 curl -fs http://127.0.0.1:8086/ping
curl -fsS -XPOST http://127.0.0.1:8086/query \
    --data-urlencode "q=CREATE USER writer WITH PASSWORD '$secret_influx' WITH ALL PRIVILEGES" >/dev/null
check "InfluxDB wants a login" not curl -fsS -G http://127.0.0.1:8086/query --data-urlencode 'q=SHOW DATABASES'
curl -fsS -u "writer:$secret_influx" -XPOST http://127.0.0.1:8086/query --data-urlencode 'q=CREATE DATABASE pve' >/dev/null

# notify MODE PORT: the configuration with mail through that server.
notify() {
    cat >"$ETC/pve-ferry/notify.cfg" <<CFG
smtp: lab
	host localhost
	port $2
	mode $1
	username ferry
	password file:$ETC/priv/pve-ferry/smtp
	ca-file $sinks/ca.pem
	from pve-ferry@pve1.lab

mail: ops
	to ops@lab.example, dev@lab.example

syslog: default

influx: lab
	url http://127.0.0.1:8086
	bucket pve
	token file:$ETC/priv/pve-ferry/influx

prometheus: node
	directory $sinks/metrics
CFG
}
part() { /usr/bin/python3 -Ic 'import sys, email, email.policy
m = email.message_from_binary_file(open(sys.argv[1], "rb"), policy=email.policy.default)
print(m[sys.argv[3]] if len(sys.argv) > 3 else m.get_body((sys.argv[2],)).get_content())' "$@"; }

# --- a good run -----------------------------------------------------------------------------------------------------
notify starttls 2587
backup 100,101
check "a run whose sinks are up says nothing of them" not says 'not told|warning'
check "it ends well" exits 0
mail=$sinks/2587.1.eml
check "the mail came with STARTTLS and login" grep -qx 'X-Login: True' "$mail"
check "to both" grep -qx 'X-Envelope-To: ops@lab.example, dev@lab.example' "$mail"
check "its subject says how many of how many" same "$(part "$mail" plain subject)" "[OK] pve-ferry backup daily on pve1: 2 of 2 guests ok"
check "its text has a line per guest" same "$(part "$mail" plain | grep -cE '^10[01] +vm10[01] +pve1 +ok +20.*frozen')" 2
check "so has its HTML" same "$(part "$mail" html | grep -c '<tr style')" 2
check "syslog has the guests at info" grep -qE '^daemon.info pve-ferry.* guest 100 vm100 on pve1: ok, point ' "$WORK/syslog"
check "syslog has nothing worse" not grep -E '^daemon.(err|warning) pve-ferry' "$WORK/syslog"
check "InfluxDB took the volumes" same "$(query 'SELECT count(bytesonwire) FROM crossover_xmit' | jq '.results[0].series[0].values[0][1]')" 2
check "and the run" same "$(query 'SELECT last(perf_ss_ok) FROM crossover_jobs' | jq '.results[0].series[0].values[0][1]')" 2
check "promtool finds nothing in the metrics file" promtool check metrics <"$sinks/metrics/pve-ferry_backup_daily.prom"
point=$(date -d "$(newest 100)" +%s)
check "the metrics file has the newest point's moment" grep -qE "^pve_ferry_last_good_point_timestamp_seconds\{.*vmid=\"100\".*\} $point\$" \
    "$sinks/metrics/pve-ferry_backup_daily.prom"

# --- a bad run ------------------------------------------------------------------------------------------------------
notify tls 2465
spoil_rbd '{"match": ["export-diff", "vm-100-disk-0"], "action": "fail", "rc": 2}'
next_second
ferry backup --vmid 100,101 --label daily --path "$REPO" --mail boss@lab.example --mail-when change
repair_rbd
check "one of two failed: exit 3" exits 3
mail=$sinks/2465.1.eml
check "the mail came with TLS" grep -qx 'X-Envelope-To: boss@lab.example' "$mail"
check "its subject tells" same "$(part "$mail" plain subject)" "[PARTIAL] pve-ferry backup daily on pve1: 1 of 2 guests ok, 1 failed"
check "the failure stands above the table" sh -c "$(declare -f part); part '$mail' plain | sed '/^Guest /,\$d' | grep -q 'guest 100 vm100: .*export-diff'"
check "syslog has it as an error" grep -qE '^daemon.err pve-ferry.* guest 100 vm100 on pve1: FAILED' "$WORK/syslog"
check "the newest good point did not move" grep -qE "^pve_ferry_last_good_point_timestamp_seconds\{.*vmid=\"100\".*\} $point\$" \
    "$sinks/metrics/pve-ferry_backup_daily.prom"
check "the failure is in the metrics" grep -qE '^pve_ferry_guest_failed\{.*vmid="100".*\} 1$' "$sinks/metrics/pve-ferry_backup_daily.prom"
check "promtool is content" promtool check metrics <"$sinks/metrics/pve-ferry_backup_daily.prom"

# --- sinks that are down, wrong, or slow ------------------------------------------------------------------------------
# A certificate that nobody we trust signed.
sed -i '/ca-file/d' "$ETC/pve-ferry/notify.cfg"
backup 101
check "a mail server that cannot prove who it is gets nothing, the run is good" exits 0
check "and that is said" says 'not told: mail to ops@lab.example'
check "nothing was sent" test ! -e "$sinks/2465.2.eml"
check "and syslog says it too" wait_until 5 grep -qE '^daemon.warning pve-ferry.*not told: mail' "$WORK/syslog"
notify starttls 2587
printf 'wrong-%s\n' "$secret_smtp" >"$ETC/priv/pve-ferry/smtp"
backup 101
check "a wrong password: the run is good" exits 0
check "a wrong password is said, not shown" says 'not told: mail to'
printf '%s\n' "$secret_smtp" >"$ETC/priv/pve-ferry/smtp"
# A server that accepts and never answers.
/usr/bin/python3 -Ic 'import socket, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", 2599)); s.listen(); time.sleep(300)' 9>&- &
daemons+=($!)
notify starttls 2599
begun=$SECONDS
backup 101 --influxurl http://127.0.0.1:2599 --influxbucket pve
check "servers that never answer: the run is good" exits 0
check "and ends within two minutes" test $((SECONDS - begun)) -lt 120
check "both are named" says 'not told: InfluxDB at http://127.0.0.1:2599'
check "the mail, too" says 'not told: mail to ops'

# --- secrets --------------------------------------------------------------------------------------------------------
notify starttls 2587
"$FERRY" backup --vmid 101 --label daily --path "$REPO" --debug >"$WORK/debug.out" 2>"$WORK/debug.err"
b64_smtp=$(printf '\0ferry\0%s' "$secret_smtp" | base64 -w0) b64_influx=$(printf 'writer:%s' "$secret_influx" | base64 -w0)
no_secret() {
    ! grep -rlaF -e "$secret_smtp" -e "$secret_influx" -e "$b64_smtp" -e "$b64_influx" "$WORK" "$REPO" "$STATE" "$sinks/metrics" "$sinks"/*.eml
}
check "no secret stands in any log, mail, metric or file of the runs" no_secret
check "nor in the repository's neighbour /etc/pve/pve-ferry" not grep -rlF -e "$secret_smtp" -e "$secret_influx" "$ETC/pve-ferry"
ferry backup --vmid 101 --label daily --path "$REPO" --influxurl http://127.0.0.1:8086 --influxbucket pve --influxtoken "$secret_influx"
check "a token in clear is refused" exits 2
check "and not repeated" not says "$secret_influx"
