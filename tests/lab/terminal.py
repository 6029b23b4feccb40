#!/usr/bin/python3 -IB
"""Runs a program on a terminal of its own and answers its questions, as a person would; not an expect for everything.

  terminal.py [EXPECT KEYS]... -- COMMAND...

Waits until EXPECT appears in what the program writes after the last answer, then types KEYS: `{enter}`, `{down}`,
`{space}`, `{ctrl-c}` and `{ctrl-d}` are keys, `{hang-up}` takes the terminal away, everything else is text. Prints all that the program wrote, without the terminal's
control sequences, and exits as it does; 124 when a question does not come within 20 seconds.
"""

import os
import pty
import re
import select
import sys
import time

KEYS = {"{enter}": "\r", "{down}": "\x1b[B", "{space}": " ", "{ctrl-c}": "\x03", "{ctrl-d}": "\x04"}
PATIENCE = 20


def main():
    split = sys.argv.index("--")
    answers, command = sys.argv[1:split], sys.argv[split + 1 :]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execvp(command[0], command)
    written = ""
    for expected, keys in zip(answers[::2], answers[1::2]):
        text = read_until(terminal, expected)
        written += text
        if expected not in plain(text):
            print(plain(written))
            print(f"terminal.py: {expected!r} did not come", file=sys.stderr)
            os.kill(pid, 9)
            return 124
        if keys == "{hang-up}":
            os.close(terminal)
            return ending(pid, written)
        os.write(terminal, re.sub(r"\{[a-z-]+\}", lambda key: KEYS[key[0]], keys).encode())
    return ending(pid, written + read_until(terminal, None))


def ending(pid, written):
    print(plain(written))
    status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def read_until(terminal, expected):
    """What is written until the expected text is in it, or the end; the last answer's echo is part of it."""
    text, end = "", time.monotonic() + (PATIENCE if expected else 120)
    while time.monotonic() < end and not (expected and expected in plain(text)):
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            break
        if not chunk:
            break
        text += chunk.decode(errors="replace")
    return text


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", text)


if __name__ == "__main__":
    sys.exit(main())
