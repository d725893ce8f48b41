"""How much memory all processes of `up` hold together, embedded servers included, after a first chat."""

from __future__ import annotations

from collections.abc import Mapping

import psutil

from config.embedded import servers
from config.supervisor.identity import Identity
from config.supervisor.roster import Roster
from tests.benchmarks.figure import Figure, Row
from tests.benchmarks.installed import DidNotAnswer, Installed, installed
from tests.benchmarks.staging.memory import proportional_mb, resident_mb, tree

TARGET_MB = 1_500.0


def run() -> Figure:
    """RSS counts shared pages once for each process; PSS divides them among those that share."""
    with installed() as ours:
        ours.manage("up", "--detach")
        ours.chat(ours.make_key())
        return _figure({name: (resident_mb(found), proportional_mb(found)) for name, found in _trees(ours).items()})


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


def _trees(ours: Installed) -> dict[str, list[psutil.Process]]:
    """Return the processes of each program with its descendants; the supervisor has what is left of its own."""
    roster, found = Roster.read(ours.home), servers.recorded(ours.home)
    if roster is None or found is None:
        raise DidNotAnswer("nothing is up")
    programs = {entry.name: entry.process for entry in roster.entries} | {"postgres": found.postgres, "valkey": found.valkey}
    trees = {name: _tree(identity) for name, identity in programs.items()}
    listed = {process.pid for tree in trees.values() for process in tree}
    return {"supervisor": [process for process in _tree(roster.supervisor) if process.pid not in listed], **trees}


def _tree(identity: Identity) -> list[psutil.Process]:
    process = identity.find()
    if process is None:
        raise DidNotAnswer(f"process {identity.pid} is gone")
    return tree(process)
