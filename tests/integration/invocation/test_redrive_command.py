"""`manage.py redrive`: counting, opening, following and aborting from a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from invocation.models import Job, Redrive
from invocation.services import redrives
from tests.integration.invocation.records import a_dead_letter, a_named_tenant
from tests.integration.invocation.rows import NOW


def said(*words: Any) -> str:
    out = StringIO()
    call_command("redrive", *map(str, words), stdout=out)
    return out.getvalue()


@pytest.fixture
def beat(transactional_db: None) -> Iterator[None]:
    """Sweep in the background, as beat and the control worker do."""
    ended = threading.Event()

    def ticking() -> None:
        while not ended.wait(0.05):
            redrives.sweep(now=datetime.now(UTC))
        connection.close()

    thread = threading.Thread(target=ticking)
    thread.start()
    yield
    ended.set()
    thread.join()


def test_a_dry_run_counts_and_opens_nothing(db: None) -> None:
    tenant = a_named_tenant("Paper Lantern")
    for columns in (
        {},
        {"tenant_id": tenant},
        {"tenant_id": tenant, "cause": "bad_code"},
        {"tenant_id": tenant, "finished_at": NOW + timedelta(1)},
    ):
        a_dead_letter(**columns)
    by_moment = ("--failed-after", NOW.isoformat(), "--failed-before", (NOW + timedelta(hours=1)).isoformat())

    assert said("--dry-run", "--all") == "4 dead letters match\n"
    assert said("--dry-run", "--endpoint", "personalize@1", "--cause", "provider", "--tenant", "Paper Lantern") == "2 dead letters match\n"
    assert said("--dry-run", *by_moment) == "3 dead letters match\n"
    assert said("--dry-run", "--code", "nothing") == "0 dead letters match\n"
    assert not Redrive.objects.exists()


def test_a_watched_redrive_shows_its_end_and_who_was_refused(beat: None, capfd: pytest.CaptureFixture[str]) -> None:
    good, wrong = a_dead_letter(input={"text": "hello"}), a_dead_letter(input={"text": 7})
    told = said("--cause", "provider", "--rate", "100", "--reason", "it is back", "--watch")

    assert "completed: 1 of 2 started, 1 refused, 100 jobs/s" in told
    assert "1 input_invalid" in told
    assert "2/2" in capfd.readouterr().out
    assert Job.objects.get(redrive_of__isnull=False).redrive_of_id == good.pk
    assert Redrive.objects.get().reason == "it is back"
    assert not Job.objects.filter(redrive_of=wrong.pk).exists()


def test_ids_a_patch_and_todays_agent_are_handed_on(db: None) -> None:
    dead = a_dead_letter(agent="mangaassist@99")
    said("--id", dead.pk, "--input-patch", '{"text": "better"}', "--agent", "current")
    redrives.sweep(now=datetime.now(UTC) + timedelta(seconds=1))
    fresh = Job.objects.get(redrive_of=dead.pk)

    assert (fresh.input, fresh.agent) == ({"text": "better"}, "mangaassist@1")


def test_a_redrive_is_followed_and_aborted_by_its_id(db: None) -> None:
    a_dead_letter()
    redrive_id = said("--all").split()[1]

    assert said("status", redrive_id).startswith("collecting: 0 of 0 started")
    assert said("abort", redrive_id).startswith("aborted")
    with pytest.raises(CommandError, match="aborted"):
        said("status", redrive_id, "--watch")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "Say which"),
        (("--all", "--cause", "provider"), "Say which"),
        (("--all", "--tenant", "Nobody"), "no tenant"),
        (("--all", "--rate", "9999"), "rate"),
        (("--id", str(uuid4())), "no dead letter"),
        (("--all", "--failed-after", "yesterday"), "no moment"),
        (("--all", "--failed-after", "2026-11-20T09:00:00"), "offset"),
        (("--all", "--input-patch", "[1]"), "one JSON object"),
        (("--all", "--input-patch", "{"), "not JSON"),
        (("status",), "by its id"),
        (("abort", str(uuid4())), "no redrive"),
    ],
)
def test_what_makes_no_sense_is_refused(db: None, words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        said(*words)

    assert not Redrive.objects.exists()


def test_watching_ends_when_the_redrive_is_aborted_elsewhere(transactional_db: None) -> None:
    a_dead_letter()
    redrive_id = said("--all", "--rate", "0.1").split()[1]

    def aborting() -> None:
        time.sleep(0.5)
        redrives.abort(UUID(redrive_id), by="another", now=datetime.now(UTC))
        connection.close()

    thread = threading.Thread(target=aborting)
    thread.start()
    with pytest.raises(CommandError, match="aborted"):
        said("status", redrive_id, "--watch")
    thread.join()
