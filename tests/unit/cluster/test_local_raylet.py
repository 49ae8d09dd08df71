"""Which node of this machine the sidecar attaches to."""

from __future__ import annotations

from app.cluster.local_raylet import LocalRaylet, choose_raylet

HEAD, ELSEWHERE = "10.0.0.1:6379", "10.9.9.9:6379"
OWN = {"10.0.0.1", "127.0.0.1"}
THE_HEAD = LocalRaylet("10.0.0.1", "/tmp/h", HEAD, True)
JOINED = LocalRaylet("10.0.0.1", "/tmp/n", HEAD, False)


def test_a_raylet_is_read_from_its_command_line() -> None:
    argv = [
        "/x/ray/raylet/raylet",
        "--node_ip_address=10.0.0.1",
        "--temp_dir=/tmp/h",
        f"--gcs-address={HEAD}",
        "--head",
    ]
    assert LocalRaylet.of(argv) == THE_HEAD
    assert LocalRaylet.of([*argv[:-1], "--labels={a=b}"]) == THE_HEAD._replace(is_head=False)
    assert LocalRaylet.of(["/bin/cat", "--node_ip_address=1"]) is LocalRaylet.of([]) is LocalRaylet.of(argv[:2]) is None


def test_a_node_beside_the_head_comes_first() -> None:
    """The engines stay when the head is restarted."""
    assert choose_raylet([THE_HEAD, JOINED], HEAD, OWN) == JOINED
    assert choose_raylet([THE_HEAD], HEAD, OWN) == THE_HEAD


def test_another_container_and_another_cluster_are_left_alone() -> None:
    other = LocalRaylet("10.0.0.2", "/tmp/o", HEAD, False)
    foreign = LocalRaylet("10.0.0.1", "/tmp/f", ELSEWHERE, False)
    assert choose_raylet([other], HEAD, OWN) is None
    assert choose_raylet([other, foreign, THE_HEAD], HEAD, OWN) == THE_HEAD
    assert choose_raylet([foreign], "head.example:6379", OWN) == foreign
