"""systemd-run and systemctl for transient units, without systemd; part of pve.py, not a service manager.

A unit is a directory units/NAME with timer.pid while its timer waits, service.pid while its command runs, `failed`
after it failed (written by tests), and `output`.
"""

import os
import re
import signal
import subprocess
import sys
import time

from pve_state import Failure, Unexpected

WITH_VALUE = {"unit", "on-active", "setenv", "property", "timer-property", "description", "service-type", "slice"}
SHORT = {"-u": "unit", "-p": "property", "-E": "setenv"}
FLAGS = {"--wait", "--pipe", "--collect", "-G", "--quiet", "-q", "--no-block", "--system", "--no-ask-password"}
NOT_BOOTED = "System has not been booted with systemd as init system (PID 1). Can't operate."
SECONDS = {"": 1, "s": 1, "sec": 1, "ms": 0.001, "us": 0.000001, "min": 60, "m": 60}


def systemd_run(state, args):
    refuse_without_systemd(state)
    options, command = parse_run(args)
    name = re.sub(r"\.(service|timer)$", "", options.get("unit", [f"run-{os.getpid()}"])[-1])
    delay = options.get("on-active")
    if state.has("units", name, "timer.pid") or state.has("units", name, "service.pid"):
        kind = "timer" if delay else "service"
        text = f"Failed to start transient {kind} unit: Unit {name}.{kind} was already loaded or has a fragment file."
        raise Failure(text, 1)
    if {"--wait", "--pipe"} & set(args[: len(args) - len(command)]):
        if delay or not {"--wait", "--pipe"} <= set(args):
            raise Unexpected()
        return converse(state, name, (command, environment(options)))
    launch(state, name, seconds(delay[-1]) if delay else None, (command, environment(options)))
    if delay:
        print(f"Running timer as unit: {name}.timer", file=sys.stderr)
        print(f"Will run service as unit: {name}.service", file=sys.stderr)
    else:
        print(f"Running as unit: {name}.service", file=sys.stderr)


def refuse_without_systemd(state):
    if state.has("no-systemd"):
        raise Failure(f"{NOT_BOOTED}\nFailed to connect to bus: Host is down", 1)


def parse_run(args):
    options, words = {}, list(args)
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word == "--":
            break
        if word in FLAGS:
            continue
        name, has_value, value = word.partition("=")
        name = SHORT.get(name, name.removeprefix("--"))
        if name not in WITH_VALUE or not (has_value or words):
            raise Unexpected()
        options.setdefault(name, []).append(value if has_value else words.pop(0))
    if not words:
        raise Unexpected()
    return options, words


def seconds(text):
    """A time span of systemd: `10`, `10s`, `1min 30s`, `500ms`."""
    parts = re.findall(r"([\d.]+)\s*([a-z]*)", text)
    if not parts or any(unit not in SECONDS for _, unit in parts):
        raise Failure(f"Failed to parse timer value: {text}", 1)
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


def environment(options):
    """A unit sees nothing of its caller's environment but what --setenv gives; PATH stands for the node's own."""
    kept = {key: value for key, value in os.environ.items() if key == "PATH" or key.startswith("FAKE_")}
    etc = os.environ.get("FAKE_PVE_ETC") or os.environ.get("PVE_FERRY_ETC_PVE")
    if etc:
        kept["FAKE_PVE_ETC"] = etc
    for word in options.get("setenv", []):
        name, has_value, value = word.partition("=")
        kept[name] = value if has_value else os.environ.get(name, "")
    return kept


def launch(state, name, delay, work):
    """Starts the unit in a session of its own and returns when its pid file is there."""
    os.makedirs(state.path("units", name), exist_ok=True)
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(reader)
        os.chdir("/")
        redirect(state.path("units", name, "output"))
        state.put("units", name, "timer.pid" if delay is not None else "service.pid", f"{os.getpid()}\n")
        os.write(writer, b".")
        os.close(writer)
        run_unit(state, name, delay, work)
        os._exit(0)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)


def converse(state, name, work):
    """Runs the unit with the caller's input and output, in a session of its own that outlives the caller."""
    os.makedirs(state.path("units", name), exist_ok=True)
    command, variables = work
    if os.fork() == 0:
        os.setsid()
        os.chdir("/")
        state.put("units", name, "service.pid", f"{os.getpid()}\n")
        state.log(["#unit", name, *command])
        try:
            unit = subprocess.Popen(command, env=variables)
            state.put("units", name, "main.pid", f"{unit.pid}\n")
            # As the service manager, it has none of the unit's pipes.
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nothing, stream)
            code = unit.wait()
        finally:
            state.drop("units", name, "main.pid")
            state.drop("units", name, "service.pid")
        os._exit(code if code >= 0 else 1)
    _, status = os.wait()
    return os.waitstatus_to_exitcode(status)


def redirect(output):
    nothing = os.open(os.devnull, os.O_RDONLY)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(file, 1)
    os.dup2(file, 2)


def run_unit(state, name, delay, work):
    command, variables = work
    if delay is not None:
        time.sleep(delay)
        state.put("units", name, "service.pid", f"{os.getpid()}\n")
        state.drop("units", name, "timer.pid")
    state.log(["#unit", name, *command])
    try:
        subprocess.run(command, env=variables, check=False)
    except OSError as error:
        print(f"{name}.service: Failed to execute {command[0]}: {error}", file=sys.stderr, flush=True)
    state.drop("units", name, "service.pid")


def systemctl(state, args):
    if args == ["is-system-running"]:
        print("offline" if state.has("no-systemd") else "running")
        return 1 if state.has("no-systemd") else 0
    refuse_without_systemd(state)
    words = [word for word in args if word not in FLAGS]
    if len(words) < 2:
        raise Unexpected()
    match words[0]:
        case "stop":
            return max(stop(state, unit) for unit in words[1:])
        case "is-active":
            return is_active(state, words[1])
        case "reset-failed" if len(words) == 2:
            return reset_failed(state, words[1])
        case "enable" | "disable" if words[1] == "--now" and len(words) == 3 and words[2].startswith("pve-ferry-"):
            return 0
        case _:
            raise Unexpected()


def reset_failed(state, unit):
    """A unit that has not failed and does not run is not loaded (systemd 252)."""
    name, file = pid_file(unit)
    if not state.has("units", name, "failed") and not state.has("units", name, file):
        print(f"Failed to reset failed state of unit {unit}: Unit {unit} not loaded.", file=sys.stderr)
        return 1
    state.drop("units", name, "failed")
    return 0


def pid_file(unit):
    name, _, kind = unit.rpartition(".")
    if kind == "timer":
        return name, "timer.pid"
    return (name if kind == "service" else unit), "service.pid"


def is_active(state, unit):
    active = state.has("units", *pid_file(unit))
    print("active" if active else "inactive")
    return 0 if active else 3


def stop(state, unit):
    name, file = pid_file(unit)
    if not state.has("units", name, file):
        full = unit if "." in unit else f"{unit}.service"
        print(f"Failed to stop {full}: Unit {full} not loaded.", file=sys.stderr)
        return 5
    try:
        os.killpg(int(state.text("units", name, file)), signal.SIGKILL)
    except ProcessLookupError:
        pass
    state.drop("units", name, file)
    return 0
