#!/usr/bin/python3 -IB
"""Strict stand-ins for the programs of a Proxmox VE node: qm, pct, pvesh, systemd-run, systemctl.

The names beside this file are links to it; it answers as the program whose name it was called by, in the words,
on the stream and with the exit code of the real one (qemu-server's qm.pm, Agent.pm and QMPClient.pm; pve-container's
pct.pm; systemd 252). It answers only what is listed here: any other call prints its argv on stderr, is noted in
$FAKE_PVE_STATE/unexpected, and exits 99.

Environment
  FAKE_PVE_STATE     directory of the state below; made when missing; required
  FAKE_PVE_ETC       the cluster file system; default $PVE_FERRY_ETC_PVE
  FAKE_NODE          the node that the program runs on; default: what the link `local` in FAKE_PVE_ETC points to
  FAKE_PVE_RBD_CONF  when set, `qm start` and `pct start` ask the real rbd whether every volume exists; the value is the
                     ceph.conf of the storages without monhost

State: facts (written here, to be read by tests; `running` and `agent` are written by tests, too)
  log                one line per event: `<unix time in ns> <node> <argv...>`; besides the calls, `#frozen VMID` and
                     `#thawed VMID` at the moment when it becomes true in the guest
  unexpected         the calls that were refused, in the same form
  VMID/running       exists while the guest runs
  VMID/agent         exists when the guest agent runs in the guest; its content is the number of file systems (default 2)
  VMID/frozen        exists exactly while the file systems are frozen; its content is their number
  units/NAME/...     transient units: timer.pid or service.pid, and output; failed when a service has failed (by tests)

State: how a guest or the node misbehaves (written by tests)
  slow               seconds that every call of qm, pct and pvesh takes longer
  no-systemd         systemd-run and systemctl answer as on a machine that was not booted with systemd
  VMID/freeze-fails  the agent answers the freeze with an error that has this text. As in PVE, `qm guest cmd` then
                     prints {"error": ...} on stdout and EXITS 0
  VMID/freeze-hangs  seconds until the guest freezes and answers; it does so even when the caller is dead by then, and
                     every other agent command ends after three seconds meanwhile, as the ping before it is not answered
  VMID/freeze-slow   seconds that `qm` itself takes before it sends the freeze to the agent
  VMID/freeze-late   as freeze-hangs, but the guest is frozen from the beginning: only the answer is late
  VMID/thaw-fails    the agent answers the thaw with an error of this text, and stays frozen
  VMID/thaw-hangs    seconds until the guest thaws and answers
  VMID/status-fails  the agent answers the question for the status with an error of this text
  VMID/thaw-fewer    the number of file systems that the thaw says it thawed
  VMID/start-fails   `qm start` fails with this text
  VMID/shutdown-ignored  `qm shutdown` runs into its timeout
A locked guest is one with a `lock:` line in its configuration, as in PVE.

Calls
  qm status|start|stop|shutdown|unlock|config VMID          qm rescan | qm disk rescan [--vmid VMID] (with
                                                             FAKE_PVE_RBD_CONF it finds volumes and adds unusedN)
  qm guest cmd VMID CMD | qm agent VMID CMD                  CMD: ping fsfreeze-status fsfreeze-freeze fsfreeze-thaw
  pct status|start|stop|shutdown|unlock|config VMID         pct rescan [--vmid VMID]
  pvesh get PATH [--type T] --output-format json             PATH: see pve_api.py
  pvesh create nodes/N/qemu/VMID/agent/CMD --output-format json   as qm guest cmd, from any node
  pvesh get|create|delete PATH ... --output-format json      snapshots of guests: see pve_snapshots.py
  systemd-run [--unit U] [--on-active S] [--collect] [--quiet] [--no-block] [--setenv K=V] [-p X=Y] ... CMD...
              with --wait --pipe the unit has the caller's input and output, and outlives it all the same
  systemctl stop|is-active|reset-failed UNIT... | is-system-running
A unit runs with the caller's PATH and FAKE_* and nothing else of the environment, in a session of its own, as a unit
of systemd does not inherit its caller's environment, terminal or process group.
"""

import fcntl
import json
import os
import re
import select
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import pve_api
import pve_snapshots
import pve_units
from pve_state import Failure, State, Unexpected, guest_configuration, volumes_of

AGENT_COMMANDS = ("ping", "fsfreeze-status", "fsfreeze-freeze", "fsfreeze-thaw")


def main():
    program, args = os.path.basename(sys.argv[0]), sys.argv[1:]
    state = State()
    state.log([program, *args])
    programs = {
        "qm": lambda: guest_tool(state, "qemu", args),
        "pct": lambda: guest_tool(state, "lxc", args),
        "pvesh": lambda: pvesh(state, args),
        "systemd-run": lambda: pve_units.systemd_run(state, args),
        "systemctl": lambda: pve_units.systemctl(state, args),
    }
    try:
        if program not in programs:
            raise Unexpected()
        return programs[program]() or 0
    except Failure as failure:
        print(failure, file=sys.stderr)
        return failure.code
    except Unexpected:
        state.note_unexpected([program, *args])
        print("unexpected call:", [program, *args], file=sys.stderr)
        return 99


def guest_tool(state, kind, args):
    """qm and pct: they share the calls that both have."""
    time.sleep(state.number("slow"))
    match args:
        case ["rescan"] | ["disk", "rescan"]:
            rescan(state, kind, None)
        case ["rescan", "--vmid", vmid] | ["disk", "rescan", "--vmid", vmid] if vmid.isdigit():
            rescan(state, kind, vmid)
        case ["status", vmid] if vmid.isdigit():
            guest_configuration(state, kind, vmid)
            print("status:", "running" if state.has(vmid, "running") else "stopped")
        case ["config", vmid] if vmid.isdigit():
            print_configuration(guest_configuration(state, kind, vmid))
        case ["unlock", vmid] if vmid.isdigit():
            unlock(state, kind, vmid)
        case ["start", vmid] if vmid.isdigit():
            start(state, kind, vmid)
        case ["stop", vmid] if vmid.isdigit():
            guest_configuration(state, kind, vmid)
            halt(state, vmid)
        case ["shutdown", vmid, *options] if vmid.isdigit() and known_shutdown(options):
            shutdown(state, kind, vmid, options)
        case ["guest", "cmd", vmid, command] | ["agent", vmid, command] if kind == "qemu" and vmid.isdigit():
            if command not in AGENT_COMMANDS:
                raise Unexpected()
            agent(state, vmid, command)
        case _:
            raise Unexpected()


def known_shutdown(options):
    names = [word.split("=")[0] for word in options if not word.isdigit()]
    return all(name in ("--timeout", "--forceStop", "-timeout", "-forceStop") for name in names)


def print_configuration(text):
    """The tool prints the current section, sorted, without the digest."""
    current = re.split(r"^\[", text, maxsplit=1, flags=re.M)[0]
    for line in sorted(line for line in current.splitlines() if re.match(r"\w+: ", line)):
        print(line)


def unlock(state, kind, vmid):
    text = guest_configuration(state, kind, vmid)
    if kind == "lxc" and not re.search(r"^lock:", text, re.M):
        raise Failure("no lock found trying to remove lock 'any'", 255)
    path = state.configuration_path(kind, vmid)
    with open(path, "w", encoding="utf-8") as file:
        file.write(re.sub(r"^lock:.*\n", "", text, count=1, flags=re.M))


def rescan(state, kind, vmid):
    """Volumes that belong to a guest of this node by their name, but are not in its configuration, become unusedN."""
    print("rescan volumes...")
    if vmid is not None:
        guest_configuration(state, kind, vmid)
    for guest in pve_api.guests(state):
        if guest["type"] == kind and guest["node"] == state.node and vmid in (None, str(guest["vmid"])):
            for volume in pve_api.volumes_named_after(state, guest["vmid"]):
                add_unused(state, kind, str(guest["vmid"]), volume)


def add_unused(state, kind, vmid, volume):
    text = guest_configuration(state, kind, vmid)
    if volume in re.findall(r"[\w-]+:[^,\s]+", text):
        return
    key = next(f"unused{number}" for number in range(256) if f"\nunused{number}:" not in "\n" + text)
    print(f"{'VM' if kind == 'qemu' else 'CT'} {vmid} add unreferenced volume '{volume}' as '{key}' to config")
    current, section, rest = text.partition("\n[")
    with open(state.configuration_path(kind, vmid), "w", encoding="utf-8") as file:
        file.write(f"{current.rstrip(chr(10))}\n{key}: {volume}\n{section}{rest}")


def start(state, kind, vmid):
    text = guest_configuration(state, kind, vmid)
    refuse_locked(text, kind)
    if state.has(vmid, "running"):
        raise Failure(f"VM {vmid} already running" if kind == "qemu" else f"CT {vmid} already running", 255)
    if state.has(vmid, "start-fails"):
        raise Failure(f"start failed: {state.text(vmid, 'start-fails')}", 255)
    for volume in volumes_of(text):
        require_volume(state, volume)
    state.put(vmid, "running", "")


def refuse_locked(text, kind):
    current = re.split(r"^\[", text, maxsplit=1, flags=re.M)[0]
    lock = re.search(r"^lock: *(\S+)", current, re.M)
    if lock:
        raise Failure(f"{'VM' if kind == 'qemu' else 'CT'} is locked ({lock[1]})", 255)


def require_volume(state, volume):
    """Starting opens every volume, so a volume that does not exist fails the start."""
    command = pve_api.rbd_info_command(state, volume)
    if command is None:
        return
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    if done.returncode != 0:
        raise Failure(f"start failed: volume '{volume}' does not exist", 255)


def halt(state, vmid):
    state.drop(vmid, "running")
    if state.has(vmid, "frozen"):
        state.drop(vmid, "frozen")
        state.log(["#thawed", vmid])


def shutdown(state, kind, vmid, options):
    refuse_locked(guest_configuration(state, kind, vmid), kind)
    if not state.has(vmid, "running"):
        raise Failure(f"VM {vmid} not running" if kind == "qemu" else f"CT {vmid} not running", 255)
    if state.has(vmid, "shutdown-ignored"):
        waited = [int(word) for word in options if word.isdigit()] or [3]
        time.sleep(min(waited[0], 3))
        raise Failure("VM quit/powerdown failed - got timeout", 255)
    halt(state, vmid)


def agent_by_api(state, vmid, command):
    require_agent(state, vmid)
    print(json.dumps({"result": ask_available_agent(state, vmid, command)}, separators=(",", ":")))


def agent(state, vmid, command):
    require_agent(state, vmid)
    print_agent_result(ask_available_agent(state, vmid, command))


def require_agent(state, vmid):
    text = guest_configuration(state, "qemu", vmid)
    if not re.search(r"^agent:", re.split(r"^\[", text, maxsplit=1, flags=re.M)[0], re.M):
        raise Failure("No QEMU guest agent configured", 255)
    if not state.has(vmid, "running"):
        raise Failure(f"VM {vmid} is not running", 255)
    if not state.has(vmid, "agent"):
        raise Failure("QEMU guest agent is not running", 255)


# PVE::QMPClient: how long each command may take; five seconds when it is not listed.
PATIENCE = {"ping": 3, "fsfreeze-freeze": 3600, "fsfreeze-thaw": 180}


def ask_available_agent(state, vmid, command):
    """As PVE::QemuServer::Agent::assert_agent_available, and then the command itself."""
    if ask_agent(state, vmid, "ping", PATIENCE["ping"]) is None:
        raise Failure("QEMU guest agent is not running", 255)
    if command == "fsfreeze-freeze":
        time.sleep(state.number(vmid, "freeze-slow"))
    answer = ask_agent(state, vmid, command, PATIENCE.get(command, 5))
    if answer is None:
        raise Failure(f"VM {vmid} qga command 'guest-{command}' failed - got timeout", 255)
    return answer


def ask_agent(state, vmid, command, patience):
    """The agent lives in the guest: what it was told to do happens even when the one who asked is killed, or gave up."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(reader)
        detach_streams()
        answer = agent_answer(state, vmid, command)
        try:
            os.write(writer, json.dumps(answer).encode())
        except BrokenPipeError:
            pass
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        if not select.select([answer], [], [], patience)[0]:
            return None
        return json.loads(answer.read())


def detach_streams():
    """Whoever waits for the end of the caller's output must not wait for the guest."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def agent_answer(state, vmid, command):
    with open(state.path(vmid, "agent"), "r", encoding="utf-8") as agent_process:
        fcntl.flock(agent_process, fcntl.LOCK_EX)  # the agent does one thing at a time
        count = int(agent_process.read().strip() or 2)
        match command:
            case "ping":
                return {}
            case "fsfreeze-status" if state.has(vmid, "status-fails"):
                return error(state.text(vmid, "status-fails"))
            case "fsfreeze-status":
                return "frozen" if state.has(vmid, "frozen") else "thawed"
            case "fsfreeze-freeze":
                return freeze(state, vmid, count)
            case "fsfreeze-thaw":
                return thaw(state, vmid)


def freeze(state, vmid, count):
    if state.has(vmid, "frozen"):
        return error("Command guest-fsfreeze-freeze has been disabled: the command is not allowed", "CommandNotFound")
    if state.has(vmid, "freeze-fails"):
        return error(state.text(vmid, "freeze-fails"))
    time.sleep(state.number(vmid, "freeze-hangs"))
    state.put(vmid, "frozen", f"{count}\n")
    state.log(["#frozen", vmid])
    time.sleep(state.number(vmid, "freeze-late"))
    return count


def thaw(state, vmid):
    if state.has(vmid, "thaw-fails"):
        return error(state.text(vmid, "thaw-fails"))
    time.sleep(state.number(vmid, "thaw-hangs"))
    if not state.has(vmid, "frozen"):
        return 0
    count = int(state.text(vmid, "frozen"))
    state.drop(vmid, "frozen")
    state.log(["#thawed", vmid])
    return int(state.number(vmid, "thaw-fewer")) if state.has(vmid, "thaw-fewer") else count


def error(text, kind="GenericError"):
    return {"error": {"class": kind, "desc": text}}


def print_agent_result(result):
    """As qm prints it: plain text for a scalar, nothing for an empty object, else indented JSON with sorted keys."""
    if isinstance(result, dict):
        if result:
            print(json.dumps(result, indent=3, sort_keys=True, separators=(",", " : ")))
    else:
        print(result)


def pvesh(state, args):
    time.sleep(state.number("slow"))
    if len(args) < 2 or args[0] not in pve_snapshots.METHODS:
        raise Unexpected()
    options = {}
    words = iter(args[2:])
    for word in words:
        name, _, value = word.partition("=")
        options[name.lstrip("-")] = value or next(words, "")
    if options.pop("output-format", None) != "json":
        raise Unexpected()
    path = args[1].strip("/").split("/")
    match path, args[0]:
        case ["nodes", node, "qemu", vmid, "agent", command], "create" if command in AGENT_COMMANDS and not options:
            there = State()
            there.node = node
            agent_by_api(there, vmid, command)
            return
    if pve_snapshots.knows(path):
        pve_snapshots.call(state, args[0], path, options)
        return
    if args[0] != "get":
        raise Unexpected()
    print(json.dumps(pve_api.get(state, path, options)))


if __name__ == "__main__":
    sys.exit(main())
