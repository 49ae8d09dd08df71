"""A Ray cluster of nodes on this machine: `python -m tests.cluster.nodes box1 box2`. It ends with its stdin.

Prints one line of JSON: the address of the head, and the pid of each node's raylet by its name.
"""

from __future__ import annotations

import json
import sys

from ray.cluster_utils import Cluster

_SMALL = {"object_store_memory": 80_000_000, "include_log_monitor": False}


def main(names: list[str]) -> None:
    head = {"num_cpus": 0, "include_dashboard": False, "node_name": "head", **_SMALL}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = {name: cluster.add_node(num_cpus=1, node_name=name, wait=False, **_SMALL) for name in names}
    raylets = {name: node.all_processes["raylet"][0].process.pid for name, node in nodes.items()}
    print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
