"""How much memory all processes of `up` hold together, embedded servers included, after a first chat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from config.embedded import servers
from config.supervisor.identity import Identity
from config.supervisor.roster import Roster
from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.installed import DidNotAnswer, Installed, installed

TARGET_MB = 1_500.0
MEGABYTE = 1_000_000


def run() -> Figure:
    """RSS counts shared pages once for each process; PSS divides them among those that share."""
    with installed() as ours:
        ours.manage("up", "--detach")
        ours.chat(ours.make_key())
        sizes = {name: _sizes(identity) for name, identity in _programs(ours)}
    return _figure(sizes)


def _figure(sizes: Mapping[str, tuple[float, float]]) -> Figure:
    resident, proportional = (sum(column) for column in zip(*sizes.values(), strict=True))
    return Figure(
        name="resident",
        unit="MB",
        main=Row(what="all processes, RSS", value=resident, target=TARGET_MB),
        beside=(
            Row(what="all processes, PSS", value=proportional),
            *(Row(what=f"{name}, RSS", value=size) for name, (size, _) in sizes.items()),
        ),
    )


def _programs(ours: Installed) -> Iterator[tuple[str, Identity]]:
    roster, found = Roster.read(ours.home), servers.recorded(ours.home)
    if roster is None or found is None:
        raise DidNotAnswer("nothing is up")
    yield "supervisor", roster.supervisor
    yield from ((entry.name, entry.process) for entry in roster.entries)
    yield from (("postgres", found.postgres), ("valkey", found.valkey))


def _sizes(identity: Identity) -> tuple[float, float]:
    """Return RSS and PSS of a program; of all but the supervisor, whose children are listed, with its children."""
    process = identity.find()
    if process is None:
        raise DidNotAnswer(f"process {identity.pid} is gone")
    children = [] if process.name() == "supervisor" else process.children(recursive=True)
    memory = [(each.memory_info().rss, _proportional(each)) for each in (process, *children)]
    resident, proportional = (sum(column) / MEGABYTE for column in zip(*memory, strict=True))
    return resident, proportional


def _proportional(process: psutil.Process) -> int:
    """Return PSS where the system tells it, RSS elsewhere."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup")
    if not rollup.exists():
        return int(process.memory_info().rss)
    line = next(line for line in rollup.read_text().splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) * 1024
