#!/usr/bin/python3 -IB
"""Removes, or with --show lists, every image of the lab's pools in one cluster; for tests only, it asks nothing."""

import sys

import rados
import rbd

POOLS = ("rbd", "ssd-rbd", "2tb", "my.pool")


def main():
    show = sys.argv[1] == "--show"
    with rados.Rados(conffile=sys.argv[-1], name="client.admin") as cluster:
        for pool in POOLS:
            with cluster.open_ioctx(pool) as io:
                for namespace in ["", *rbd.RBD().namespace_list(io)]:
                    io.set_namespace(namespace)
                    (list_images if show else remove_images)(io, f"{pool}/{namespace}")


def list_images(io, where):
    for name in sorted(rbd.RBD().list(io)):
        with rbd.Image(io, name, read_only=True) as image:
            snapshots = [(entry["id"], entry["name"], entry["size"]) for entry in image.list_snaps()]
            metadata = sorted(image.metadata_list())
            print(where, name, image.id(), image.size(), image.modify_timestamp(), snapshots, metadata)


def remove_images(io, where):
    """Clones go before their parents: whatever cannot be removed yet is tried again."""
    for _ in range(5):
        for name in rbd.RBD().list(io):
            try:
                remove(io, name)
            except rbd.Error:
                pass
    if rbd.RBD().list(io):
        sys.exit(f"images remain in {where}: {rbd.RBD().list(io)}")


def remove(io, name):
    with rbd.Image(io, name) as image:
        for snapshot in list(image.list_snaps()):
            if image.is_protected_snap(snapshot["name"]):
                image.unprotect_snap(snapshot["name"])
            image.remove_snap(snapshot["name"])
    rbd.RBD().remove(io, name)


if __name__ == "__main__":
    main()
