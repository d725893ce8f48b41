"""`manage.py status`: what runs, since when, and where to find it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import psutil
from django.core.management.base import BaseCommand
from rich.console import Console
from rich.table import Table

from config import up
from config.embedded import servers
from config.embedded.errors import ServerName
from config.env import env
from config.supervisor.identity import Identity

MEGABYTE = 1_000_000
SERVERS = frozenset(ServerName)
COLUMNS = (("program", "left"), ("pid", "right"), ("up since (UTC)", "left"), ("restarts", "right"), ("resident MB", "right"))


class Command(BaseCommand):
    help = "Show programs, servers and addresses. Ends with code 1 when nothing is up."
    requires_system_checks = []
    requires_migrations_checks = False

    def handle(self, **_options: Any) -> None:
        roster = up.running(env.home)
        rows = [("up", roster.supervisor, "")] if roster else []
        rows += [(entry.name, entry.process, str(entry.restarts)) for entry in roster.entries] if roster else []
        Console().print(_table([*rows, *_servers()]))
        if roster is None:
            self.stdout.write("not up: start with `manage.py up`")
            sys.exit(1)
        for name, address in _addresses().items():
            self.stdout.write(f"{name:<8} {address}")


def _servers() -> list[tuple[str, Identity, str]]:
    found = servers.recorded(env.home)
    return [(ServerName.POSTGRES, found.postgres, ""), (ServerName.VALKEY, found.valkey, "")] if found else []


def _addresses() -> dict[str, str]:
    web = f"http://127.0.0.1:{env.web_port}"
    return {"chat": f"{web}/", "admin": f"{web}/admin/", "API docs": f"{web}/docs", "flower": f"http://127.0.0.1:{env.flower_port}/"}


def _table(rows: list[tuple[str, Identity, str]]) -> Table:
    table = Table(title=f"Gearbox in {env.home}")
    for heading, side in COLUMNS:
        table.add_column(heading, justify="right" if side == "right" else "left")
    sizes = [_resident(process) + (_children(process) if name in SERVERS else 0) for name, process, _restarts in rows]
    for (name, process, restarts), size in zip(rows, sizes, strict=True):
        table.add_row(name, str(process.pid), _since(process) if size else "gone", restarts, f"{size:.0f}")
    table.add_section()
    table.add_row("together", "", "", "", f"{sum(sizes):.0f}")
    return table


def _since(identity: Identity) -> str:
    return datetime.fromtimestamp(identity.created, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def _children(identity: Identity) -> float:
    """Return the megabytes of a server's children, without those that they share."""
    process = identity.find()
    try:
        each = [child.memory_info() for child in process.children(recursive=True)] if process else []
    except psutil.Error:
        return 0.0
    return float(sum(size.rss - getattr(size, "shared", 0) for size in each)) / MEGABYTE


def _resident(identity: Identity) -> float:
    """Return the megabytes of this process alone, 0 when it is gone."""
    process = identity.find()
    try:
        return process.memory_info().rss / MEGABYTE if process else 0.0
    except psutil.Error:
        return 0.0
