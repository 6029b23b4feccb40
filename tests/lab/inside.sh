#!/usr/bin/env bash
# The first process inside the lab's namespaces: prepares them and runs the command; started by `enter` only.
set -euo pipefail

ip link set lo up
hostname pve1
# A private /run: what the product and the daemons put there stays in here. The directory that tells programs that systemd
# runs is there, since the fakes stand for it.
mount -t tmpfs -o mode=755 lab-run /run
mkdir -p /run/lock /run/sshd /run/systemd/system
# A private /dev/shm: process numbers repeat in the lab beside this one, and libfaketime names its semaphores after them.
mkdir -p /dev/shm
mount -t tmpfs -o mode=1777 lab-shm /dev/shm
"$@"
