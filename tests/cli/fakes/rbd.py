#!/usr/bin/python3 -IBS
"""A strict rbd and ceph with a memory: images are files, so that what was imported can be compared. Not a storage.

The links `rbd` and `ceph` beside the tests' other fakes lead here. It answers the calls that pve-ferry makes, with the
options that it gives, and nothing else: any other call exits 99 and is noted in $FAKE_PVE_STATE/unexpected.
  FAKE_RBD_STATE   POOL/IMAGE/meta.json, `head` (the content) and one file per snapshot
  FAKE_PVE_STATE   `log` gets a line per call, in the form of pve.py, so that the order of all programs can be seen
  FAKE_RBD_STATE/fault   {"match": [words that the call must contain], "times": N, and one of
     "fail": rc with "stderr"; "kill": signal after "bytes" of the stream; "truncate": bytes, and exit 0;
     "pause": seconds after "bytes" of the stream}
"""

import json
import os
import re
import signal
import struct
import sys
import time

BLOCK = 4096
CONNECTION = {"-p", "-c", "-n", "--keyring", "--client-mount-timeout", "--connect-timeout", "-m", "--auth_supported"}
VALUED = CONNECTION | {"--image", "--image-id", "--snap", "--snap-id", "--from-snap", "--path", "--size", "--object-size",
                       "--image-feature", "--format", "--rbd-concurrent-management-ops"}
ROOT = os.environ["FAKE_RBD_STATE"]


class Failure(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def main():
    program, words = os.path.basename(sys.argv[0]), sys.argv[1:]
    note("log", [program, *words])
    try:
        options, verbs = parse(words)
        fault = take_fault([program, *words])
        if "fail" in fault:
            raise Failure(fault["fail"], fault.get("stderr", ""))
        if program == "ceph":
            return ceph(verbs)
        return rbd(verbs, options, fault)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return failure.code
    except KeyError as missing:
        note("unexpected", [program, *words])
        print("unexpected call:", missing, [program, *words], file=sys.stderr)
        return 99


def note(name, words):
    line = f"{time.time_ns()} here {' '.join(words)}\n"
    descriptor = os.open(os.path.join(os.environ["FAKE_PVE_STATE"], name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def parse(words):
    options, verbs, words = {}, [], list(words)
    while words:
        word = words.pop(0)
        if word == "--no-progress":
            continue
        if not word.startswith("-"):
            verbs.append(word)
        elif word in VALUED:
            options[word] = words.pop(0)
        else:
            raise KeyError(word)
    return options, " ".join(verbs)


def take_fault(words):
    path = os.path.join(ROOT, "fault")
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        fault = json.load(file)
    if not all(any(part in word for word in words) for part in fault["match"]):
        return {}
    if "once" in fault:
        os.unlink(path)
    return fault


def ceph(verbs):
    answers = {
        "fsid": {"fsid": "11111111-2222-4333-8444-555555555555"},
        "df": {"pools": [{"name": "rbd", "stats": {"max_avail": 1 << 40}}]},
    }
    print(json.dumps(answers[verbs]))


def rbd(verbs, options, fault):
    pool = os.path.join(ROOT, options["-p"])
    if verbs == "ls":
        return print(json.dumps(sorted(os.listdir(pool))))
    if verbs == "create":
        return create(pool, options)
    path = by_id(pool, options["--image-id"]) if "--image-id" in options else os.path.join(pool, options["--image"])
    meta = load(path, options)
    calls = {
        "info": lambda: print(json.dumps({key: meta[key] for key in ("id", "name", "size", "object_size", "features")})),
        "status": lambda: print('{"watchers": []}'),
        "du": lambda: print(json.dumps({"images": [{"used_size": meta["size"]}]})),
        "snap ls": lambda: print(json.dumps(meta["snaps"])),
        "snap create": lambda: snap_create(path, meta, options["--snap"]),
        "snap protect": lambda: set_protected(path, meta, options["--snap"], "true"),
        "snap unprotect": lambda: set_protected(path, meta, options["--snap"], "false"),
        "snap rm": lambda: snap_remove(path, meta, options["--snap-id"]),
        "export-diff": lambda: export(path, meta, options, fault),
        "import-diff": lambda: apply(path, meta, options),
        "rm": lambda: remove(path, meta),
    }
    return calls[verbs]()


def load(path, options):
    try:
        with open(os.path.join(path, "meta.json"), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        name = options.get("--image", "")
        raise Failure(2, f"rbd: error opening image {name}: (2) No such file or directory") from None


def save(path, meta):
    with open(os.path.join(path, "meta.json.new"), "w", encoding="utf-8") as file:
        json.dump(meta, file)
    os.rename(os.path.join(path, "meta.json.new"), os.path.join(path, "meta.json"))


def by_id(pool, wanted):
    for name in os.listdir(pool):
        if load(os.path.join(pool, name), {})["id"] == wanted:
            return os.path.join(pool, name)
    raise Failure(2, f"rbd: error opening image with id {wanted}")


def create(pool, options):
    path = os.path.join(pool, options["--image"])
    if os.path.exists(path):
        raise Failure(17, "rbd: create error: (17) File exists")
    os.makedirs(path)
    size = int(re.fullmatch(r"(\d+)B", options["--size"])[1])
    with open(os.path.join(path, "head"), "wb") as file:
        file.truncate(size)
    number = os.urandom(6).hex()
    save(path, {"id": number, "name": options["--image"], "size": size, "object_size": 4194304,
                "features": ["layering"], "snaps": [], "last": 0})


def named(meta, name):
    found = [snap for snap in meta["snaps"] if snap["name"] == name]
    if not found:
        raise Failure(2, f"rbd: error setting snapshot context: (2) No such file or directory: {name}")
    return found[0]


def snap_create(path, meta, name):
    if any(snap["name"] == name for snap in meta["snaps"]):
        raise Failure(17, "rbd: failed to create snapshot: (17) File exists")
    meta["last"] += 1
    meta["snaps"].append({"id": meta["last"], "name": name, "size": meta["size"], "protected": "false"})
    write(os.path.join(path, f"snap-{meta['last']}"), read(os.path.join(path, "head")))
    save(path, meta)


def set_protected(path, meta, name, value):
    named(meta, name)["protected"] = value
    save(path, meta)


def snap_remove(path, meta, number):
    found = [snap for snap in meta["snaps"] if str(snap["id"]) == number]
    if not found:
        raise Failure(2, "rbd: failed to remove snapshot: (2) No such file or directory")
    if found[0]["protected"] == "true":
        raise Failure(16, "rbd: snapshot is protected from removal")
    meta["snaps"].remove(found[0])
    os.unlink(os.path.join(path, f"snap-{number}"))
    save(path, meta)


def remove(path, meta):
    if meta["snaps"]:
        raise Failure(39, "rbd: image has snapshots")
    for name in os.listdir(path):
        os.unlink(os.path.join(path, name))
    os.rmdir(path)


def export(path, meta, options, fault):
    own = named(meta, options["--snap"])
    now, then, head = read(os.path.join(path, f"snap-{own['id']}")), b"", b"rbd diff v1\n"
    if "--from-snap" in options:
        base = named(meta, options["--from-snap"])
        then = read(os.path.join(path, f"snap-{base['id']}"))
        head += b"f" + counted(base["name"])
    stream = head + b"t" + counted(own["name"]) + b"s" + struct.pack("<Q", len(now)) + b"".join(records(now, then)) + b"e"
    give(stream, fault)


def counted(text):
    return struct.pack("<I", len(text)) + text.encode()


def records(now, then):
    for at in range(0, len(now), BLOCK):
        new = now[at : at + BLOCK]
        old = then[at : at + BLOCK].ljust(len(new), b"\0")
        if new == old:
            continue
        place = struct.pack("<QQ", at, len(new))
        yield b"w" + place + new if any(new) else b"z" + place


def give(stream, fault):
    out = sys.stdout.buffer
    if "truncate" in fault:
        stream = stream[: fault["truncate"]]
    at = fault.get("bytes", 0)
    out.write(stream[:at])
    out.flush()
    if "pause" in fault:
        note("log", ["#paused"])
        time.sleep(fault["pause"])
    if "kill" in fault:
        os.kill(os.getpid(), fault["kill"])
        signal.pause()
    out.write(stream[at:])
    out.flush()


def apply(path, meta, options):
    """Applies the stream to the head, as rbd does: record by record."""
    with open(options["--path"], "rb") as file:
        stream = file.read()
    place, content = len(b"rbd diff v1\n"), bytearray(read(os.path.join(path, "head")))
    while (tag := stream[place : place + 1]) not in (b"e", b""):
        place += 1
        if tag in b"ft":
            place += 4 + struct.unpack_from("<I", stream, place)[0]
        elif tag == b"s":
            size = struct.unpack_from("<Q", stream, place)[0]
            content = content[:size].ljust(size, b"\0")
            place += 8
        else:
            offset, length = struct.unpack_from("<QQ", stream, place)
            place += 16
            content[offset : offset + length] = stream[place : place + length] if tag == b"w" else bytes(length)
            place += length if tag == b"w" else 0
    if tag != b"e":
        raise Failure(33, "rbd: import-diff failed: (33) Numerical argument out of domain")
    write(os.path.join(path, "head"), bytes(content))
    meta["size"] = len(content)
    save(path, meta)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


if __name__ == "__main__":
    sys.exit(main())
