"""What `pvesh` answers about guest snapshots, kept in the configuration files as PVE keeps them; part of pve.py.

Paths: nodes/N/KIND/VMID/config --current 1 · nodes/N/KIND/VMID/feature --feature snapshot ·
nodes/N/KIND/VMID/snapshot (get, create) ·
nodes/N/KIND/VMID/snapshot/NAME (delete) · .../snapshot/NAME/rollback (create) · nodes/N/tasks/UPID/status
State written by tests: VMID/snapshot-fails, the error with which the task of a creation ends.
With FAKE_PVE_RBD_CONF the volumes on rbd storages are really snapshotted, rolled back, and their snapshots removed, and
the memory of a running machine gets its volume, as PVE::QemuConfig and PVE::Storage::RBDPlugin do it.
As the real one, create and delete print the task's log and then its id, and end with 0 whatever the task did.
"""

import json
import os
import re
import subprocess
import time

from pve_api import rbd_connection, rbd_pool, storage_configuration
from pve_cluster import Schema, can_snapshot, volumes
from pve_cluster import Unexpected as Foreign
from pve_state import Unexpected, guest_configuration, volumes_of

METHODS = {"get": "GET", "create": "POST", "delete": "DELETE"}


def knows(path):
    return path[0] == "nodes" and len(path) > 4 and (path[2] == "tasks" or path[4] in ("config", "feature", "snapshot"))


def call(state, word, path, options):
    """Prints the answer."""
    try:
        Schema().check(METHODS[word], "/" + "/".join(path), options)
    except Foreign as why:
        raise Unexpected(str(why)) from None
    match [word, *path]:
        case ["get", "nodes", _, "tasks", upid, "status"]:
            answer = {"upid": upid, "status": "stopped", "exitstatus": state.text("tasks", upid)}
        case ["get", "nodes", _, kind, vmid, "config"]:
            answer = entries(section(guest_configuration(state, kind, vmid), None))
        case ["get", "nodes", node, kind, vmid, "feature"] if options["feature"] == "snapshot":
            answer = {"hasFeature": int(has_feature(state, guest_configuration(state, kind, vmid)))}
            answer.update({"nodes": [node]} if kind == "qemu" else {})
        case ["get", "nodes", _, kind, vmid, "snapshot"]:
            answer = [*snapshots(guest_configuration(state, kind, vmid)), {"name": "current", "running": 0}]
        case ["create", "nodes", node, kind, vmid, "snapshot"]:
            answer = create(state, node, (kind, vmid), options)
        case ["delete", "nodes", node, kind, vmid, "snapshot", name]:
            answer = delete(state, node, (kind, vmid), name)
        case ["create", "nodes", node, kind, vmid, "snapshot", name, "rollback"]:
            answer = rollback(state, node, (kind, vmid), name)
        case _:
            raise Unexpected()
    print(json.dumps(answer))


def section(text, name):
    """The lines of a section; of the current one without a name."""
    parts = re.split(r"^\[(.*)\]\s*$", text, flags=re.M)
    return parts[0] if name is None else dict(zip(parts[1::2], parts[2::2]))[name]


def entries(text):
    return dict(re.findall(r"^(\w+): *(.*)$", text, re.M))


def snapshots(text):
    found = []
    for name in re.findall(r"^\[([\w-]+)\]\s*$", text, re.M):
        lines = section(text, name)
        description = "".join(line[1:] + "\n" for line in lines.splitlines() if line.startswith("#"))
        fields = entries(lines)
        entry = {"name": name, "description": description, "snaptime": int(fields["snaptime"]), "vmstate": int("vmstate" in fields)}
        found.append(entry)
    return found


def has_feature(state, text):
    storages = storage_configuration(state)
    held = volumes(entries(section(text, None)))
    return all(volume[0] != "/" and can_snapshot(storages[volume.partition(":")[0]]["type"], volume) for volume in held)


def create(state, node, who, options):
    kind, vmid = who
    text = guest_configuration(state, kind, vmid)
    lock = entries(section(text, None)).get("lock")
    if lock:
        return task(state, node, ("qmsnapshot", vmid), f"VM is locked ({lock})")
    if not has_feature(state, text):
        return task(state, node, ("qmsnapshot", vmid), "snapshot feature is not available")
    if state.has(vmid, "snapshot-fails"):
        return task(state, node, ("qmsnapshot", vmid), state.text(vmid, "snapshot-fails"))
    name, memory = options["snapname"], ""
    try:
        for volume in volumes_of(text):
            on_rbd(state, volume, "snap", "create", name)
        if options.get("vmstate") == "1" and kind == "qemu" and state.has(vmid, "running"):
            memory = make_memory(state, vmid, text, name)
    except subprocess.CalledProcessError as failure:
        return task(state, node, ("qmsnapshot", vmid), f"rbd snapshot error: {failure.stderr.decode().strip()}")
    new = f"\n[{name}]\n#{options.get('description', '')}\n{section(text, None).rstrip()}\nsnaptime: {int(time.time())}\n{memory}"
    write(state, who, text.rstrip("\n") + "\n" + new)
    return task(state, node, ("qmsnapshot", vmid), "OK")


def delete(state, node, who, name):
    kind, vmid = who
    text = guest_configuration(state, kind, vmid)
    lines = section(text, name)
    try:
        for volume in volumes_of(lines):
            on_rbd(state, volume, "snap", "rm", name)
        if "vmstate" in entries(lines):
            on_rbd(state, entries(lines)["vmstate"], "rm")
    except subprocess.CalledProcessError as failure:
        return task(state, node, ("qmdelsnapshot", vmid), f"rbd error: {failure.stderr.decode().strip()}")
    write(state, who, text.replace(f"[{name}]{lines}", ""))
    return task(state, node, ("qmdelsnapshot", vmid), "OK")


def rollback(state, node, who, name):
    """The guest is stopped, volumes and configuration are as they were, and it runs again if its memory was saved."""
    kind, vmid = who
    text = guest_configuration(state, kind, vmid)
    lines = section(text, name)
    state.drop(vmid, "running")
    try:
        for volume in volumes_of(lines):
            on_rbd(state, volume, "snap", "rollback", name)
    except subprocess.CalledProcessError as failure:
        return task(state, node, ("qmrollback", vmid), f"rbd error: {failure.stderr.decode().strip()}")
    gone = ("snaptime:", "vmstate:", "parent:", "#")
    kept = [line for line in lines.strip("\n").splitlines() if line and not line.startswith(gone)]
    rest = text[len(section(text, None)) :]
    write(state, who, "\n".join([*kept, f"parent: {name}"]) + "\n\n" + rest)
    if "vmstate" in entries(lines):
        state.put(vmid, "running", "")
    state.put(vmid, "rolled-back-to", name)
    return task(state, node, ("qmrollback", vmid), "OK")


def make_memory(state, vmid, text, name):
    """The line of the volume that holds the memory: twice the memory and 500 MiB, beside the first disk."""
    storage = volumes_of(text)[0].partition(":")[0]
    volume = f"{storage}:vm-{vmid}-state-{name}"
    size = 2 * int(entries(section(text, None)).get("memory", "512")) + 500
    on_rbd(state, volume, "create", "--size", str(size))
    return f"vmstate: {volume}\n"


def on_rbd(state, volume, *words):
    """Runs rbd for a volume; the name behind `snap VERB` becomes that of the volume's snapshot."""
    storage, _, name = volume.partition(":")
    fields = storage_configuration(state)[storage]
    connection = rbd_connection(state, storage, fields)
    if connection is None:
        return
    image = f"{rbd_pool(fields)}/{name.rpartition('/')[2]}"
    match words:
        case ["snap", verb, snapshot]:
            words = ["snap", verb, *([] if verb == "rm" else ["--no-progress"]), f"{image}@{snapshot}"]
        case ["rm"]:
            words = ["rm", "--no-progress", image]
        case _:
            words = [*words, image]
    subprocess.run([*connection, *words], capture_output=True, timeout=60, check=True)


def write(state, who, text):
    kind, vmid = who
    with open(state.configuration_path(kind, vmid), "w", encoding="utf-8") as file:
        file.write(text)


def task(state, node, what, end):
    kind, vmid = what
    upid = f"UPID:{node}:{os.getpid():08X}:00000001:{int(time.time()):08X}:{kind}:{vmid}:root@pam:"
    state.put("tasks", upid, end)
    print("a line of the task's log")
    return upid
