"""What `pvesh` answers about guest snapshots, kept in the configuration files as PVE keeps them; part of pve.py.

Paths: nodes/N/KIND/VMID/config --current 1 · nodes/N/KIND/VMID/snapshot (get, create) ·
nodes/N/KIND/VMID/snapshot/NAME (delete) · .../snapshot/NAME/rollback (create) · nodes/N/tasks/UPID/status
State written by tests: VMID/snapshot-fails, the error with which the task of a creation ends.
As the real one, create and delete print the task's log and then its id, and end with 0 whatever the task did.
"""

import json
import os
import re
import time

from pve_cluster import Schema
from pve_cluster import Unexpected as Foreign
from pve_state import Unexpected, guest_configuration

METHODS = {"get": "GET", "create": "POST", "delete": "DELETE"}


def knows(path):
    return path[0] == "nodes" and len(path) > 4 and (path[2] == "tasks" or path[4] in ("config", "snapshot"))


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
        case ["get", "nodes", _, kind, vmid, "snapshot"]:
            answer = [*snapshots(guest_configuration(state, kind, vmid)), {"name": "current", "running": 0}]
        case ["create", "nodes", node, kind, vmid, "snapshot"]:
            answer = create(state, node, (kind, vmid), options)
        case ["delete", "nodes", node, kind, vmid, "snapshot", name]:
            answer = delete(state, node, (kind, vmid), name)
        case ["create", "nodes", node, kind, vmid, "snapshot", name, "rollback"]:
            guest_configuration(state, kind, vmid)
            state.put(vmid, "rolled-back-to", name)
            answer = task(state, node, ("qmrollback", vmid), "OK")
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


def create(state, node, who, options):
    kind, vmid = who
    text = guest_configuration(state, kind, vmid)
    lock = entries(section(text, None)).get("lock")
    if lock:
        return task(state, node, ("qmsnapshot", vmid), f"VM is locked ({lock})")
    if state.has(vmid, "snapshot-fails"):
        return task(state, node, ("qmsnapshot", vmid), state.text(vmid, "snapshot-fails"))
    new = f"\n[{options['snapname']}]\n#{options.get('description', '')}\n{section(text, None)}snaptime: {int(time.time())}\n"
    write(state, who, text.rstrip("\n") + "\n" + new)
    return task(state, node, ("qmsnapshot", vmid), "OK")


def delete(state, node, who, name):
    kind, vmid = who
    text = guest_configuration(state, kind, vmid)
    write(state, who, text.replace(f"[{name}]{section(text, name)}", ""))
    return task(state, node, ("qmdelsnapshot", vmid), "OK")


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
