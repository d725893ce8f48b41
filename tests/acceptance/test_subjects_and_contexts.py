"""An answer that comes too late, and a subject that is forgotten, by real processes over HTTP only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.speaking import Consumer, until
from tests.installation import Installation, start

SUBJECT = "reader-quetzal"
ASKED = {"text": "What is new for quetzal?"}


@pytest.fixture(scope="module")
def small_rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose results all go to the object store."""
    installation = start(tmp_path_factory.mktemp("small_rows"), RESULT_INLINE_BYTES="16")
    yield installation
    installation.manage("down")


@pytest.fixture
def consumer(small_rows: Installation) -> Iterator[Consumer]:
    with closing(Consumer(small_rows)) as consumer:
        yield consumer


def submitted(consumer: Consumer, **terms: Any) -> str:
    answer = consumer.http.post("/v1/jobs", json={"endpoint": "personalize@1", "input": ASKED, **terms})
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    return str(answer.json()["id"])


def files_of(installation: Installation, job_id: str) -> list[Path]:
    return list(installation.home.glob(f"objects/*/results/{job_id}/*.json"))


def test_an_answer_of_a_version_that_the_user_has_left_is_withheld(consumer: Consumer) -> None:
    first = submitted(consumer, context={"key": "chat-7", "policy": "withhold"})
    assert consumer.job(first)["state"] == "completed"
    assert consumer.get("/v1/contexts/chat-7")["answer"]["job"] == first

    assert consumer.http.put("/v1/contexts/chat-7").json()["version"] == 2
    refused = consumer.http.get(f"/v1/jobs/{first}/result")
    assert (refused.status_code, refused.json()["code"]) == (409, "result_withheld")
    assert consumer.get(f"/v1/jobs/{first}/result?withheld=show")["output"]["text"]

    second = submitted(consumer, context={"key": "chat-7", "policy": "withhold"})
    assert consumer.job(second)["state"] == "completed"
    assert consumer.get(f"/v1/jobs/{second}/result")["relevance"]["is_current"]
    assert consumer.get("/v1/contexts/chat-7")["answer"]["job"] == second


def test_a_subject_is_forgotten_with_its_files(small_rows: Installation, consumer: Consumer) -> None:
    kept, gone = submitted(consumer), submitted(consumer, subject=SUBJECT)
    assert {consumer.job(job)["state"] for job in (kept, gone)} == {"completed"}
    list(consumer.stream("POST", "/v1/chat", json={"endpoint": "chat@1", "input": ASKED, "subject": SUBJECT}))
    assert len(files_of(small_rows, gone)) == 1

    told = consumer.http.delete(f"/v1/subjects/{SUBJECT}")
    assert told.status_code == httpx.codes.ACCEPTED
    done = until(lambda: consumer.get(told.headers["Location"]), lambda erasure: erasure["finished_at"] is not None, within=60)

    assert (done["jobs_erased"], done["turns_erased"]) == (1, 1)
    assert consumer.http.get(f"/v1/jobs/{gone}/result").json()["code"] == "result_expired"
    assert (consumer.get(f"/v1/jobs/{gone}")["input"], files_of(small_rows, gone)) == ({}, [])
    assert consumer.get(f"/v1/jobs/{kept}/result")["output"]["text"]


def test_the_command_forgets_and_returns_when_it_is_done(small_rows: Installation, consumer: Consumer) -> None:
    job = submitted(consumer, subject=SUBJECT)
    said = small_rows.manage("forget", "--tenant", "acceptance", "--subject", SUBJECT)

    assert "erased 1 jobs and 0 turns" in said
    assert consumer.get(f"/v1/jobs/{job}")["input"] == {}
