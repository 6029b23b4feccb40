"""A cluster's API as data: guests, snapshots, tasks that take time, locks, refusals. No network; part of pve_https.py.

Every request is checked against tests/data/pve-api/excerpt.json: path, method, names and types of parameters.

The cluster is a document:
  token, users {USER@REALM: {password, otp}}, ticket_seconds
  permissions          {path: {privilege: 1 if it is handed down, else 0}} of whoever asks (default: all on /)
  task_seconds         how long a task takes (default 0)
  storages             [{node, storage, plugintype, disk, maxdisk}]; without plugintype it is rbd
  guests               [{vmid, type, node, name, status, ...}] and for each of them, besides what PVE shows:
    config             {key: value}
    snapshots          [{name, snaptime, description, ...}]
    snapshots_then     what somebody else makes of them as soon as they were listed once, or that often: listed_before
    locked_for         seconds from the start for which it is locked with `lock`
    create_fails, delete_fails   the task's error; a failed removal leaves lock and snapstate behind, unless it is refused
    create_warnings    the task ends with WARNINGS: n
    unreadable         the status with which its configuration is refused (403, 595)
    feature_fails      the status with which the question for the feature `snapshot` is refused (403, 501)
    denied             the privilege that is missing for writes
    moved_to           the node where it really is
    moves_before       {request: part of `METHOD WHAT`, to: a node}: it has moved there when this comes, once
    task_seconds       as above, for this guest
"""

import json
import os
import re
import threading
import time

EXCERPT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "data", "pve-api", "excerpt.json")
ALL = {"VM.Audit": 1, "VM.Snapshot": 1, "Datastore.Audit": 1, "Pool.Audit": 1}
SHOWN = ("vmid", "type", "node", "name", "status", "template", "tags", "pool", "lock")


class Refused(Exception):
    """An answer that is an error: a status and a message."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Unexpected(Exception):
    """A request that PVE's schema does not have."""


class Schema:
    """Which requests there are."""

    def __init__(self):
        with open(EXCERPT, encoding="utf-8") as file:
            requests = json.load(file)["requests"]
        self.requests = []
        for name, params in requests.items():
            method, path = name.split(" ")
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
            self.requests.append((method, re.compile(pattern), params))

    def check(self, method, path, params):
        """Raises Unexpected unless the request is one of PVE's."""
        for wanted, pattern, known in self.requests:
            found = pattern.fullmatch(path)
            if wanted == method and found:
                self.check_params(known, {**found.groupdict(), **params})
                return
        raise Unexpected(f"there is no {method} {path}")

    def check_params(self, known, params):
        for name, value in params.items():
            if name not in known:
                raise Unexpected(f"no parameter {name}")
            if not fits(known[name], value):
                raise Unexpected(f"{name}={value!r} is no {known[name]}")
        for name, rule in known.items():
            if not rule.get("optional") and name not in params:
                raise Unexpected(f"{name} is missing")


def fits(rule, value):
    if rule["type"] == "integer":
        return bool(re.fullmatch(r"-?\d+", value)) and rule.get("minimum", -(1 << 62)) <= int(value)
    if rule["type"] == "boolean":
        return value in ("0", "1")
    if rule.get("format") == "pve-configid" and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]+", value):
        return False
    return len(value) <= rule.get("maxLength", 1 << 20) and value in rule.get("enum", [value])


def volumes(config):
    """What stands in the disks and mount points of a configuration, cd-roms left out."""
    key = re.compile(r"((ide|sata|scsi|virtio|efidisk|tpmstate|mp)\d+|rootfs)")
    held = [value.split(",") for name, value in config.items() if key.fullmatch(name)]
    return [words[0].removeprefix("file=") for words in held if "media=cdrom" not in words]


def can_snapshot(plugin, volume):
    """PVE::Storage::volume_has_feature for snapshots of what is no base."""
    if volume.startswith("/"):
        return False
    match plugin:
        case "rbd" | "zfspool" | "zfs" | "lvmthin":
            return True
        case "dir" | "nfs" | "cifs" | "lvm":
            return volume.endswith(".qcow2")
        case "btrfs":
            return not volume.endswith(".vmdk")
    return False


class Cluster:
    """The state, changed by requests and by time."""

    def __init__(self, document):
        self.document = document
        self.guests = {str(guest["vmid"]): guest for guest in document["guests"]}
        self.tasks = {}
        self.started = time.time()
        self.lock = threading.RLock()

    def request(self, method, path, params):
        with self.lock:
            self.settle()
            words = path.strip("/").split("/")
            match [method, *words]:
                case ["GET", "version"]:
                    return {"version": "9.2.11", "release": "9.2"}
                case ["GET", "access", "permissions"]:
                    return {params["path"]: self.privileges(params["path"])} if "path" in params else self.permissions()
                case ["GET", "cluster", "resources"]:
                    return self.resources(params.get("type"))
                case ["GET", "nodes", node, "tasks", upid, "status"]:
                    return self.task_status(node, upid)
                case [_, "nodes", node, kind, vmid, *rest]:
                    return self.guest_request(method, self.guest(node, kind, vmid), rest, params)
            raise Unexpected(f"{method} {path}")

    def permissions(self):
        return self.document.get("permissions", {"/": ALL})

    def privileges(self, path):
        """Those of a path itself, or what is handed down by the nearest path above that has some."""
        above = path
        while above not in self.permissions() and above != "/":
            above = above.rpartition("/")[0] or "/"
        found = self.permissions().get(above, {})
        return found if above == path else {name: 1 for name, is_down in found.items() if is_down}

    def resources(self, kind):
        if kind == "storage":
            return [dict({"plugintype": "rbd"}, **s, type="storage", id=f"storage/{s['node']}/{s['storage']}") for s in self.document["storages"]]
        found = []
        for guest in self.guests.values():
            if guest["status"] == "unknown" or guest.get("pvestatd") == "dead":
                found.append({key: guest[key] for key in ("vmid", "type", "node")} | {"status": "unknown"})
            else:
                shown = {key: guest[key] for key in SHOWN if key in guest}
                if "Pool.Audit" not in self.privileges(f"/pool/{shown.get('pool')}"):
                    shown.pop("pool", None)
                found.append(dict(shown, id=f"{guest['type']}/{guest['vmid']}"))
            if guest.get("moved_to"):
                guest["really"], guest["moved_to"] = guest["moved_to"], None
                # The next listing knows.
                guest["next_node"] = guest["really"]
            elif guest.get("next_node"):
                guest["node"] = guest.pop("next_node")
                found[-1]["node"] = guest["node"]
        return found

    def guest(self, node, kind, vmid):
        guest = self.guests.get(vmid)
        if guest is None or guest["type"] != kind or guest.get("really", guest["node"]) != node:
            raise Refused(500, f"Configuration file 'nodes/{node}/{kind}-server/{vmid}.conf' does not exist\n")
        if guest["status"] == "unknown":
            raise Refused(595, "No route to host")
        return guest

    def guest_request(self, method, guest, rest, params):
        moves = guest.get("moves_before")
        if moves and moves["request"] in f"{method} {'/'.join(rest)}":
            del guest["moves_before"]
            path, guest["node"] = f"nodes/{guest['node']}", moves["to"]
            raise Refused(500, f"Configuration file '{path}/{guest['type']}-server/{guest['vmid']}.conf' does not exist\n")
        match [method, *rest]:
            case ["GET", "config"] if guest.get("unreadable"):
                raise Refused(guest["unreadable"], f"Permission check failed (/vms/{guest['vmid']}, VM.Audit)\n")
            case ["GET", "config"]:
                lock = {"lock": self.locked(guest)} if self.locked(guest) else {}
                return {**guest["config"], **lock, "digest": "0" * 40}
            case ["GET", "status", "current"]:
                shown = {key: guest[key] for key in ("name", "tags", "template") if key in guest}
                return {**shown, "vmid": guest["vmid"], "status": guest["status"], "ha": {"managed": 0}}
            case ["GET", "feature"] if params["feature"] == "snapshot":
                return self.feature(guest)
            case ["GET", "snapshot"]:
                listed = guest["snapshots"]
                guest["listed_before"] = guest.get("listed_before", 1) - 1
                if guest["listed_before"] <= 0:
                    guest["snapshots"] = guest.pop("snapshots_then", listed)
                return [*listed, {"name": "current", "description": "You are here!", "running": 1}]
            case ["POST", "snapshot"]:
                return self.create(guest, params)
            case ["DELETE", "snapshot", name]:
                return self.delete(guest, name, params)
            case ["POST", "snapshot", name, "rollback"]:
                return self.rollback(guest, name)
        raise Unexpected(f"{method} {rest}")

    def feature(self, guest):
        status = guest.get("feature_fails")
        if status == 403:
            raise Refused(403, f"Permission check failed (/vms/{guest['vmid']}, VM.Audit)\n")
        if status:
            raise Refused(status, "not implemented\n")
        answer = {"hasFeature": int(self.can_snapshot(guest))}
        return answer if guest["type"] == "lxc" else dict(answer, nodes=[guest["node"]])

    def can_snapshot(self, guest):
        types = {entry["storage"]: entry.get("plugintype", "rbd") for entry in self.document["storages"]}
        return all(can_snapshot(types.get(volume.partition(":")[0], "rbd"), volume) for volume in volumes(guest["config"]))

    def may_write(self, guest):
        if guest.get("denied"):
            raise Refused(403, f"Permission check failed (/vms/{guest['vmid']}, {guest['denied']})\n")

    def locked(self, guest):
        if "locked_for" in guest:
            return guest["lock"] if time.time() - self.started < guest["locked_for"] else None
        return guest.get("lock")

    def create(self, guest, params):
        self.may_write(guest)
        name = params["snapname"]
        if self.locked(guest):
            return self.task(guest, "qmsnapshot", f"VM is locked ({self.locked(guest)})", lambda: None)
        if any(found["name"] == name for found in guest["snapshots"]):
            return self.task(guest, "qmsnapshot", f"snapshot name '{name}' already used", lambda: None)
        if not self.can_snapshot(guest):
            return self.task(guest, "qmsnapshot", "snapshot feature is not available", lambda: None)
        if guest.get("create_fails"):
            return self.task(guest, "qmsnapshot", guest["create_fails"], lambda: None)
        entry = {"name": name, "snaptime": int(time.time()), "description": params.get("description", ""), "vmstate": int(params.get("vmstate", "0")), "snapstate": "prepare"}
        guest["snapshots"].append(entry)
        guest["lock"] = "snapshot"

        def done():
            del entry["snapstate"]
            guest.pop("lock", None)

        warnings = guest.get("create_warnings")
        return self.task(guest, "qmsnapshot", f"WARNINGS: {warnings}" if warnings else "OK", done)

    def delete(self, guest, name, params):
        self.may_write(guest)
        if params.get("force") == "1":
            raise Unexpected("force was used")
        found = next((entry for entry in guest["snapshots"] if entry["name"] == name), None)
        if found is None:
            raise Refused(500, f"snapshot '{name}' does not exist\n")
        if guest.get("needed") == name:
            text = f"snapshot '{name}' needed by replication job '{guest['vmid']}-0' - run replication first"
            return self.task(guest, "qmdelsnapshot", text, lambda: None)
        if guest.get("delete_fails"):
            found["snapstate"], guest["lock"] = "delete", "snapshot-delete"
            return self.task(guest, "qmdelsnapshot", guest["delete_fails"], lambda: None)
        return self.task(guest, "qmdelsnapshot", "OK", lambda: guest["snapshots"].remove(found))

    def rollback(self, guest, name):
        self.may_write(guest)
        return self.task(guest, "qmrollback", "OK", lambda: guest.update(rolled_back_to=name))

    def task(self, guest, kind, end, done):
        seconds = guest.get("task_seconds", self.document.get("task_seconds", 0))
        node = guest.get("really", guest["node"])
        upid = f"UPID:{node}:{len(self.tasks):08X}:00000001:65A1B2C3:{kind}:{guest['vmid']}:root@pam:"
        self.tasks[upid] = {"until": time.time() + seconds, "end": end, "done": done}
        self.settle()
        return upid

    def settle(self):
        """What has ended by now takes effect."""
        for task in self.tasks.values():
            if task["done"] and time.time() >= task["until"]:
                task["done"]()
                task["done"] = None

    def task_status(self, node, upid):
        task = self.tasks.get(upid)
        if task is None or upid.split(":")[1] != node:
            raise Refused(500, f"no such task '{upid}'\n")
        if task["done"]:
            return {"upid": upid, "status": "running"}
        return {"upid": upid, "status": "stopped", "exitstatus": task["end"]}
