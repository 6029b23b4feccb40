"""The state directory and the configuration files behind the fakes of pve.py; no program logic."""

import os
import re
import sys
import time

VOLUME_KEY = re.compile(r"^(?:(?:virtio|ide|scsi|sata|mp|efidisk|tpmstate|unused)\d+|rootfs): *([^,\s]+)(.*)$", re.M)


class Unexpected(Exception):
    """A call that the fake does not know."""


class Failure(Exception):
    """An error as the real program reports it: a text for stderr, and an exit code."""

    def __init__(self, text, code):
        super().__init__(text)
        self.code = code


class State:
    """$FAKE_PVE_STATE: small files that tests write and read."""

    def __init__(self):
        self.directory = os.environ.get("FAKE_PVE_STATE") or sys.exit("FAKE_PVE_STATE is not set")
        self.etc = os.environ.get("FAKE_PVE_ETC") or os.environ.get("PVE_FERRY_ETC_PVE")
        if not self.etc:
            sys.exit("neither FAKE_PVE_ETC nor PVE_FERRY_ETC_PVE is set")
        os.makedirs(self.directory, exist_ok=True)
        self.node = os.environ.get("FAKE_NODE") or self._own_node()

    def _own_node(self):
        try:
            return os.path.basename(os.readlink(os.path.join(self.etc, "local")))
        except OSError:
            return sys.exit("FAKE_NODE is not set and there is no link `local`")

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def has(self, *names):
        return os.path.exists(self.path(*names))

    def text(self, *names):
        with open(self.path(*names), encoding="utf-8") as file:
            return file.read().strip()

    def number(self, *names):
        """The number in a file that need not exist."""
        return float(self.text(*names) or 0) if self.has(*names) else 0.0

    def put(self, *names_and_text):
        *names, text = names_and_text
        os.makedirs(os.path.dirname(self.path(*names)), exist_ok=True)
        with open(self.path(*names), "w", encoding="utf-8") as file:
            file.write(text)

    def drop(self, *names):
        if self.has(*names):
            os.unlink(self.path(*names))

    def log(self, argv):
        self._append("log", argv)

    def note_unexpected(self, argv):
        self._append("unexpected", argv)

    def _append(self, name, argv):
        line = f"{time.time_ns()} {self.node} {' '.join(argv)}".replace("\n", "\\n") + "\n"
        descriptor = os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, line.encode())
        os.close(descriptor)

    def configuration_path(self, kind, vmid, node=None):
        directory = "qemu-server" if kind == "qemu" else "lxc"
        return os.path.join(self.etc, "nodes", node or self.node, directory, f"{vmid}.conf")


def guest_configuration(state, kind, vmid):
    """The text of a guest's configuration on this node; the real tools know only the guests of their node."""
    path = state.configuration_path(kind, vmid)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        directory = "qemu-server" if kind == "qemu" else "lxc"
        text = f"Configuration file 'nodes/{state.node}/{directory}/{vmid}.conf' does not exist"
        raise Failure(text, 2) from None


def volumes_of(text):
    """The volumes `storage:name` of the current section that a start opens; no cd-rom, nothing unused."""
    current = re.split(r"^\[", text, maxsplit=1, flags=re.M)[0]
    found = []
    for match in VOLUME_KEY.finditer(current):
        volume, options = match.groups()
        cdrom = "media=cdrom" in options and "cloudinit" not in volume
        if ":" in volume and not cdrom and not match[0].startswith("unused"):
            found.append(volume)
    return found
