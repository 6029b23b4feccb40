"""Makes a raw disk image from a restore point of pve-ferry, with nothing but Python 3.

Run it in the guest's directory:
    python3 restore.py                       lists the restore points and their disks
    python3 restore.py POINT DISK            lists the files that hold a disk, in order
    python3 restore.py POINT DISK OUTPUT     writes the disk as a sparse raw file
POINT is a directory such as daily/20260101T000000Z, DISK a key such as scsi0.
Compressed files need the program zstd, gzip or bzip2.
"""
import glob
import json
import os
import struct
import subprocess
import sys

MIB = 1 << 20
TOOLS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip", b"BZh": "bzip2"}


def manifests():
    """All readable manifests, by point directory."""
    found = {}
    for path in glob.glob("*/*/manifest.json"):
        try:
            with open(path, encoding="utf-8") as file:
                found[os.path.dirname(path)] = json.load(file)
        except (OSError, ValueError) as error:
            print("cannot read %s: %s" % (path, error), file=sys.stderr)
    return found


def chain(points, point, disk):
    """The images of a disk, the base first, each with its file."""
    known = {}
    for directory, manifest in points.items():
        for image in manifest["images"]:
            known[image["id"]] = (image, os.path.join(directory, image["file"]))
    own = [image for image in points[point]["images"] if image["disk"] == disk]
    if not own:
        sys.exit("%s holds no disk %s" % (point, disk))
    images, wanted = [], own[0]["id"]
    while wanted is not None:
        if wanted not in known or len(images) > len(known):
            sys.exit("image %s is missing: this point cannot be restored" % wanted)
        images.append(known[wanted])
        wanted = known[wanted][0].get("parent")
    return images[::-1]


class Stream:
    """The decompressed bytes of one image file."""

    def __init__(self, path):
        with open(path, "rb") as file:
            start = file.read(4)
        tools = [tool for magic, tool in TOOLS.items() if start.startswith(magic)]
        self.path = path
        self.tool = None
        if tools:
            self.tool = subprocess.Popen([tools[0], "-dc", path], stdout=subprocess.PIPE)
            self.file = self.tool.stdout
        else:
            self.file = open(path, "rb")

    def take(self, count):
        data = self.file.read(count)
        if len(data) != count:
            sys.exit("%s ends too early" % self.path)
        return data

    def number(self):
        return struct.unpack("<Q", self.take(8))[0]

    def name(self):
        return self.take(struct.unpack("<I", self.take(4))[0]).decode()

    def close(self):
        if self.file.read(1):
            sys.exit("%s goes on after its end mark" % self.path)
        self.file.close()
        if self.tool and self.tool.wait() != 0:
            sys.exit("%s cannot be decompressed" % self.path)


def zero(output, offset, length):
    """Writes zeros only where something else stands, so that the file stays sparse."""
    end = offset + length
    while offset < end:
        output.seek(offset)
        count = min(MIB, end - offset)
        data = output.read(count)
        if data.strip(b"\0"):
            output.seek(offset)
            output.write(bytes(len(data)))
        offset += count


def apply(image, path, output):
    """Applies one image to the raw file."""
    stream = Stream(path)
    if stream.take(12) != b"rbd diff v1\n":
        sys.exit("%s is no diff stream" % path)
    names = {b"f": None, b"t": None}
    size = None
    while True:
        tag = stream.take(1)
        if tag == b"e":
            break
        if tag in names:
            names[tag] = stream.name()
        elif tag == b"s":
            size = stream.number()
            output.truncate(size)
        elif tag in (b"w", b"z"):
            offset, length = stream.number(), stream.number()
            if size is None or offset + length > size:
                sys.exit("%s writes beyond its size" % path)
            if tag == b"z":
                zero(output, offset, length)
                continue
            output.seek(offset)
            while length:
                output.write(stream.take(min(MIB, length)))
                length -= min(MIB, length)
        else:
            sys.exit("%s holds an unknown record %r" % (path, tag))
    stream.close()
    if (names[b"f"], names[b"t"], size) != (image.get("from"), image["to"], image["size"]):
        sys.exit("%s is not the image that its manifest tells of" % path)


def main(arguments):
    points = manifests()
    if not arguments:
        for point in sorted(points, key=lambda point: points[point]["seq"]):
            disks = " ".join(image["disk"] for image in points[point]["images"])
            hidden = " (hidden)" if points[point]["state"] == "hidden" else ""
            print(point + ":", disks + hidden)
        return
    if len(arguments) not in (2, 3):
        sys.exit(__doc__)
    point = os.path.normpath(arguments[0])
    if point not in points:
        sys.exit("there is no restore point %s here" % point)
    images = chain(points, point, arguments[1])
    if len(arguments) == 2:
        for _, path in images:
            print(path)
        return
    with open(arguments[2], "x+b") as output:
        for image, path in images:
            apply(image, path, output)
        output.flush()
        os.fsync(output.fileno())


main(sys.argv[1:])
