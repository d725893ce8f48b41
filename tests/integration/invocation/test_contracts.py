"""The lock file of published contracts: it pins each version, grows, and never forgets one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from invocation.domain.endpoints import Endpoint
from invocation.domain.errors import ContractBroken
from invocation.domain.modes import Mode, WaitKind
from invocation.gateways import declared
from invocation.services import contracts


@pytest.fixture
def lock(settings: Any, tmp_path: Path) -> Path:
    settings.ENDPOINT_LOCK = tmp_path / "endpoints.lock.json"
    return tmp_path / "endpoints.lock.json"


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that changes what this installation declares."""
    book = dict(declared.book().by_label)

    def declaring(label: str, endpoint: Endpoint | None) -> None:
        book.pop(label, None)
        if endpoint is not None:
            book[endpoint.label] = endpoint
        monkeypatch.setattr(declared, "book", lambda: type(declared_book)(dict(book)))

    declared_book = declared.book()
    return declaring


def chat() -> Endpoint:
    return declared.book().by_label["chat@1"]


def test_publishing_pins_every_version_and_again_changes_nothing(lock: Path) -> None:
    labels = sorted(declared.book().by_label)
    assert (contracts.broken(), contracts.unpublished()) == ([], labels)

    assert contracts.publish() == labels
    content = lock.read_bytes()
    assert contracts.publish() == contracts.unpublished() == []
    assert lock.read_bytes() == content
    assert json.loads(content)["chat@1"]["mode"] == "streaming-sync"


def test_what_this_installation_published_is_kept() -> None:
    assert contracts.broken() == []
    assert contracts.unsound() == []


def test_a_changed_contract_is_named_and_not_published(lock: Path, declare: Any) -> None:
    contracts.publish()
    content = lock.read_bytes()
    declare("chat@1", replace(chat(), mode=Mode.ASYNC_QUEUE))

    assert any(why.startswith("chat@1: its mode changed") for why in contracts.broken())
    with pytest.raises(ContractBroken, match="chat@1"):
        contracts.publish()
    assert lock.read_bytes() == content


def test_a_published_version_that_is_gone_is_a_break(lock: Path, declare: Any) -> None:
    contracts.publish()
    declare("chat@1", None)

    assert [why.split(" ")[0] for why in contracts.broken()] == ["chat@1"]


def test_a_retired_version_and_a_new_one_are_no_break(lock: Path, declare: Any) -> None:
    contracts.publish()
    first = chat()
    declare("chat@1", replace(first, successor="chat@2"))
    declare("chat@2", replace(first, version=2, input_schema={"type": "object"}))

    assert contracts.broken() == []
    assert contracts.publish() == ["chat@2"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"agent": "nobody"}, "no agent nobody@1"),
        ({"may_wait": frozenset({WaitKind.PERSON})}, "cannot wait for person"),
        ({"sibling": "nowhere@1"}, "nowhere@1 is no job endpoint"),
        ({"sibling": "voice@1"}, "voice@1 is no job endpoint"),
    ],
)
def test_what_is_wrong_with_a_declaration_is_named(declare: Any, changed: dict[str, Any], words: str) -> None:
    declare("chat@1", replace(chat(), **changed))

    assert [words in why for why in contracts.unsound()] == [True]
