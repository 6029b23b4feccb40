#!/usr/bin/python3 -IB
"""The measurements of tests/lab/bench, inside the lab; started by it, not by hand.

A pipeline is a bash script that is written as the compared tool builds it. Measured are its wall time and the CPU time
of every process that it starts, also of those that nobody waits for (process substitutions), and, apart, the CPU time
of the OSD meanwhile. Every result is checked: a restored image must have the hash of its snapshot.
"""

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
IMAGE = "rbd/vm-100-disk-0"
# bash does not wait for a process substitution: until the import of barc's pipeline has closed the image.
WAIT_FOR_IMAGE = (
    "while rbd status --format json rbd/target | jq -e '.watchers | length > 0' >/dev/null; do sleep 0.05; done; "
)


def main():
    arguments = read_arguments()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    lab = Lab(arguments)
    lab.prepare()
    rows = []
    for number in range(arguments.repeat):
        lab.start_over(number)
        rows += base(lab) + increment(lab)
        if not arguments.no_chain:
            rows += chain_restores(lab)
    return report(rows, arguments)


def read_arguments():
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("lab")
    parser.add_argument("ferry")
    parser.add_argument("--small", action="store_true", help="1/16 of the data, 3 increments")
    parser.add_argument("--repeat", type=int, default=1, help="runs; the table shows the medians")
    parser.add_argument("--check", action="store_true", help="fail when an aim is missed")
    parser.add_argument("--against", metavar="PROGRAM", help="another build of the product, measured in turn with this one")
    parser.add_argument("--no-chain", action="store_true", help="no chain of increments, whose making takes most of a round")
    parser.add_argument("--ours", action="store_true", help="only the product, for more rounds in the same time")
    return parser.parse_args()


class Lab:
    """The cluster, the guest and the directories of one benchmark."""

    def __init__(self, arguments):
        self.directory = arguments.lab
        self.programs = {"pve-ferry": arguments.ferry}
        if arguments.against:
            self.programs["pve-ferry, compared"] = os.path.abspath(arguments.against)
        self.ours = arguments.ours
        self.number = 0
        self.source = os.path.dirname(os.path.abspath(__file__))
        self.scale = 1 if arguments.small else 16
        self.increments = 3 if arguments.small else 30
        self.files = os.path.join(self.directory, "files")
        self.repository = os.path.join(self.directory, "repository")
        self.configuration = os.path.join(self.directory, "a", "ceph.conf")
        with open(os.path.join(self.directory, "a", "run", "osd.0.pid"), encoding="utf-8") as file:
            self.osd = int(file.read())
        self.sums = {}

    @property
    def size(self):
        return 256 * self.scale

    def prepare(self):
        """The image at its beginning: a GiB that compresses, a GiB that does not, holes between them."""
        self.do(f"rbd create --size {self.size}M {IMAGE}")
        part = 16 * self.scale
        writes = [f"text:{64 * self.scale * n + part}M:{part}M:{n}" for n in range(4)]
        writes += [f"random:{64 * self.scale * n + 3 * part}M:{part}M:{n}" for n in range(4)]
        say(f"writing {8 * part} MiB into an image of {self.size} MiB")
        self.change(writes)
        self.do(f"rbd snap create --no-progress {IMAGE}@begin")
        conf = "agent: 0\nmemory: 512\nname: bench\nsmbios1: uuid=11111111-2222-3333-4444-555555555555\n"
        conf += f"scsi0: ceph:vm-100-disk-0,size={self.size}M\n"
        with open(f"{self.directory}/node/etc-pve/nodes/pve1/qemu-server/100.conf", "w", encoding="utf-8") as file:
            file.write(conf)

    def start_over(self, number):
        """The image as in the beginning, no repository, no snapshots but that one."""
        self.number = number
        if number:
            self.do(f"rbd snap rollback --no-progress {IMAGE}@begin")
        self.do(
            f"""for s in $(rbd snap ls --format json {IMAGE} | jq -r '.[].name'); do
                if [ $s != begin ]; then
                    rbd snap unprotect {IMAGE}@$s 2>/dev/null || true
                    rbd snap rm --no-progress {IMAGE}@$s
                fi
            done
            rm -rf {self.repository} {self.files}; mkdir -p {self.files} {" ".join(map(self.repository_of, self.programs))}
            rbd export-diff --no-progress {IMAGE}@begin - >/dev/null"""
        )

    def change(self, operations):
        words = " ".join(operations)
        self.do(f"{self.source}/image.py {self.size}M {words} | rbd import-diff --no-progress - {IMAGE}")

    def change_some(self, number):
        """An hour's work of a guest: 1/64 of the image in four places, half of it over and over again."""
        piece = self.scale
        hot = 64 * self.scale + 16 * self.scale
        self.change(
            [
                f"text:{hot}M:{piece}M:hot{number}",
                f"random:{hot + 8 * piece}M:{piece // 2 or 1}M:hot{number}",
                f"text:{(number * 7 % 200) * self.scale}M:{piece // 2 or 1}M:cold{number}",
                f"random:{(number * 11 % 240) * self.scale}M:{piece // 2 or 1}M:cold{number}",
            ]
        )

    def do(self, script):
        """Runs a script that is not measured."""
        done = subprocess.run(self.bash(script), capture_output=True, cwd=self.directory, timeout=900, check=False)
        if done.returncode != 0:
            sys.exit(f"failed: {script}\n{done.stderr.decode()}")
        return done.stdout.decode().strip()

    def bash(self, script):
        ours = f"export CEPH_CONF={self.configuration}; F={self.files}; I={IMAGE}; "
        return ["bash", "-euo", "pipefail", "-c", ours + script]

    def measure(self, job, name, script):
        """Runs a pipeline and returns its row. `sync` before it, so that nobody pays for another's writes."""
        os.sync()
        before = (cpu_of_children(), cpu_of_process(self.osd), time.monotonic())
        done = subprocess.run(self.bash(script), capture_output=True, cwd=self.directory, timeout=1800, check=False)
        wait_for_orphans()
        wall = time.monotonic() - before[2]
        row = {
            "job": job,
            "name": name,
            "wall": wall,
            "cpu": cpu_of_children() - before[0],
            "osd": cpu_of_process(self.osd) - before[1],
        }
        if done.returncode != 0:
            sys.exit(f"{job}, {name}: exit code {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}")
        say(f"{job:28} {name:34} {wall:7.2f} s")
        return row

    def expect(self, snapshot, image):
        """The restored image equals the snapshot; then it is removed, for the disk is not large."""
        if snapshot not in self.sums:
            self.sums[snapshot] = self.do(f"rbd export --no-progress {IMAGE}@{snapshot} - | sha256sum")
        if self.do(f"rbd export --no-progress {image} - | sha256sum") != self.sums[snapshot]:
            sys.exit(f"{image} differs from {snapshot}: a benchmark of wrong results is none")
        self.do(f"rbd snap purge --no-progress {image}; rbd rm --no-progress {image}")

    def turns(self):
        """The programs, in the other order in every other round, so that none always pays for being the first."""
        names = list(self.programs)
        return names[::-1] if self.number % 2 else names

    def ferry_backups(self, job):
        return [self.measure(job, name, self.ferry_backup(name)) for name in self.turns()]

    def ferry_restores(self, job, number, snapshot):
        return [self.ferry_restore(job, name, number, snapshot) for name in self.turns()]

    def ferry_restore(self, job, name, number, snapshot):
        """The product's restore of the point with that number in time; the guest is removed afterwards."""
        program, repository = self.programs[name], self.repository_of(name)
        moment = json.loads(self.do(f"{program} list --path {repository} --json"))["restore_points"]
        moment = sorted(moment, key=lambda point: point["seq"])[number]["time"]
        row = self.measure(job, name, f"{program} restore --path {repository} --vmid 100 --time {moment} --target-vmid 900")
        self.expect(snapshot, "rbd/vm-900-disk-0")
        self.do(f"rm {self.directory}/node/etc-pve/nodes/pve1/qemu-server/900.conf")
        return row

    def ferry_backup(self, name):
        """Each program has a label and a repository of its own, so that neither continues the other's chain."""
        label = f"bench{list(self.programs).index(name)}"
        return f"{self.programs[name]} backup --vmid 100 --label {label} --path {self.repository_of(name)}"

    def repository_of(self, name):
        return os.path.join(self.repository, str(list(self.programs).index(name)))


def base(lab):
    job = "base"
    lab.sums.clear()
    lab.do("rbd snap create --no-progress $I@base")
    rows = [
        lab.measure(job, "limit: export-diff >/dev/null", "rbd export-diff --no-progress $I@base - >/dev/null"),
        *lab.ferry_backups(job),
    ]
    if lab.ours:
        return rows + lab.ferry_restores("restore of a base", 0, "base")
    rows.append(lab.measure(job, "barc, pigz", barc_snapshot("b1") + barc_full("b1", "pigz -3 -p2 >$F/base.zz")))
    lab.do("rbd snap unprotect $I@b1; rbd snap rm --no-progress $I@b1")
    rows.append(lab.measure(job, "barc, no compression", barc_snapshot("b2") + barc_full("b2", "cat >$F/base.img")))
    lab.do("rbd snap unprotect $I@b2; rbd snap rm --no-progress $I@b2; rm $F/base.img")
    rows.append(lab.measure(job, "export-diff | zstd, sha256sum", plain_export("", "base", "base")))
    lab.do("rbd export-diff --no-progress $I@base - >$F/base.diff")
    return rows + base_restores(lab)


def barc_snapshot(name):
    return f"rbd snap create --no-progress $I@{name}; rbd snap protect $I@{name}\n"


def barc_full(name, sink):
    return (
        f"rbd export --no-progress --rbd-concurrent-management-ops 10 $I@{name} - "
        f"| tee >({sink}) >(wc -c >$F/size) | sha1sum >$F/sum"
    )


def plain_export(since, snapshot, file):
    since = f"--from-snap {since} " if since else ""
    return (
        f"rbd export-diff --no-progress {since}$I@{snapshot} - "
        f"| tee >(sha256sum >$F/{file}.sha256) | zstd -q -1 -T2 -o $F/{file}.zst"
    )


def base_restores(lab):
    job = "restore of a base"
    create = f"rbd create --size {lab.size}M rbd/target; "
    rows = [
        lab.measure(job, "limit: import-diff of a file", create + "rbd import-diff --no-progress $F/base.diff rbd/target"),
    ]
    # Looked at and removed before the next one begins, so that nobody meets the other's writes in the OSD.
    lab.expect("base", "rbd/target")
    rows += lab.ferry_restores(job, 0, "base")
    rows.append(lab.measure(job, "barc, pigz", barc_import()))
    lab.expect("base", "rbd/target")
    rows.append(
        lab.measure(job, "zstd -dc | import-diff", create + "zstd -dc $F/base.zst | rbd import-diff --no-progress - rbd/target")
    )
    lab.expect("base", "rbd/target")
    return rows


def barc_import():
    return "pigz -dc $F/base.zz | tee >(rbd import --no-progress --image-format 2 - rbd/target) | sha1sum >$F/sum2"


def increment(lab):
    """One increment with an eighth of the data changed."""
    job = "increment"
    part = 16 * lab.scale
    lab.change([f"text:{part}M:{part // 2}M:inc", f"random:{3 * part + 64 * lab.scale}M:{part // 2}M:inc"])
    lab.do("rbd snap create --no-progress $I@inc")
    rows = [
        lab.measure(job, "limit: export-diff >/dev/null", "rbd export-diff --no-progress --from-snap base $I@inc - >/dev/null"),
        *lab.ferry_backups(job),
    ]
    if lab.ours:
        return rows
    for name, sink in (("barc, pigz", "pigz -3 -p2 >$F/inc.zz"), ("barc, no compression", "cat >$F/inc.diff")):
        lab.do("rbd snap create --no-progress $I@b0")
        script = barc_snapshot("b1") + (
            f"rbd export-diff --no-progress --from-snap base $I@b1 - | tee >({sink}) >(wc -c >$F/size) | sha1sum >$F/sum\n"
            "rbd snap rm --no-progress $I@b0"
        )
        rows.append(lab.measure(job, name, script))
        lab.do("rbd snap unprotect $I@b1; rbd snap rm --no-progress $I@b1")
    rows.append(lab.measure(job, "export-diff | zstd, sha256sum", plain_export("base", "inc", "inc")))
    return rows


def chain_restores(lab):
    """A chain of many small increments after the base; each tool restores its own files."""
    count = lab.increments
    job = f"restore of {count} increments"
    say(f"making a chain of {count} increments")
    previous = "inc"
    lab.do("rbd export-diff --no-progress --from-snap base $I@inc - | tee >(zstd -q -1 -o $F/c1.zst) | pigz -3 >$F/c1.zz")
    for number in range(2, count + 1):
        lab.change_some(number)
        if number > 2:
            wait_for_next_second()
        for name in lab.turns():
            lab.do(lab.ferry_backup(name))
        lab.do(
            f"rbd snap create --no-progress $I@c{number}; "
            f"rbd export-diff --no-progress --from-snap {previous} $I@c{number} - "
            f"| tee >(zstd -q -1 -o $F/c{number}.zst) | pigz -3 >$F/c{number}.zz"
        )
        previous = f"c{number}"
    lab.do(f"rbd export-diff --no-progress $I@{previous} - >$F/final.diff")
    create = f"rbd create --size {lab.size}M rbd/target; "
    rows = [
        lab.measure(job, "limit: import-diff of the end", create + "rbd import-diff --no-progress $F/final.diff rbd/target"),
    ]
    lab.expect(previous, "rbd/target")
    rows += lab.ferry_restores(job, count, previous)
    if lab.ours:
        return rows
    steps = f"for n in $(seq {count}); do "
    barc = barc_import() + f"; {WAIT_FOR_IMAGE}rbd snap create --no-progress rbd/target@base\n"
    barc += steps + "pigz -dc $F/c$n.zz | tee >(sha1sum >$F/sum3) | rbd import-diff --no-progress - rbd/target; done"
    rows.append(lab.measure(job, "barc, pigz", barc))
    lab.expect(previous, "rbd/target")
    plain = create + "zstd -dc $F/base.zst | rbd import-diff --no-progress - rbd/target; "
    plain += steps + "zstd -dc $F/c$n.zst | rbd import-diff --no-progress - rbd/target; done"
    rows.append(lab.measure(job, "zstd -dc | import-diff", plain))
    lab.expect(previous, "rbd/target")
    return rows


def cpu_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_of_process(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for_orphans():
    """As their subreaper this process gets everything that a pipeline left running; the job ends when all have ended."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def wait_for_next_second():
    now = int(time.time())
    while int(time.time()) == now:
        time.sleep(0.02)


def say(text):
    print(text, file=sys.stderr, flush=True)


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


def report(rows, arguments):
    jobs = list(dict.fromkeys(row["job"] for row in rows))
    missed = []
    for job in jobs:
        table = summary([row for row in rows if row["job"] == job])
        ours = table["pve-ferry"]
        print(f"\n{job}\n  {'':34} {'wall s':>8} {'CPU s':>8} {'OSD CPU s':>10} {'ours/this wall':>15} {'CPU':>6}")
        for name, (wall, cpu, osd) in table.items():
            print(f"  {name:34} {wall:8.2f} {cpu:8.2f} {osd:10.2f} {ours[0] / wall:15.2f} {ours[1] / max(cpu, 0.01):6.2f}")
        missed += missed_aims(job, table)
    print()
    if arguments.small:
        print("a small run: everything works; its numbers mean little")
        return 0
    for text in missed:
        print("missed:", text)
    if not missed:
        print("all aims are reached")
    return 1 if missed and arguments.check else 0


def summary(rows):
    names = list(dict.fromkeys(row["name"] for row in rows))
    picked = {name: [row for row in rows if row["name"] == name] for name in names}
    return {name: [median([row[key] for row in some]) for key in ("wall", "cpu", "osd")] for name, some in picked.items()}


def missed_aims(job, table):
    """The project's aims: 0.2 of barc with pigz for a base, 0.3 for a restore, and faster than the plain pipelines."""
    ours = table["pve-ferry"][0]
    missed = []
    if "barc, pigz" not in table:
        return missed
    share = 0.2 if job == "base" else 0.3
    if job != "increment" and ours > share * table["barc, pigz"][0]:
        missed.append(f"{job}: {ours / table['barc, pigz'][0]:.2f} of barc with pigz, the aim is {share}")
    for name in table:
        if "zstd" in name and ours > table[name][0]:
            missed.append(f"{job}: {ours:.2f} s, and the plain pipeline needs {table[name][0]:.2f} s")
    return missed


if __name__ == "__main__":
    sys.exit(main())
