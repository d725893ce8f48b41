"""`manage.py load_catalog`: the sample's titles, readers and purchases, into PostgreSQL."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from agents.domain.catalog_lines import BadCatalog
from agents.services import catalog

FOLDER = Path(__file__).resolve().parents[2] / "mangaassist"
MOST_FAULTS = 20


class Command(BaseCommand):
    help = "Load titles, readers and purchases from JSONL files: all or nothing, again without harm."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--catalog", type=Path, default=FOLDER / "catalog.jsonl", help="one title a line")
        parser.add_argument("--readers", type=Path, default=FOLDER / "readers.jsonl", help="one reader with purchases a line")

    def handle(self, *, catalog: Path, readers: Path, **_options: Any) -> None:
        loaded = _load(_lines(catalog), _lines(readers))
        for kind, counts in loaded.items():
            self.stdout.write(f"{kind}: {counts.lines} ({counts.new} new)")


def _load(titles: list[str], readers: list[str]) -> Any:
    try:
        return catalog.load(titles=titles, readers=readers)
    except BadCatalog as bad:
        shown = [str(fault) for fault in bad.faults[:MOST_FAULTS]]
        raise CommandError("\n".join(["Nothing was loaded.", *shown, *_rest(len(bad.faults) - MOST_FAULTS)])) from None


def _rest(count: int) -> list[str]:
    return [f"and {count} more"] if count > 0 else []


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as missing:
        raise CommandError(f"{path} cannot be read: {missing}. Nothing was loaded.") from None
