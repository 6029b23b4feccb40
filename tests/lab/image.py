#!/usr/bin/python3 -IB
"""Writes rbd diff v1 streams on stdout, with which the lab changes images through `rbd import-diff`; not a parser.

  image.py SIZE OPERATION...     SIZE and all numbers in bytes, or with the suffix K, M or G
Operations: random:OFF:LEN:SEED (bytes that do not compress, the same for the same seed), text:OFF:LEN:SEED (bytes that
compress to about a third), zero:OFF:LEN (a discard).
The stream sets the image's size to SIZE; it names no snapshots, so that only HEAD changes.
"""

import random
import struct
import sys

PIECE = 1 << 20
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def number(text):
    return int(text[:-1]) * UNITS[text[-1]] if text[-1] in UNITS else int(text)


def main():
    out = sys.stdout.buffer
    out.write(b"rbd diff v1\n" + b"s" + struct.pack("<Q", number(sys.argv[1])))
    for operation in sys.argv[2:]:
        kind, offset, length, *seed = operation.split(":")
        if kind == "zero":
            out.write(b"z" + struct.pack("<QQ", number(offset), number(length)))
        else:
            write_data(out, kind, number(offset), (number(length), seed[0]))
    out.write(b"e")


def write_data(out, kind, offset, length_and_seed):
    length, seed = length_and_seed
    source = random.Random(f"{kind} {seed}")
    while length:
        size = min(PIECE, length)
        out.write(b"w" + struct.pack("<QQ", offset, size) + piece(source, kind, size))
        offset += size
        length -= size


def piece(source, kind, size):
    if kind == "random":
        return source.randbytes(size)
    words = [source.randbytes(7).hex().encode() for _ in range(64)]
    # Words drawn from a small vocabulary compress about as well as programs and libraries do.
    row = b"".join(words[byte & 63] + source.randbytes(4) for byte in source.randbytes(size // 16 + 1))
    return (row + row)[:size]


if __name__ == "__main__":
    main()
