"""What the docs say is what the code does."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import get_commands

from config.databases import TABLES_OF_BATCH
from invocation.domain.batches import Pause
from invocation.domain.slo import AlertKind
from tests.architecture.documented import BLOCK, REFERENCE, ROOT, TABLES, drawn, variables
from tests.architecture.sources import APPS

CLIENT = ROOT / "invocation" / "client" / "README.md"
PAGES = sorted([ROOT / "README.md", CLIENT, *(ROOT / "docs").rglob("*.md")])
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
BATCHES = (ROOT / "docs" / "how-to" / "batches.md").read_text()
COMMANDS = re.compile(r"manage\.py ([a-z_]+)")
ROW = re.compile(r"^\| `([A-Z][A-Z_]+)` \|([^|]*)\|", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)(#[^)]*)?\)|(?:src|srcset)=\"([^\"]+)\"")
ANCHOR = re.compile(r"\]\(([^)#:]*)(#[^)]+)\)")
ELSEWHERE = ("http://", "https://")


def test_the_tables_of_the_reference_are_drawn_from_the_code() -> None:
    text = REFERENCE.read_text()

    assert {block[2] for block in BLOCK.finditer(text)} == set(TABLES)
    assert text == drawn(text), "draw them anew: python -m tests.architecture.documented"


def test_every_variable_of_the_environment_is_documented_with_its_default() -> None:
    told = {name: default.strip().strip("`") for name, default in ROW.findall(OPERATIONS)}

    assert told.keys() == variables().keys()
    for name, default in variables().items():
        if default:
            assert told[name] == default, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = [found[1] or found[3] for found in LINK.finditer(page.read_text())]
    inside = [target for target in targets if not target.startswith(ELSEWHERE)]

    assert [target for target in inside if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_a_heading_find_it(page: Path) -> None:
    targets = [(page.parent / found[1] if found[1] else page, found[2][1:]) for found in ANCHOR.finditer(page.read_text())]

    assert [name for target, name in targets if name not in headings(target)] == []


def headings(page: Path) -> set[str]:
    """Return the anchors that a reader of Markdown makes of a page's headings."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_the_reference_names_every_command_of_ours() -> None:
    ours = {name for name, app in get_commands().items() if app in APPS}
    _, _, told = REFERENCE.read_text().partition("\n## Commands\n")

    assert {name for name in ours if not re.search(rf"\b{name}\b", told)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_a_page_names_exist(page: Path) -> None:
    assert set(COMMANDS.findall(page.read_text())) - get_commands().keys() == set()


def test_every_figure_is_documented() -> None:
    sources = ("invocation/api/probes.py", "invocation/domain/measures.py")
    names = {name for source in sources for name in re.findall(r'"(gearbox_\w+)"', (ROOT / source).read_text())}
    told = set(re.findall(r"`(gearbox_\w+)`", OPERATIONS))

    assert {name.removesuffix("_total") for name in told} == names


def test_every_alert_and_every_pause_of_a_batch_is_explained() -> None:
    assert [kind for kind in AlertKind if f"`{kind}`" not in OPERATIONS] == []
    assert [code for code in Pause if f"`{code}`" not in OPERATIONS or f"| `{code}` |" not in BATCHES] == []


def test_all_tables_of_batches_and_no_others_are_copied_into_a_database_of_their_own() -> None:
    patterns = re.findall(r"-t '(\w+\*)'", OPERATIONS)
    tables = {(each._meta.app_label, each._meta.model_name): each._meta.db_table for each in apps.get_models()}
    copied = {model for model, table in tables.items() if any(fnmatch(table, pattern) for pattern in patterns)}

    assert copied == TABLES_OF_BATCH


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`((?:config|agents|quota|invocation|evals|tests|docs)/[\w/.-]+\.\w+)`", page.read_text())

    assert [name for name in named if not (ROOT / name).exists()] == []
