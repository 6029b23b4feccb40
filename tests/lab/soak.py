#!/usr/bin/python3 -IB
"""Random writes, discards, resizes, backups, prunes and faults on real Ceph; the judge is `rbd export`, not the product.

  soak.py SECONDS SEED     inside the lab, from a case; see tests/lab/soak for running it by hand

After every run, every listed point of every disk is assembled and compared with the sha256 of what `rbd export` gave for
its snapshot, known by image id and snapshot number. Points vanish only where the run was told to remove some. At the end
a clean run leaves one snapshot per volume and label, and everything verifies, also against its source.
The same seed makes the same choices; when a fault strikes is a matter of the machine's speed.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
FERRY, WORK, REPO, ETC = (os.environ[name] for name in ("FERRY", "WORK", "REPO", "ETC"))
CEPH = os.environ["LAB"] + "/a/ceph.conf"
RBD = "/usr/bin/rbd"
MIB = 1 << 20
LABELS = ["daily", "hourly"]
LIMIT = 64 * MIB
DISKS = {100: {"scsi0": ("ceph", "rbd"), "scsi1": ("tenant", "rbd/ns1")}, 200: {"rootfs": ("ceph", "rbd")}}


class Wrong(Exception):
    """The product did what it must not."""


class Soak:
    def __init__(self, seconds, seed):
        self.seed, self.end = seed, time.monotonic() + seconds
        self.random = random.Random(seed)
        self.round = 0
        self.deck = []
        self.sizes = {}  # image spec -> MiB
        self.content = {}  # (image id, snapshot number) -> sha256
        self.checked = {}  # what a disk of a point was when it was last right
        self.points = {}  # path -> point, as last listed
        self.counts = {}
        self.folds = b"--fold" in run([FERRY, "backup", "--help"]).stdout

    # --- the story --------------------------------------------------------------------------------------------------

    def play(self):
        self.make_guests()
        self.backup(100, "daily", [])
        while time.monotonic() < self.end:
            self.round += 1
            for spec in self.specs():
                if self.random.random() < 0.8:
                    self.change(spec)
            self.act()
            self.judge()
        self.finish()

    def finish(self):
        self.round += 1
        for vmid in DISKS:
            for label in LABELS:
                self.backup(vmid, label, ["--audit", "1/1"])
        self.checked = {}
        self.judge()
        for spec in self.specs():
            ours = [s["name"] for s in snapshots(spec) if s["name"].startswith("ferry.")]
            if len(ours) != len(LABELS):
                raise Wrong(f"{spec} has the snapshots {ours}")
        for words in (["verify"], ["verify", "--source"]):
            self.ferry([*words, "--path", REPO], expect=[0])

    def act(self):
        """Everything once in some order, so that a short story has it all, and then as it comes."""
        acts = {
            self.plain_backup: 8, self.killed_backup: 3, self.spoiled_backup: 3, self.crowded_backup: 2, self.prune: 2,
            self.read_only_backup: 1, self.mark: 1, self.delete: 1, self.lose_a_snapshot: 1,
        }
        if self.round == 1:
            self.deck = self.random.sample(list(acts), len(acts))
        act = self.deck.pop() if self.deck else self.random.choices(list(acts), list(acts.values()))[0]
        # All but a backup need a point.
        act = act if self.listed() else self.plain_backup
        self.say(act.__name__.replace("_", " "))
        self.counts[act.__name__] = self.counts.get(act.__name__, 0) + 1
        act()

    def plain_backup(self):
        self.backup(*self.target(), self.options())

    def killed_backup(self):
        """SIGKILL at a random moment: what was there stays, and the next run cleans up."""
        before = self.listed()
        vmid, label = self.target()
        process = self.start(["backup", "--vmid", str(vmid), "--label", label, "--path", REPO, *self.options(prune=False)])
        time.sleep(self.random.uniform(0.05, 3))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.learn()
        self.nothing_lost(before)

    def spoiled_backup(self):
        """One call of rbd goes wrong."""
        match, action = self.random.choice([
            (["export-diff"], {"action": "truncate", "bytes": self.random.randrange(0, 3 * MIB)}),
            (["export-diff"], {"action": "kill", "bytes": self.random.randrange(0, 3 * MIB)}),
            (["export-diff"], {"action": "fail", "rc": 5}),
            (["snap", "create"], {"action": "fail", "rc": 5}),
            (["snap", "rm"], {"action": "fail", "rc": 16}),
            (["info"], {"action": "fail", "rc": 5}),
        ])
        before = self.listed()
        vmid, label = self.target()
        faults = WORK + "/faults"
        shutil.rmtree(faults, ignore_errors=True)
        os.makedirs(faults)
        os.symlink(HERE + "/faulty-rbd", faults + "/rbd")
        with open(faults + "/rbd.rule", "w", encoding="utf-8") as file:
            json.dump({"match": match, **action}, file)
        self.say(f"  {match} {action}")
        words = ["backup", "--vmid", str(vmid), "--label", label, "--path", REPO, *self.options(prune=False)]
        code = self.ferry(words, path=faults, expect=[0, 1, 3])
        self.learn()
        self.nothing_lost(before)
        if os.path.exists(faults + "/hit.1") and "export-diff" in match and action["action"] == "fail" and code == 0:
            raise Wrong("an export failed and the backup said OK")

    def read_only_backup(self):
        """The repository is read-only for a moment, as after an error of its file system."""
        before = self.listed()
        run(["mount", "-o", "remount,ro", REPO], check=True)
        self.ferry(["backup", "--vmid", "100", "--label", "daily", "--path", REPO], expect=[1, 11])
        self.nothing_lost(before)
        run(["mount", "-o", "remount,rw", REPO], check=True)
        self.learn()
        self.backup(100, "daily", [])

    def crowded_backup(self):
        """A backup while others verify, assemble and restore what is there."""
        point, disk = self.any_disk()
        expected = self.expected(point, disk)
        target = WORK + "/crowd.raw"
        remove(target)
        vmid, label = self.target()
        wait = ["--lock-wait", "120"]
        at = ["--path", REPO, "--vmid", str(point["vmid"]), "--label", point["label"], "--time", point["time"], *wait]
        crowd = [
            ["verify", "--path", REPO, *wait],
            ["assemble", *at, "--disk", disk, "--output", target],
            ["restore", *at, "--target-vmid", "900"],
            ["backup", "--vmid", str(vmid), "--label", label, "--path", REPO, *wait, *self.options(prune=False)],
        ]
        self.random.shuffle(crowd)
        processes = [(words, self.start(words)) for words in crowd]
        for words, process in processes:
            out = process.communicate()[0]
            if process.returncode != 0:
                raise Wrong(f"{words} ended with {process.returncode}: {out.decode()}")
        self.learn()
        if sha_of_file(target) != expected:
            raise Wrong(f"{disk} of {point['time']} was assembled wrong beside other runs")
        self.judge_restored(point)

    def judge_restored(self, point):
        kind = "lxc" if point["vmid"] == 200 else "qemu-server"
        conf = f"{ETC}/nodes/pve1/{kind}/900.conf"
        with open(conf, encoding="utf-8") as file:
            lines = dict(line.split(": ", 1) for line in file.read().splitlines() if ": " in line)
        for disk in self.disks_of(point):
            storage, name = lines[disk].split(",")[0].split(":")
            spec = {"ceph": "rbd", "tenant": "rbd/ns1"}[storage] + "/" + name
            if sha_of_image(spec) != self.expected(point, disk):
                raise Wrong(f"{disk} of {point['time']} was restored wrong beside other runs")
            run([RBD, "-c", CEPH, "rm", "--no-progress", spec], check=True)
        os.unlink(conf)

    def prune(self):
        self.ferry(["prune", "--path", REPO, *self.retention()], expect=[0])

    def mark(self):
        point = self.random.choice(self.listed())
        words = ["unprotect" if point["protected"] else "protect", "--path", REPO, "--vmid", str(point["vmid"])]
        self.ferry([*words, "--label", point["label"], "--time", point["time"]], expect=[0])

    def delete(self):
        points = self.listed()
        point = self.random.choice(points)
        if not point["protected"] and len(points) > 2:
            words = ["delete", "--path", REPO, "--vmid", str(point["vmid"]), "--label", point["label"]]
            self.ferry([*words, "--time", point["time"], "--yes"], expect=[0])

    def lose_a_snapshot(self):
        """Somebody deletes a snapshot of ours: the next backup is a base."""
        spec = self.random.choice(self.specs())
        for snapshot in snapshots(spec):
            if snapshot["name"].startswith("ferry.") and snapshot["protected"] == "false":
                run([RBD, "-c", CEPH, "snap", "rm", "--no-progress", f"{spec}@{snapshot['name']}"], check=True)
                break
        self.plain_backup()

    # --- what it is made of -----------------------------------------------------------------------------------------

    def target(self):
        return self.random.choice([100, 100, 200]), self.random.choice(LABELS)

    def options(self, prune=True):
        words = ["--jobs", str(self.random.randint(1, 3))]
        words += ["--compress", self.random.choice(["zstd:1", "zstd:1", "zstd:1", "none", "gzip", "bzip2"])]
        words += self.random.choice([[], [], ["--audit", "1/3"]])
        words += self.random.choice([[], [], [], ["--protect-snap"]])
        retention = self.retention() if prune and self.random.random() < 0.7 else []
        if "--keep" not in retention:
            words += self.random.choice([[], [], ["--renew", "2"], ["--renew", "0"]])
        return words + retention

    def retention(self):
        folded = ["--keep", "2", "--fold", "0.1"] if self.folds else ["--keep", "1"]
        return self.random.choice([
            ["--keep", "2"], ["--keep", "3"], folded, ["--retain", "2"], ["--retain", "4"], ["--keep-within", "1d"],
            ["--prune-backups", "keep-last=2"], ["--prune-backups", "keep-last=1,keep-hourly=2,keep-daily=1"],
            ["--retain", "3", "--prune-backups", "keep-last=1"],
        ])

    def backup(self, vmid, label, options):
        before = {point["path"] for point in self.listed()}
        words = ["backup", "--vmid", str(vmid), "--label", label, "--path", REPO, *options]
        self.ferry(words, expect=[0])
        self.learn()
        if not {point["path"] for point in self.listed()} - before:
            raise Wrong("the backup said OK, and there is no new point")

    def make_guests(self):
        with open(f"{ETC}/nodes/pve1/qemu-server/100.conf", "w", encoding="utf-8") as file:
            file.write("name: soak\nsmbios1: uuid=00000000-0000-4000-8000-000000000100\n")
            file.write("scsi0: ceph:vm-100-disk-0,size=48M\nscsi1: tenant:vm-100-disk-1,size=32M\n")
        with open(f"{ETC}/nodes/pve1/lxc/200.conf", "w", encoding="utf-8") as file:
            file.write("hostname: soak\nostype: debian\nrootfs: ceph:vm-200-disk-0,size=32M\n")
        for spec, size in (("rbd/vm-100-disk-0", 48), ("rbd/ns1/vm-100-disk-1", 32), ("rbd/vm-200-disk-0", 32)):
            run([RBD, "-c", CEPH, "create", "--size", f"{size}M", spec], check=True)
            self.sizes[spec] = size * MIB
            self.change(spec)

    def specs(self):
        return list(self.sizes)

    def change(self, spec):
        """Writes, discards, sometimes a resize; offsets like the borders of sectors, zero runs and objects."""
        if self.random.random() < 0.2:
            self.sizes[spec] = min(LIMIT, max(MIB, self.random.randrange(4, 64) * MIB + self.random.choice([0, 0, 512])))
        size, words = self.sizes[spec], []
        for _ in range(self.random.randint(1, 5)):
            unit = self.random.choice([1, 512, 4096, 65536, 4 * MIB])
            offset = self.random.randrange(0, size // unit + 1) * unit
            length = min(self.random.choice([1, 511, 4096, 70000, 65536, MIB, 5 * MIB]), size - offset)
            if length > 0:
                kind = self.random.choice(["random", "random", "text", "zero"])
                seed = f":{self.random.random()}" if kind != "zero" else ""
                words.append(f"{kind}:{offset}:{length}{seed}")
        stream = run([HERE + "/image.py", str(size), *words], check=True).stdout
        run([RBD, "-c", CEPH, "import-diff", "--no-progress", "-", spec], check=True, input=stream)

    def say(self, text):
        print(f"     | {self.round:3} {text}", flush=True)

    # --- the product ------------------------------------------------------------------------------------------------

    def start(self, words):
        return subprocess.Popen([FERRY, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, start_new_session=True)

    def ferry(self, words, expect, path=None):
        # The stamps of two points of one label are a second apart: nobody needs to wait, the product moves on.
        env = dict(os.environ)
        if path:
            env["PATH"] = path + ":" + env["PATH"]
        done = subprocess.run([FERRY, *words], stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=300)
        if done.returncode not in expect:
            said = (done.stdout + done.stderr).decode(errors="replace")
            raise Wrong(f"pve-ferry {' '.join(words)}\nended with {done.returncode}, not {expect}:\n{said}")
        return done.returncode

    def listed(self):
        # Until the first backup has begun it, the directory is none: that is 10, and no list.
        if not os.path.isdir(os.path.join(REPO, "pve-ferry")):
            return []
        done = run([FERRY, "list", "--path", REPO, "--json"], check=True)
        document = json.loads(done.stdout)
        if document["unreadable"]:
            raise Wrong(f"unreadable: {document['unreadable']}")
        return document["restore_points"]

    # --- the judge --------------------------------------------------------------------------------------------------

    def learn(self):
        """Notes the content of all snapshots that are new, by means of Ceph's own."""
        for spec in self.specs():
            image = json.loads(run([RBD, "-c", CEPH, "info", "--format", "json", spec], check=True).stdout)["id"]
            for snapshot in snapshots(spec):
                key = (image, str(snapshot["id"]))
                if snapshot["name"].startswith("ferry.") and key not in self.content:
                    self.content[key] = sha_of_image(f"{spec}@{snapshot['name']}")

    def expected(self, point, disk):
        source = next(i for i in manifest(point)["images"] if i["disk"] == disk)["source"]
        return self.content[(source["image"], str(source["snapshot"]))]

    def disks_of(self, point):
        return [image["disk"] for image in manifest(point)["images"]]

    def any_disk(self):
        point = self.random.choice(self.listed())
        return point, self.random.choice(self.disks_of(point))

    def nothing_lost(self, before):
        lost = {p["path"] for p in before} - {p["path"] for p in self.listed()}
        if lost:
            raise Wrong(f"points are gone although nothing was to be removed: {lost}")

    def judge(self):
        points = self.listed()
        for vmid in DISKS:
            if self.points.get(vmid) and not any(point["vmid"] == vmid for point in points):
                self.say(f"guest {vmid} has no point any more")
            self.points[vmid] = [point for point in points if point["vmid"] == vmid]
        files = state_of_files()
        for point in points:
            for disk in self.disks_of(point):
                # Files that did not change since they were right need not be read again; any change makes it anew.
                key, state = (point["path"], disk), files[os.path.dirname(os.path.dirname(point["path"]))]
                if self.checked.get(key) != state:
                    self.judge_disk(point, disk)
                    self.checked[key] = state

    def judge_disk(self, point, disk):
        target = WORK + "/judged.raw"
        remove(target)
        words = ["assemble", "--path", REPO, "--vmid", str(point["vmid"]), "--label", point["label"]]
        self.ferry([*words, "--time", point["time"], "--disk", disk, "--output", target], expect=[0])
        self.counts["disks compared"] = self.counts.get("disks compared", 0) + 1
        if sha_of_file(target) != self.expected(point, disk):
            raise Wrong(f"{disk} of guest {point['vmid']}, {point['label']} {point['time']} is not what its snapshot held")
        remove(target)


def state_of_files():
    """Of each guest's directory: names, sizes, times and inodes of all images, so that a change of any shows."""
    states = {}
    for directory, _, names in os.walk(REPO):
        for name in names:
            path = os.path.join(directory, name)
            if ".rbd" in name or name == "manifest.json":
                facts = os.stat(path)
                guest = os.path.dirname(os.path.dirname(directory))
                states.setdefault(guest, []).append((path, facts.st_size, facts.st_mtime_ns, facts.st_ino))
    return {guest: hashlib.sha256(repr(sorted(state)).encode()).hexdigest() for guest, state in states.items()}


def manifest(point):
    with open(point["path"] + "/manifest.json", encoding="utf-8") as file:
        return json.load(file)


def snapshots(spec):
    return json.loads(run([RBD, "-c", CEPH, "snap", "ls", "--format", "json", spec], check=True).stdout)


def sha_of_image(spec):
    process = subprocess.Popen([RBD, "-c", CEPH, "export", "--no-progress", spec, "-"], stdout=subprocess.PIPE)
    digest = hashlib.file_digest(process.stdout, "sha256").hexdigest()
    if process.wait() != 0:
        raise RuntimeError(f"rbd export {spec} failed")
    return digest


def sha_of_file(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(path):
    if os.path.exists(path):
        os.unlink(path)


def run(words, **options):
    return subprocess.run(words, capture_output=True, **options)


def main():
    seconds, seed = int(sys.argv[1]), sys.argv[2]
    soak = Soak(seconds, seed)
    print(f"     | seed {seed}; to repeat it: tests/lab/soak --seed {seed}", flush=True)
    try:
        soak.play()
    except (Wrong, subprocess.CalledProcessError) as error:
        kept = f"/var/tmp/pve-ferry-soak-{seed}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(REPO, kept + "/repository")
        said = getattr(error, "stderr", b"") or b""
        print(f"round {soak.round}: {error}\n{said.decode(errors='replace')}")
        print(f"seed {seed}; the repository is in {kept}; to repeat it: tests/lab/soak --seed {seed}")
        return 1
    did = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in sorted(soak.counts.items()))
    print(f"     | {soak.round} rounds: {did}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
