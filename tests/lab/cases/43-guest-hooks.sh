#!/usr/bin/env bash
# The scripts for the guest: MariaDB, PostgreSQL and Redis rest between freeze and thaw, and nothing stays locked.
# needs mariadbd mariadb-server
# needs pg_ctlcluster postgresql
# needs redis-server redis-server
. "$LAB_SOURCE/lib.sh"
begin_case

hooks=$(cd "$LAB_SOURCE/../../hooks/guest" && pwd)
daemons=()
stop_daemons() {
    local pid
    for pid in "${daemons[@]}"; do kill "$pid" 2>/dev/null; done
    [ -z "${pg_bin-}" ] || runuser -u postgres -- "$pg_bin/pg_ctl" -D "$data/pg" -m immediate stop >/dev/null 2>&1
}
trap 'stop_daemons; end_case' EXIT

# Sockets have short names, and postgres is not root.
data=/run/databases
mkdir -p "$data"
chmod 755 "$data"

export FSFREEZE_D=$WORK/hook.d FSFREEZE_LOG=$WORK/freeze.log FSFREEZE_CONF=$WORK/freeze.conf
mkdir -p "$FSFREEZE_D"
# hook ACTION: as the guest agent calls it.
hook() { "$hooks/fsfreeze-hook" "$1"; }
only() {
    rm -rf "${FSFREEZE_D:?}"/*
    local name
    for name in "$@"; do cp "$hooks/fsfreeze-hook.d/$name" "$FSFREEZE_D/"; done
}

# --- the dispatcher -------------------------------------------------------------------------------------------------
trace=$WORK/trace
script() {
    printf '#!/bin/sh\necho "%s $1" >>%s\n%s\n' "$1" "$trace" "${2-}" >"$FSFREEZE_D/$1"
    chmod 755 "$FSFREEZE_D/$1"
}
script 10-a && script 20-b && script 30-c
for name in 40-d~ 50-e.bak 60-f.dpkg-old .70-g 80-h.rpmsave; do script "$name"; done
script 90-i && chmod 644 "$FSFREEZE_D/90-i"
check "dispatcher: freeze" hook freeze
check "dispatcher: thaw" hook thaw
check "dispatcher: by name, backwards at the thaw, and no backups of editors" same "$(tr '\n' ' ' <"$trace")" \
    "10-a freeze 20-b freeze 30-c freeze 30-c thaw 20-b thaw 10-a thaw "
check "dispatcher: the log names them" grep -q 'thaw .*/20-b$' "$FSFREEZE_LOG"
# shellcheck disable=SC2016 # $1 is the script's own
script 20-b '[ "$1" != freeze ] || exit 4'
rm -f "$trace"
check "dispatcher: one that fails refuses the freeze" not hook freeze
check "dispatcher: and all that were called are thawed" same "$(tr '\n' ' ' <"$trace")" \
    "10-a freeze 20-b freeze 20-b thaw 10-a thaw "
check "dispatcher: the log says why" grep -q '20-b ended with 4' "$FSFREEZE_LOG"
script 20-b 'sleep 60'
begun=$SECONDS
check "dispatcher: one that hangs does not hang the agent" env FSFREEZE_SECONDS=1 sh -c "! '$hooks/fsfreeze-hook' freeze"
check "dispatcher: for long" test $((SECONDS - begun)) -lt 10
check "dispatcher: an unknown word is refused" not hook sleep

# --- MariaDB --------------------------------------------------------------------------------------------------------
socket=$data/mariadb.sock
start_mariadb() {
    mkdir -p "$data/mariadb"
    mariadb-install-db --no-defaults --user=root --datadir="$data/mariadb" --auth-root-authentication-method=normal \
        --skip-test-db >"$WORK/mariadb.log" 2>&1
    mariadbd --no-defaults --user=root --datadir="$data/mariadb" --socket="$socket" --skip-networking \
        --pid-file="$data/mariadb.pid" >>"$WORK/mariadb.log" 2>&1 9>&- &
    daemons+=($!)
    wait_until 30 sql 'SELECT 1'
}
sql() { mariadb --no-defaults --socket="$socket" -u root -N -B -e "$1"; }
check "MariaDB: a real server is up" start_mariadb
sql 'CREATE DATABASE d; CREATE TABLE d.t (n INT) ENGINE=InnoDB; INSERT INTO d.t VALUES (1)'
printf 'MARIADB_SOCKET=%s\nMARIADB_DEFAULTS=/nonexistent\nHOLD_SECONDS=4\n' "$socket" >"$FSFREEZE_CONF"
only 10-info 20-mariadb
begun=$SECONDS
check "MariaDB: freeze" hook freeze
check "MariaDB: in less than the guest may be frozen" test $((SECONDS - begun)) -lt 5
check "MariaDB: a write waits" not timeout 1 mariadb --no-defaults --socket="$socket" -u root -e 'INSERT INTO d.t VALUES (2)'
check "MariaDB: a read does not" same "$(sql 'SELECT COUNT(*) FROM d.t')" 1
sql 'INSERT INTO d.t VALUES (3)' &
writer=$!
sleep 0.3
check "MariaDB: a writer is waiting" kill -0 $writer
check "MariaDB: thaw" hook thaw
check "MariaDB: the thaw lets it go on" wait $writer
check "MariaDB: and its row is there" same "$(sql 'SELECT COUNT(*) FROM d.t WHERE n = 3')" 1
check "MariaDB: no session of ours is left" wait_until 5 same "$(sql 'SELECT COUNT(*) FROM information_schema.processlist WHERE command = "Sleep"')" 0
check "MariaDB: a second thaw is no error" hook thaw

# The agent dies between freeze and thaw: nobody thaws, and the lock ends by itself.
check "MariaDB: freeze by an agent" hook freeze
begun=$SECONDS
check "MariaDB: a killed agent leaves no lock: a write waits and is then done" timeout 15 mariadb --no-defaults --socket="$socket" \
    -u root -e 'INSERT INTO d.t VALUES (4)'
check "MariaDB: it did wait" test $((SECONDS - begun)) -ge 2
# Only the session's client dies (out of memory): the server sees it at once.
check "MariaDB: freeze once more" hook freeze
pkill -9 -g "$(cat /run/qga-mariadb-freeze/group)"
check "MariaDB: a killed session leaves no lock" timeout 3 mariadb --no-defaults --socket="$socket" -u root -e 'INSERT INTO d.t VALUES (5)'
hook thaw
# A long transaction that holds a table keeps the freeze from its lock: it is refused in time, and nothing stays.
{ printf 'LOCK TABLES d.t WRITE;\nSELECT "held";\n' && sleep 9; } |
    mariadb --no-defaults --socket="$socket" -u root -N -B --unbuffered >"$WORK/held" &
holder=$!
wait_until 5 grep -q held "$WORK/held"
begun=$SECONDS
check "MariaDB: a table that somebody locked refuses the freeze" not hook freeze
check "MariaDB: in time" test $((SECONDS - begun)) -lt 8
wait $holder
check "MariaDB: afterwards everything goes on" timeout 3 mariadb --no-defaults --socket="$socket" -u root -e 'INSERT INTO d.t VALUES (6)'
check "MariaDB: no server is no error" env MARIADB_SOCKET=/nonexistent sh -c "echo >'$FSFREEZE_CONF'; '$hooks/fsfreeze-hook.d/20-mariadb' freeze"

# --- PostgreSQL -----------------------------------------------------------------------------------------------------
pg_bin=$(echo /usr/lib/postgresql/*/bin)
as_postgres() { runuser -u postgres -- "$@"; }
psql_() { as_postgres psql -h "$data/pgsock" -p 5499 -qAtX -d postgres -c "$1"; }
start_postgres() {
    mkdir -p "$data/pg" "$data/pgsock"
    chown postgres "$data/pg" "$data/pgsock"
    chmod 700 "$data/pg"
    (cd / && as_postgres "$pg_bin/initdb" -D "$data/pg" -A trust) >"$WORK/pg.log" 2>&1
    (cd / && as_postgres "$pg_bin/pg_ctl" -w -D "$data/pg" -l "$data/pg/log" \
        -o "-k $data/pgsock -p 5499 -c listen_addresses=" start) >>"$WORK/pg.log" 2>&1 9>&-
}
check "PostgreSQL: a real server is up" start_postgres
cd / || exit 1
psql_ 'CREATE TABLE t (n int)'
printf 'PGHOST=%s\nPGPORT=5499\n' "$data/pgsock" >"$FSFREEZE_CONF"
only 30-postgresql
redo() { psql_ 'SELECT redo_lsn FROM pg_control_checkpoint()'; }
psql_ 'INSERT INTO t SELECT generate_series(1, 1000)'
before=$(redo)
check "PostgreSQL: freeze" hook freeze
check "PostgreSQL: the checkpoint is a new one" differs "$(redo)" "$before"
# What is on disk now is what a snapshot holds: written to, unthawed, without a clean end.
psql_ 'INSERT INTO t VALUES (-1)'
cp -a "$data/pg" "$data/pg-copy"
rm -f "$data/pg-copy/postmaster.pid"
check "PostgreSQL: nothing is locked" same "$(psql_ "SELECT count(*) FROM pg_locks WHERE mode LIKE '%Exclusive%' AND pid <> pg_backend_pid() AND locktype = 'relation'")" 0
check "PostgreSQL: a killed agent leaves no lock: a write is done" timeout 5 runuser -u postgres -- psql -h "$data/pgsock" -p 5499 \
    -qAtX -d postgres -c 'INSERT INTO t VALUES (-2)'
check "PostgreSQL: thaw" hook thaw
recovered() {
    as_postgres "$pg_bin/pg_ctl" -w -D "$data/pg-copy" -l "$data/pg-copy/log" -o "-k $data/pgsock -p 5498 -c listen_addresses=" start \
        >/dev/null 9>&- &&
        same "$(as_postgres psql -h "$data/pgsock" -p 5498 -qAtX -d postgres -c 'SELECT count(*) FROM t')" 1001
}
check "PostgreSQL: what was on disk recovers with every row" recovered
as_postgres "$pg_bin/pg_ctl" -D "$data/pg-copy" -m immediate stop >/dev/null
check "PostgreSQL: no server is no error" env PGHOST=/nonexistent sh -c "echo >'$FSFREEZE_CONF'; '$hooks/fsfreeze-hook.d/30-postgresql' freeze"
cd "$WORK" || exit 1

# --- Redis ----------------------------------------------------------------------------------------------------------
redis-server --port 0 --unixsocket "$data/redis.sock" --dir "$data" --save '' --requirepass s3cret-redis \
    >"$WORK/redis.log" 2>&1 9>&- &
daemons+=($!)
cache() { REDISCLI_AUTH=s3cret-redis redis-cli -s "$data/redis.sock" "$@"; }
check "Redis: a real server is up" wait_until 10 test -S "$data/redis.sock"
printf 'REDIS_ARGS="-s %s"\nREDISCLI_AUTH=s3cret-redis\nHOLD_SECONDS=4\n' "$data/redis.sock" >"$FSFREEZE_CONF"
only 40-redis
cache set a 1 >/dev/null
check "Redis: freeze" hook freeze
check "Redis: the data is on disk" test -s "$data/dump.rdb"
check "Redis: a write waits" not timeout 1 env REDISCLI_AUTH=s3cret-redis redis-cli -s "$data/redis.sock" set b 2
check "Redis: a read does not" same "$(timeout 2 env REDISCLI_AUTH=s3cret-redis redis-cli -s "$data/redis.sock" get a)" 1
check "Redis: thaw" hook thaw
check "Redis: the thaw lets writes go on" same "$(timeout 2 env REDISCLI_AUTH=s3cret-redis redis-cli -s "$data/redis.sock" set c 3)" OK
check "Redis: freeze by an agent" hook freeze
check "Redis: a killed agent leaves no pause" same "$(timeout 10 env REDISCLI_AUTH=s3cret-redis redis-cli -s "$data/redis.sock" set d 4)" OK
check "Redis: its password is not in the log" not grep s3cret "$FSFREEZE_LOG"
