"""API keys as text."""

from __future__ import annotations

import pytest

from quota.domain import keys
from quota.domain.errors import BadKey


def test_a_generated_key_reads_back_as_itself() -> None:
    raw = keys.generate()

    assert keys.split(raw.text) == raw
    assert raw.text.startswith(f"gbx_{raw.prefix}_")


def test_a_key_opens_only_its_own_digest() -> None:
    raw, other = keys.generate(), keys.generate()

    assert raw.opens(raw.digest)
    assert not raw.opens(other.digest)


def test_a_key_never_shows_its_secret_in_a_log() -> None:
    raw = keys.generate()

    assert raw.secret not in repr(raw)


@pytest.mark.parametrize("text", ["", "gbx_", "gbx_short_secret", "Bearer x", "gbx_ABCDEFGH_" + "a" * 43, "gbx_abcdefgh_" + "a" * 42 + " "])
def test_what_has_not_the_form_of_a_key_is_a_bad_key(text: str) -> None:
    with pytest.raises(BadKey):
        keys.split(text)
