"""What the docs say is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.architecture.documented import BLOCK, REFERENCE, ROOT, TABLES, drawn, variables

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
ROW = re.compile(r"^\| `([A-Z][A-Z_]+)` \|([^|]*)\|", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)(#[^)]*)?\)|(?:src|srcset)=\"([^\"]+)\"")
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
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`((?:config|agents|quota|invocation|evals|tests|docs)/[\w/.-]+\.\w+)`", page.read_text())

    assert [name for name in named if not (ROOT / name).exists()] == []
