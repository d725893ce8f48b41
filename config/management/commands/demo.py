"""`manage.py demo`: starts everything and runs MangaAssist through all four modes on the real catalog."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config import detached, up
from config.embedded.errors import EmbeddedError
from config.env import ROOT, env

TENANT = "demo"
KEY = re.compile(r"gbx_\S+")
SCORED_WITHIN_S = 60
WIDTH = 140
"""Where no terminal says how wide it is."""


class Command(BaseCommand):
    help = "Start everything, run the sample agent through all four modes, show the table by mode and the addresses."
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--exit", action="store_true", help="stop everything at the end; the last line is one JSON object")

    def handle(self, **given: Any) -> None:
        from config.demo.client import DemoFailed

        try:
            if not up.running(env.home):
                self.stdout.write("starting servers and processes …")
                detached.start(env, only=())
            summary = self._judged_whole()
        except (up.UpRefused, EmbeddedError, DemoFailed) as error:
            if given["exit"]:
                _manage("down")
            raise CommandError(str(error)) from error
        if given["exit"]:
            self.stdout.write(_manage("down").strip())
            self.stdout.write(json.dumps(summary))
        if not summary["ok"]:
            raise CommandError("Not every mode completed all that it ran: see the table.")

    def _judged_whole(self) -> dict[str, Any]:
        """Let the judge see every run of the demo, then sample by policy again."""
        _manage("sampling", "1")
        try:
            return self._play()
        finally:
            _manage("sampling", "policy")

    def _play(self) -> dict[str, Any]:
        from rich.console import Console

        from config.demo import table
        from config.demo.client import Client
        from config.demo.story import Story

        console = Console(width=None if sys.stdout.isatty() else WIDTH)
        key = _key()
        since = datetime.now(UTC)
        story = Story(Client(base_url(), key), console, titles=_titles())
        schedules = story.schedule()
        story.chat()
        story.jobs()
        manifest = story.manifest(env.home / "demo")
        _manage("batch", "run", str(manifest), "--endpoint", "enrich@1", "--tenant", TENANT, "--shards", "16", "--watch", shown=True)
        story.fired(schedules)
        report = _report(since)
        table.show(report, console)
        _addresses(console, key)
        return table.summary(report, modes=list(report))


def base_url() -> str:
    return f"http://127.0.0.1:{env.web_port}"


def _key() -> str:
    """Return a fresh key of the demo's tenant."""
    found = KEY.search(_manage("keys", "create", "--tenant", TENANT, "--plan", "house"))
    if found is None:
        raise CommandError("`manage.py keys create` printed no key.")
    return found.group()


def _titles() -> list[str]:
    lines = (ROOT / "agents" / "mangaassist" / "catalog.jsonl").read_text().splitlines()
    return [json.loads(line)["slug"] for line in lines]


def _report(since: datetime) -> dict[str, Any]:
    """Wait until the judge has seen the batch, then read every mode's figures."""
    end = time.monotonic() + SCORED_WITHIN_S
    while True:
        found: dict[str, Any] = json.loads(_manage("modes", "--json", "--since", since.isoformat()))
        if time.monotonic() > end or all(figures["scored"] >= figures["completed"] for figures in found.values()):
            return found
        time.sleep(1)


def _addresses(console: Any, key: str) -> None:
    lines = (
        "",
        f"chat      {base_url()}/#key={key}",
        f"admin     {base_url()}/admin/   {env.admin_user} / {env.admin_password}",
        f"API docs  {base_url()}/docs",
        f"Flower    http://127.0.0.1:{env.flower_port}/   {env.flower_user} / {env.flower_password}",
        "stop      make down",
    )
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _manage(*words: str, shown: bool = False) -> str:
    done = subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, str(ROOT / "manage.py"), *words], cwd=ROOT, stdout=None if shown else subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise CommandError(f"manage.py {' '.join(words)} ended with {done.returncode}. {done.stdout or ''}")
    return done.stdout or ""
