"""`load_catalog`: all or nothing, and again without harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection

from agents.models import Purchase, Reader, Title

pytestmark = pytest.mark.django_db

PIPES = {
    "slug": "the-pipes",
    "title": "The Pipes",
    "author": "Ren Example",
    "year": 1991,
    "demographic": "josei",
    "genres": ["drama", "music"],
    "volumes": 4,
    "status": "finished",
    "synopsis": "An organ tuner inherits a village church. The pipes answer at night.",
}
LANTERNS = PIPES | {"slug": "lanterns", "title": "Lanterns", "year": 2004}
BOUGHT = {"slug": "the-pipes", "volume": 2, "at": "2026-08-14", "order": "o-1", "price_usd": 7.5}
READER = {"reader": "r-1", "name": "Mio", "locale": "en", "joined": "2024-01-02", "purchases": [BOUGHT]}

Load = Callable[..., str]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write_and_load(*titles: dict[str, Any] | str, readers: tuple[dict[str, Any], ...] = ()) -> str:
        catalog, customers, said = tmp_path / "catalog.jsonl", tmp_path / "readers.jsonl", StringIO()
        catalog.write_text("\n".join(title if isinstance(title, str) else json.dumps(title) for title in titles))
        customers.write_text("\n".join(json.dumps(reader) for reader in readers))
        call_command("load_catalog", catalog=catalog, readers=customers, stdout=said)
        return said.getvalue()

    return write_and_load


def test_it_loads_and_prints_how_many_rows_are_new(load: Load) -> None:
    assert load(PIPES, readers=(READER,)) == "titles: 1 (1 new)\nreaders: 1 (1 new)\npurchases: 1 (1 new)\n"
    assert load(PIPES, LANTERNS, readers=(READER,)) == "titles: 2 (1 new)\nreaders: 1 (0 new)\npurchases: 1 (0 new)\n"


def test_a_changed_line_changes_its_row_and_leaves_the_others(load: Load) -> None:
    load(PIPES, LANTERNS, readers=(READER,))
    load(PIPES | {"volumes": 5})

    assert list(Title.objects.values_list("slug", "volumes")) == [("lanterns", 4), ("the-pipes", 5)]
    assert Purchase.objects.count() == Reader.objects.count() == 1


@pytest.mark.parametrize("bad", ["{", json.dumps(LANTERNS | {"year": 94}), json.dumps(PIPES)])
def test_a_bad_line_loads_nothing_and_is_named(load: Load, bad: str) -> None:
    with pytest.raises(CommandError, match=r"(?s)Nothing was loaded\.\nline 2: "):
        load(PIPES, bad)
    assert not Title.objects.exists()


def test_a_bad_reader_undoes_the_titles_too(load: Load) -> None:
    with pytest.raises(CommandError, match=r"line 1: purchases\.slug 'nowhere' is not in the catalog"):
        load(PIPES, readers=(READER | {"purchases": [BOUGHT | {"slug": "nowhere"}]},))
    assert not Title.objects.exists()


def test_a_refusal_by_the_database_half_way_undoes_the_titles_too(load: Load) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE agents_reader ADD CONSTRAINT no_reader_is_called_mio CHECK (name <> 'Mio')")

    with pytest.raises(IntegrityError, match="no_reader_is_called_mio"):
        load(PIPES, readers=(READER,))
    assert not Title.objects.exists()


def test_a_purchase_may_be_of_a_title_that_was_loaded_before(load: Load) -> None:
    load(PIPES)
    load(LANTERNS, readers=(READER,))

    assert Purchase.objects.get().title_id == "the-pipes"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"missing\.jsonl cannot be read"):
        call_command("load_catalog", catalog=tmp_path / "missing.jsonl")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"volumes": 0}, "title_has_volumes"),
        ({"genres": []}, "title_has_genres"),
        ({"year": 19}, "title_year_is_plausible"),
        ({"status": "done"}, "title_status_is_known"),
        ({"demographic": "adult"}, "title_demographic_is_known"),
        ({"slug": "The Pipes"}, "title_slug_is_lower_case_words"),
    ],
)
def test_the_table_keeps_the_same_rules(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(IntegrityError, match=rule):
        Title.objects.create(**(PIPES | changes))
