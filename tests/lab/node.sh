#!/usr/bin/env bash
# Makes a simulated Proxmox VE node: a cluster file system and the fakes of PVE's programs; not a node that runs guests.
#
#   node.sh make DIR CEPH_A [CEPH_B]
#
# CEPH_A and CEPH_B are directories of `ceph.sh up`: A is the cluster of the node itself, B an external one.
# Below DIR:
#   etc-pve/   what PVE_FERRY_ETC_PVE names: storage.cfg, .members, nodes/pve1 and nodes/pve2, local -> nodes/pve1, priv/
#   state/     what FAKE_PVE_STATE names: see tests/fakes/pve.py
#   bin/       the fakes, to stand first on PATH
#   env        shell variables that make a shell the node pve1: `. DIR/env`
# Storages: ceph (pool rbd, this cluster), krbd (pool ssd-rbd, krbd), tenant (pool rbd, namespace ns1), big (pool 2tb with
# a data-pool), dotted (pool my.pool), and, with CEPH_B, remote (pool rbd, monhost) and remote-ns (pool rbd, namespace ns1).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fakes=$(cd "$here/../fakes" && pwd)

main() {
    if [ "${1-}" != make ] || [ $# -lt 3 ]; then
        echo "usage: node.sh make DIR CEPH_A [CEPH_B]" >&2
        exit 2
    fi
    mkdir -p "$2"
    dir=$(cd "$2" && pwd) a=$3 b=${4-}
    make_tree
    write_members
    write_storages
    copy_keys
    link_fakes
    write_environment
}

make_tree() {
    local node
    for node in pve1 pve2; do
        mkdir -p "$dir/etc-pve/nodes/$node"/{qemu-server,lxc,priv}
    done
    mkdir -p "$dir/etc-pve"/{firewall,priv/ceph} "$dir/state" "$dir/bin"
    chmod 700 "$dir/etc-pve/priv"
    ln -sfn nodes/pve1 "$dir/etc-pve/local"
    ln -sfn local/qemu-server "$dir/etc-pve/qemu-server"
    ln -sfn local/lxc "$dir/etc-pve/lxc"
}

write_members() {
    cat >"$dir/etc-pve/.members" <<'JSON'
{
"nodename": "pve1",
"version": 4,
"cluster": { "name": "lab", "version": 2, "nodes": 2, "quorate": 1 },
"nodelist": {
  "pve1": { "id": 1, "online": 1, "ip": "127.0.0.1"},
  "pve2": { "id": 2, "online": 1, "ip": "127.0.0.2"}
  }
}
JSON
}

write_storages() {
    {
        printf 'dir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,backup\n\n'
        storage ceph rbd ''
        storage krbd ssd-rbd '\tkrbd 1\n'
        storage tenant rbd '\tnamespace ns1\n'
        storage big 2tb '\tdata-pool data-only\n'
        storage dotted my.pool ''
        if [ -n "$b" ]; then
            storage remote rbd "\\tmonhost 127.0.0.1:$(cat "$b/port")\\n\\tusername admin\\n"
            storage remote-ns rbd "\\tmonhost 127.0.0.1:$(cat "$b/port")\\n\\tusername admin\\n\\tnamespace ns1\\n"
        fi
    } >"$dir/etc-pve/storage.cfg"
}

# storage NAME POOL MORE-LINES
storage() {
    printf 'rbd: %s\n\tcontent images,rootdir\n\tpool %s\n%b\n' "$1" "$2" "$3"
}

# The cluster of the node itself has one configuration and one keyring per storage; an external one has only a keyring.
copy_keys() {
    local id
    {
        printf '[global]\n\tauth_client_required = cephx\n\tfsid = %s\n' "$(cat "$a/fsid")"
        grep '^mon host' "$a/ceph.conf" | sed 's/^/\t/'
        # shellcheck disable=SC2016 # ceph itself replaces these two
        printf '\n[client]\n\tkeyring = %s/etc-pve/priv/$cluster.$name.keyring\n' "$dir"
    } >"$dir/etc-pve/ceph.conf"
    admin_key "$a" >"$dir/etc-pve/priv/ceph.client.admin.keyring"
    for id in ceph krbd tenant big dotted; do
        admin_key "$a" >"$dir/etc-pve/priv/ceph/$id.keyring"
    done
    if [ -n "$b" ]; then
        for id in remote remote-ns; do
            admin_key "$b" >"$dir/etc-pve/priv/ceph/$id.keyring"
        done
    fi
    chmod 600 "$dir"/etc-pve/priv/ceph/*.keyring "$dir/etc-pve/priv/ceph.client.admin.keyring"
}

admin_key() {
    printf '[client.admin]\n\tkey = %s\n' "$(ceph-authtool "$1/keyring" --print-key -n client.admin)"
}

link_fakes() {
    local name
    for name in qm pct pvesh systemd-run systemctl; do
        ln -sfn "$fakes/$name" "$dir/bin/$name"
    done
}

# The variables are single-quoted in the file, since a directory may have any name.
write_environment() {
    {
        printf "export PVE_FERRY_ETC_PVE='%s'\n" "$dir/etc-pve"
        printf "export PVE_FERRY_RUN='%s'\n" "$dir/run"
        printf "export FAKE_PVE_ETC='%s'\n" "$dir/etc-pve"
        printf "export FAKE_PVE_STATE='%s'\n" "$dir/state"
        printf "export FAKE_PVE_RBD_CONF='%s'\n" "$dir/etc-pve/ceph.conf"
        printf "export FAKE_NODE=pve1\n"
        printf "export PATH='%s':\"\$PATH\"\n" "$dir/bin"
    } >"$dir/env"
}

main "$@"
