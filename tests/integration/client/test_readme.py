"""Every snippet of the client's README runs as written, in order, against a running installation."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from invocation.domain import webhooks
from tests.installation import ROOT, Installation
from tests.integration.client.surface import members

README = (ROOT / "invocation" / "client" / "README.md").read_text()
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BODY = b'{"type":"job.completed","timestamp":"2026-11-20T12:00:00+00:00","data":{"job_id":"j-7","state":"completed"}}'


def test_every_snippet_runs(up: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "readme"}
    snippets = SNIPPET.findall(README)
    assert len(snippets) == README.count("```python")
    for snippet in snippets:
        exec(snippet.replace("https://gearbox.example", up.base_url).replace("gbx_KEY", up.key), names)  # noqa: S102
    names["gearbox"].close()
    said = capsys.readouterr().out

    assert "job.completed" in said
    assert "Progress(rows_done=" in said
    assert "input_invalid /input/text" in said


def test_the_receiver_of_webhooks_takes_ours_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(SNIPPET.findall(README)[-1], names)  # noqa: S102
    (secret,) = names["SECRETS"]
    told = webhooks.headers(uuid4(), BODY, secrets=[secret], now=datetime.now(UTC))

    assert names["receive"](BODY, told) == 204
    assert names["receive"](BODY + b" ", told) == 400
    assert "job.completed j-7" in capsys.readouterr().out


def test_the_table_of_calls_names_every_call() -> None:
    rows = re.findall(r"^\| `?(\w*)`? ?\|([^|]*)\|$", README, re.MULTILINE)
    told = {f"{group}.{call}".strip(".") for group, calls in rows for call in re.findall(r"`(\w+)`", calls)}

    assert told == set(members())
