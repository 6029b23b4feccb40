"""What `pvesh get PATH --output-format json` answers, from the files of the cluster file system; part of pve.py.

Paths: cluster/resources [--type vm|node|storage] · cluster/nextid · nodes · nodes/N/qemu · nodes/N/lxc ·
nodes/N/qemu/VMID/status/current · nodes/N/lxc/VMID/status/current · nodes/N/storage · pools · pools/POOL
"""

import os
import re
import subprocess

from pve_state import Failure, Unexpected, guest_configuration

ROOM = 100 << 30


def get(state, path, options):
    match path, sorted(options):
        case ["cluster", "resources"], ([] | ["type"]):
            return resources(state, options.get("type"))
        case ["cluster", "nextid"], []:
            taken = {guest["vmid"] for guest in guests(state)}
            return str(next(number for number in range(100, 1_000_000) if number not in taken))
        case ["nodes"], []:
            return nodes(state)
        case ["nodes", node, ("qemu" | "lxc") as kind], []:
            return [guest for guest in guests(state) if guest["node"] == node and guest["type"] == kind]
        case ["nodes", node, ("qemu" | "lxc") as kind, vmid, "status", "current"], []:
            return current_status(state, node, kind, vmid)
        case ["nodes", _, "storage"], []:
            return storages(state)
        case ["pools"], []:
            return [{"poolid": name} for name in sorted(pools(state))]
        case ["pools", name], []:
            if name not in pools(state):
                raise Failure(f"no such pool '{name}'", 255)
            return {"members": [guest for guest in guests(state) if guest["vmid"] in pools(state)[name]]}
        case _:
            raise Unexpected()


def resources(state, kind):
    answers = {
        "vm": lambda: guests(state),
        "node": lambda: nodes(state),
        "storage": lambda: [storage_resource(state, entry) for entry in storages(state)],
    }
    if kind is None:
        return [entry for answer in answers.values() for entry in answer()]
    if kind not in answers:
        raise Unexpected()
    return answers[kind]()


def storage_resource(state, entry):
    """A storage as the list of the whole cluster shows it (PVE::API2Tools::extract_storage_stats)."""
    return {
        "id": f"storage/{state.node}/{entry['storage']}",
        "type": "storage",
        "storage": entry["storage"],
        "node": state.node,
        "plugintype": entry["type"],
        "status": "available",
        "shared": entry["shared"],
        "content": entry["content"],
        "disk": entry["used"],
        "maxdisk": entry["total"],
    }


def guests(state):
    found = []
    root = os.path.join(state.etc, "nodes")
    for node in sorted(os.listdir(root)):
        for kind, directory in (("qemu", "qemu-server"), ("lxc", "lxc")):
            folder = os.path.join(root, node, directory)
            names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
            found += [guest(state, node, kind, name[:-5]) for name in names if re.fullmatch(r"\d+\.conf", name)]
    return found


def guest(state, node, kind, vmid):
    with open(state.configuration_path(kind, vmid, node), encoding="utf-8") as file:
        fields = dict(re.findall(r"^(\w+): *(.*)$", re.split(r"^\[", file.read(), maxsplit=1, flags=re.M)[0], re.M))
    entry = {
        "id": f"{kind}/{vmid}",
        "vmid": int(vmid),
        "type": kind,
        "node": node,
        "name": fields.get("name") or fields.get("hostname") or f"{'VM' if kind == 'qemu' else 'CT'} {vmid}",
        "status": "running" if state.has(vmid, "running") else "stopped",
        "template": int(fields.get("template", "0")),
    }
    entry.update({key: fields[key] for key in ("tags", "lock") if key in fields})
    for name, members in pools(state).items():
        if int(vmid) in members:
            entry["pool"] = name
    return entry


def nodes(state):
    names = sorted(os.listdir(os.path.join(state.etc, "nodes")))
    return [{"node": name, "type": "node", "id": f"node/{name}", "status": "online"} for name in names]


def current_status(state, node, kind, vmid):
    if node == state.node:
        guest_configuration(state, kind, vmid)
    entry = guest(state, node, kind, vmid)
    running = entry["status"] == "running"
    answer = {key: entry[key] for key in ("vmid", "name", "status", "tags", "lock") if key in entry}
    answer["ha"] = {"managed": 0}
    if kind == "qemu":
        answer["qmpstatus"] = entry["status"]
        with open(state.configuration_path(kind, vmid, node), encoding="utf-8") as file:
            if re.search(r"^agent: *(1|enabled=1)", file.read(), re.M):
                answer["agent"] = 1
    if running:
        answer["pid"] = 4242
    return answer


def storages(state):
    return [
        {
            "storage": name,
            "type": fields["type"],
            "content": fields.get("content", ""),
            "enabled": 0 if "disable" in fields else 1,
            "active": 0 if "disable" in fields else 1,
            "shared": 1 if fields["type"] == "rbd" else 0,
            "total": ROOM,
            "avail": ROOM,
            "used": 0,
        }
        for name, fields in storage_configuration(state).items()
    ]


def storage_configuration(state):
    """storage.cfg as {name: {type, key: value}}."""
    found, fields = {}, {}
    with open(os.path.join(state.etc, "storage.cfg"), encoding="utf-8") as file:
        for line in file:
            head = re.match(r"^(\w+): *(\S+)\s*$", line)
            entry = re.match(r"^\s+(\S+)\s*(.*?)\s*$", line)
            if head:
                fields = found.setdefault(head[2], {"type": head[1]})
            elif entry:
                fields[entry[1]] = entry[2]
    return found


def pools(state):
    """Pools and the guests in them, from user.cfg."""
    try:
        with open(os.path.join(state.etc, "user.cfg"), encoding="utf-8") as file:
            lines = re.findall(r"^pool:([^:]*):[^:]*:([^:]*):", file.read(), re.M)
    except FileNotFoundError:
        return {}
    return {name: {int(vmid) for vmid in members.split(",") if vmid} for name, members in lines}


def rbd_info_command(state, volume):
    """argv that asks whether a volume exists, or None where it cannot be asked (no real cluster, no rbd storage)."""
    storage, _, name = volume.partition(":")
    fields = storage_configuration(state).get(storage)
    if fields is None:
        raise Failure(f"storage '{storage}' does not exist", 255)
    connection = rbd_connection(state, storage, fields)
    return connection and [*connection, "info", f"{rbd_pool(fields)}/{name.rpartition('/')[2]}"]


def volumes_named_after(state, vmid):
    """The volumes `storage:name` on rbd storages whose images are named after the guest."""
    found = []
    for storage, fields in storage_configuration(state).items():
        connection = rbd_connection(state, storage, fields)
        if connection:
            done = subprocess.run([*connection, "ls", rbd_pool(fields)], capture_output=True, timeout=60, check=False)
            found += [f"{storage}:{name}" for name in done.stdout.decode().split() if name.startswith(f"vm-{vmid}-")]
    return found


def rbd_pool(fields):
    namespace = f"/{fields['namespace']}" if "namespace" in fields else ""
    return fields.get("pool", "rbd") + namespace


def rbd_connection(state, storage, fields):
    """rbd with the options that reach a storage as PVE does; None where there is nothing to reach."""
    configuration = os.environ.get("FAKE_PVE_RBD_CONF")
    if not configuration or fields["type"] != "rbd":
        return None
    where = ["-c", configuration]
    if "monhost" in fields:
        where = ["-c", os.devnull, "-m", fields["monhost"].replace(" ", ",")]
    keyring = os.path.join(state.etc, "priv", "ceph", f"{storage}.keyring")
    return ["rbd", *where, "-n", f"client.{fields.get('username', 'admin')}", "--keyring", keyring]
