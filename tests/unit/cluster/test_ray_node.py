"""The command that starts a node, its environment, and what Ray's output means."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cluster.ray_node import FEWEST_PORTS, RayNode, last_words, refusal
from app.config.cluster import PortRange

MISMATCH = """\
Traceback (most recent call last):
RuntimeError: Version mismatch: The cluster was started with:
    Ray: {}
    Python: {}
This process on node 10.0.0.11 was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""


def node(store: Path | None = None, last_port: int = 6499) -> RayNode:
    ports = PortRange(6400, last_port)
    return RayNode("box1", "10.0.0.11", "10.0.0.1:6379", "secret", ports, Path("/tmp/f"), store)


def test_a_node_has_the_options_of_the_page_on_clusters() -> None:
    """No resource of Ray's, no dashboard, no usage statistics, and no port by chance."""
    argv = node().argv()
    assert {"--address=10.0.0.1:6379", "--node-name=box1", "--num-cpus=0", "--block"} < set(argv)
    assert "--disable-usage-stats" in argv and "--include-log-monitor=false" in argv
    assert not {"--head", "--port=6379"} & set(argv) and not any("secret" in word for word in argv)
    ports = [int(word.rpartition("=")[2]) for word in argv if "port=" in word]
    assert len(set(ports)) == len(ports) == 8 and min(ports) == 6400 and max(ports) == 6499
    assert node().fixed_ports == tuple(range(6400, 6406))


def test_the_fewest_ports_are_enough() -> None:
    argv = node(last_port=6400 + FEWEST_PORTS - 1).argv()
    first, last = (int(word.rpartition("=")[2]) for word in argv if "worker-port" in word)
    assert first < last


def test_a_head_keeps_its_nodes_in_its_store() -> None:
    head = node(Path("/state/head"))
    assert {"--head", "--port=6379", "--include-dashboard=false"} < set(head.argv())
    assert not any(word.startswith("--address") for word in head.argv())
    assert head.fixed_ports[0] == 6379
    assert head.environment({})["RAY_gcs_storage_path"] == "/state/head"
    assert "RAY_gcs_storage" not in node().environment({})


def test_the_token_is_in_the_environment_whatever_was_there() -> None:
    outside = {"PATH": "/bin", "RAY_ADDRESS": "elsewhere", "RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": "/other"}
    env = node().environment(outside)
    assert env["PATH"] == "/bin" and (env["RAY_AUTH_MODE"], env["RAY_AUTH_TOKEN"]) == ("token", "secret")
    assert not {"RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH"} & env.keys()
    assert env["RAY_USAGE_STATS_ENABLED"] == env["RAY_memory_monitor_refresh_ms"] == "0"


@pytest.mark.parametrize(
    ("ray", "python", "words"),
    [
        ("2.61.0", "3.11.7", "it has Ray 2.60.0 instead of 2.61.0, which"),
        ("2.60.0", "3.12.1", "it has Python 3.11.7 instead of 3.12.1, which"),
        ("2.59.1", "3.12.1", "it has Ray 2.60.0 instead of 2.59.1 and Python 3.11.7 instead of 3.12.1, which"),
    ],
)
def test_another_version_is_named(ray: str, python: str, words: str) -> None:
    assert refusal(MISMATCH.format(ray, python).splitlines()).startswith(words)


def test_a_wrong_token_is_named_and_other_failures_may_pass() -> None:
    assert "refuses the token" in refusal(["ray.exceptions.AuthenticationError: Unauthenticated: InvalidAuthToken"])
    assert refusal(["ConnectionError: the head has gone"]) == refusal([]) == ""


def test_the_last_error_is_told_instead_of_what_follows_it() -> None:
    lines = ["OSError: earlier", "ray.exceptions.RaySystemError: System error: no disk", "  at x", "bye"]
    assert last_words(lines) == "System error: no disk"
    assert last_words(["a", "", "  b "]) == "b" and last_words([]) == "it said nothing"


def test_a_process_of_the_node_that_ended_is_named() -> None:
    """Ray prints the last lines of its log, too, and adds the place in its own code to each line."""
    lines = [
        "2026-11-27 19:13:59,702\tERR scripts.py:1307 -- Some Ray subprocesses exited unexpectedly:",
        "2026-11-27 19:13:59,704\tERR scripts.py:87 -- gcs_server [exit code=-9]",
        "2026-11-27 19:13:59,719\tERR scripts.py:115 -- ----- BEGIN gcs_server.out tail (exit code(s)=-9) -----",
        "Error: an old one",
        "2026-11-27 19:13:59,732\tERR scripts.py:1315 -- Remaining processes will be killed.",
    ]
    assert last_words(lines) == "its gcs_server ended with -9"
    assert last_words(lines[:1]) == "Some Ray subprocesses exited unexpectedly:"
