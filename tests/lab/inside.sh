#!/usr/bin/env bash
# The first process inside the lab's namespaces: prepares them and runs the command; started by `enter` only.
set -euo pipefail

ip link set lo up
hostname pve1
# A private /run: what the product and the daemons put there stays in here. The directory that tells programs that systemd
# runs is there, since the fakes stand for it.
mount -t tmpfs -o mode=755 lab-run /run
mkdir -p /run/lock /run/sshd /run/systemd/system
"$@"
