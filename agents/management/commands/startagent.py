"""`manage.py startagent NAME`: a new agent with a skill, a rubric and a test that passes."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from agents.services import starting

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"


class Command(BaseCommand):
    help = "Write a new agent: agent.py, skills.py, rubric.py and a test with the harness."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the agent's and the package's name, such as tea_adviser")
        parser.add_argument("--dir", type=Path, default=Path.cwd(), dest="folder", help="where the package goes (here, if not given)")

    def handle(self, *, name: str, folder: Path, **_options: Any) -> None:
        try:
            target = starting.start(name, folder=folder, templates=TEMPLATES)
        except (starting.BadAgentName, starting.FolderExists) as refused:
            raise CommandError(str(refused)) from None
        except OSError as broken:
            raise CommandError(f"{folder} cannot be written: {broken}. Nothing was written.") from None
        self.stdout.write(f"{target} is written. Try it: python -m pytest {target}")
        self.stdout.write(f'Then name "{name}.agent" in AGENT_MODULES and declare an endpoint for {name}@1.')
