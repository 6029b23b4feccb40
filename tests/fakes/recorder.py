#!/usr/bin/python3 -IB
"""A strict replay of rbd, ceph, zstd or any other program; the link by whose name it is called tells which.

It appends `program argv...` as one JSON list per line to $FAKE_LOG and answers from a fixture: the JSON list in the file
$FAKE_RBD (for `rbd`), $FAKE_CEPH (for `ceph`; default $FAKE_RBD), else $FAKE_<PROGRAM>. An entry is an object:
  argv         list of words that must equal the call's; the word "*" fits any one word, a last "..." fits the rest.
               Entries are looked through in order, and the first that fits and is not used up answers
  times        how often it may answer; default 1; 0 means without limit
  stdout, stdout_hex, stdout_file   what is written to stdout (text, hex digits, or a file's content)
  stdin_file   stdin is read to its end and stored in this file (a call without it does not read stdin)
  stderr, rc   text on stderr; exit code, default 0
  truncate     number of bytes of stdout after which it stops writing; it then ends as rc or kill say
  kill         number of a signal that it sends to itself after writing, in place of exiting
  hang         seconds that it sleeps after writing and before it ends
  touch        a file that it makes before it answers: for tests that wait for a call
A call that fits no entry exits 99, prints its argv on stderr and is logged with the word "UNEXPECTED" in front.
How often an entry was used is counted in $FAKE_LOG.used, under a lock, so that parallel calls are counted right.
"""

import fcntl
import json
import os
import signal
import sys
import time


def main():
    program = os.path.basename(sys.argv[0])
    call = [program, *sys.argv[1:]]
    fixture = os.environ.get(f"FAKE_{program.upper()}") or os.environ.get("FAKE_RBD")
    log = os.environ.get("FAKE_LOG")
    if not fixture or not log:
        sys.exit("FAKE_LOG and the fixture's variable must be set")
    with open(fixture, encoding="utf-8") as file:
        entries = json.load(file)
    entry = claim(entries, call, log)
    if entry is None:
        print("unexpected call:", call, file=sys.stderr)
        return 99
    return answer(entry)


def claim(entries, call, log):
    """Finds the entry for the call and counts its use; both under one lock with the line in the log."""
    with open(f"{log}.used", "a+", encoding="utf-8") as counts:
        fcntl.flock(counts, fcntl.LOCK_EX)
        counts.seek(0)
        used = json.loads(counts.read() or "{}")
        found = next((pair for pair in enumerate(entries) if is_answer(pair, call, used)), None)
        note(log, call if found else ["UNEXPECTED", *call])
        if found is None:
            return None
        key = usage_key(*found)
        used[key] = used.get(key, 0) + 1
        counts.seek(0)
        counts.truncate()
        counts.write(json.dumps(used))
        return found[1]


def usage_key(index, entry):
    return f"{index} {' '.join(entry['argv'])}"


def is_answer(pair, call, used):
    index, entry = pair
    times = entry.get("times", 1)
    free = times == 0 or used.get(usage_key(index, entry), 0) < times
    return free and fits(entry["argv"], call[1:])


def fits(pattern, words):
    if pattern and pattern[-1] == "...":
        pattern, words = pattern[:-1], words[: len(pattern) - 1]
    return len(pattern) == len(words) and all(want in ("*", word) for want, word in zip(pattern, words))


def note(log, call):
    with open(log, "a", encoding="utf-8") as file:
        file.write(json.dumps(call) + "\n")


def answer(entry):
    if "touch" in entry:
        with open(entry["touch"], "w", encoding="utf-8"):
            pass
    if "stdin_file" in entry:
        with open(entry["stdin_file"], "wb") as file:
            while chunk := sys.stdin.buffer.read(1 << 20):
                file.write(chunk)
    if not write_all(output_of(entry)):
        return 32  # what rbd makes of EPIPE
    sys.stderr.write(entry.get("stderr", ""))
    sys.stderr.flush()
    time.sleep(entry.get("hang", 0))
    if "kill" in entry:
        os.kill(os.getpid(), entry["kill"])
        signal.pause()
    return entry.get("rc", 0)


def output_of(entry):
    if "stdout_file" in entry:
        with open(entry["stdout_file"], "rb") as file:
            data = file.read()
    elif "stdout_hex" in entry:
        data = bytes.fromhex(entry["stdout_hex"])
    else:
        data = entry.get("stdout", "").encode()
    return data[: entry.get("truncate", len(data))]


def write_all(data):
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
