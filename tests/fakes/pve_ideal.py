#!/usr/bin/python3 -IB
"""Makes snapshots of one guest one after another, as fast as tasks of a second allow; a measure, no client to follow.

Usage: pve_ideal.py PORT TOKEN VMID. Prints, when its standard input ends, the seconds that one took on average: from
the request to the answer that the task has ended, asked for just when it should have. So it shows how long the
double's second is while the machine is busy with other things.
"""

import http.client
import json
import os
import select
import ssl
import sys
import time
import urllib.parse

TLS = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "data", "tls")
TASK = 1.0


def main():
    port, token, vmid = sys.argv[1:]
    context = ssl.create_default_context(cafile=os.path.join(TLS, "ca.pem"))
    connection = http.client.HTTPSConnection("localhost", int(port), context=context)

    def ask(method, path, params=None):
        headers = {"Authorization": f"PVEAPIToken={token}", "Content-Type": "application/x-www-form-urlencoded"}
        connection.request(method, "/api2/extjs" + path, urllib.parse.urlencode(params or {}), headers)
        answer = json.loads(connection.getresponse().read())
        if not answer["success"]:
            sys.exit(f"{method} {path}: {answer}")
        return answer["data"]

    taken = []
    while not taken or not ended():
        begun = time.monotonic()
        upid = ask("POST", f"/nodes/pve1/qemu/{vmid}/snapshot", {"snapname": f"ideal{len(taken)}"})
        time.sleep(max(0, TASK - (time.monotonic() - begun)))
        while ask("GET", f"/nodes/pve1/tasks/{urllib.parse.quote(upid)}/status")["status"] == "running":
            pass
        taken.append(time.monotonic() - begun)
    print(sum(taken) / len(taken))


def ended():
    return bool(select.select([sys.stdin], [], [], 0)[0])


main()
