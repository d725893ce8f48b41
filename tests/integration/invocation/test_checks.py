"""What `manage.py check` refuses before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from invocation.checks import check_endpoints


def found() -> list[str]:
    return [message.msg for message in check_endpoints()]


def test_the_installation_is_sound() -> None:
    assert found() == []


def test_a_published_version_that_changed_is_an_error(settings: Any, tmp_path: Path) -> None:
    locked = orjson.loads(Path(settings.ENDPOINT_LOCK).read_bytes())
    locked["chat@1"]["mode"] = "async-queue"
    settings.ENDPOINT_LOCK = tmp_path / "lock.json"
    settings.ENDPOINT_LOCK.write_bytes(orjson.dumps(locked))

    assert found() == ["chat@1: its mode changed from async-queue to streaming-sync. Publish a new version instead."]


def test_an_unpublished_version_is_a_warning(settings: Any, tmp_path: Path) -> None:
    locked = orjson.loads(Path(settings.ENDPOINT_LOCK).read_bytes())
    del locked["voice@1"]
    settings.ENDPOINT_LOCK = tmp_path / "lock.json"
    settings.ENDPOINT_LOCK.write_bytes(orjson.dumps(locked))

    assert found() == ["voice@1 is declared and not published."]


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [("MODEL_PROVIDER", "opnai", "offline, openai, anthropic, bedrock"), ("MODEL_TIERS", {"best": "x"}, "standard, economy")],
)
def test_a_provider_or_tier_that_does_not_exist_is_named(settings: Any, name: str, value: Any, word: str) -> None:
    setattr(settings, name, value)

    assert [name in message and word in message for message in found()] == [True]
