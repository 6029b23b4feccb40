#!/usr/bin/env bash
# A real sshd as the second node, pve2, on 127.0.0.2:22; runs only inside `enter`, whose loopback and mounts are private.
#
#   ssh.sh up NODE_DIR    NODE_DIR is one of node.sh
#   ssh.sh down NODE_DIR
#
# Root's key and known_hosts are replaced, inside the namespace, by the lab's own. A command on pve2 finds the fakes on its
# PATH, and they answer as that node.
set -euo pipefail

main() {
    if [ -z "${LAB_INSIDE-}" ]; then
        echo "ssh.sh must run inside tests/lab/enter" >&2
        exit 2
    fi
    case "${1-}" in
    up) up "${2:?NODE_DIR is missing}" ;;
    down) down "${2:?NODE_DIR is missing}" ;;
    *)
        echo "usage: ssh.sh up NODE_DIR | down NODE_DIR" >&2
        exit 2
        ;;
    esac
}

up() {
    local dir
    dir=$(cd "$1" && pwd)
    down "$dir"
    make_keys "$dir"
    mount --bind "$dir/ssh/root" /root/.ssh
    write_configuration "$dir"
    # sshd wants its directory for privilege separation, which the machine's own package makes only when that starts.
    mkdir -p "$dir/ssh/run" /run/sshd
    chmod 755 "$dir/ssh/run"
    # shellcheck disable=SC2016 # the inner shell expands these
    unshare --uts bash -c 'hostname pve2; exec "$0" -D -e -f "$1"' \
        /usr/sbin/sshd "$dir/ssh/sshd_config" >"$dir/ssh/log" 2>&1 </dev/null &
    echo $! >"$dir/ssh/pid"
    wait_for_port "$dir"
}

make_keys() {
    local dir=$1
    mkdir -p "$dir/ssh/root"
    chmod 700 "$dir/ssh/root"
    [ -f "$dir/ssh/host_key" ] || ssh-keygen -q -t ed25519 -N '' -f "$dir/ssh/host_key" -C root@pve2
    [ -f "$dir/ssh/root/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -f "$dir/ssh/root/id_ed25519" -C root@pve1
    cp "$dir/ssh/root/id_ed25519.pub" "$dir/ssh/root/authorized_keys"
    chmod 600 "$dir/ssh/root/authorized_keys"
    # PVE keeps every node's host key under the node's name, and connects by address with that name as alias.
    printf 'pve2 %s\n' "$(cut -d' ' -f1,2 "$dir/ssh/host_key.pub")" >"$dir/etc-pve/nodes/pve2/ssh_known_hosts"
}

write_configuration() {
    local dir=$1
    cat >"$dir/ssh/sshd_config" <<CONF
ListenAddress 127.0.0.2:22
HostKey "$dir/ssh/host_key"
AuthorizedKeysFile "$dir/ssh/root/authorized_keys"
PasswordAuthentication no
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
PidFile none
SetEnv "PATH=$dir/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" FAKE_NODE=pve2 "FAKE_PVE_STATE=$dir/state" "FAKE_PVE_ETC=$dir/etc-pve"
CONF
}

wait_for_port() {
    local dir=$1 end=$((SECONDS + 10))
    until timeout 1 bash -c 'exec 3<>/dev/tcp/127.0.0.2/22' 2>/dev/null; do
        if [ $SECONDS -ge $end ]; then
            cat "$dir/ssh/log" >&2
            return 1
        fi
        sleep 0.1
    done
}

down() {
    local dir=$1 pid
    if [ -s "$dir/ssh/pid" ]; then
        pid=$(cat "$dir/ssh/pid")
        if grep -qF sshd_config "/proc/$pid/cmdline" 2>/dev/null; then kill "$pid"; fi
        rm -f "$dir/ssh/pid"
    fi
    if mountpoint -q /root/.ssh; then umount /root/.ssh; fi
}

main "$@"
