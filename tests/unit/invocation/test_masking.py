"""What of a payload an operator may read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invocation.domain.masking import HIDDEN, HIDDEN_CARD, HIDDEN_E_MAIL, is_private, masked, masked_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize("text", ["naoko@example.org", "n.o+x@mail.example.co.jp", "<kim_1@example.org>"])
def test_an_e_mail_address_is_not_shown(text: str) -> None:
    assert "@" not in masked_text(f"Write to {text} today.")
    assert HIDDEN_E_MAIL in masked_text(f"Write to {text} today.")


@pytest.mark.parametrize("text", ["4111 1111 1111 1111", "4111-1111-1111-1111", "5500005555555559", "340000000000009"])
def test_a_card_number_is_not_shown(text: str) -> None:
    assert masked_text(f"paid with {text}.") == f"paid with {HIDDEN_CARD}."


@pytest.mark.parametrize("text", ["4111 1111 1111 1112", "1234567890123456", "01a1f9d1-c59d-7278-bd0a-304213110040", "2026-11-20 16:37:17"])
def test_other_digits_are_shown(text: str) -> None:
    assert masked_text(text) == text


@pytest.mark.parametrize("key", ["secret", "api_token", "userPassword", "API_KEY", "apiKey", "client-secret", "Authorization"])
def test_what_a_private_key_holds_is_not_shown(key: str) -> None:
    assert masked({"a": [{key: {"deep": "x"}}]}) == {"a": [{key: HIDDEN}]}


@pytest.mark.parametrize("key", ["tokens", "input_tokens", "keyboard", "secretary", "title", "key"])
def test_other_keys_are_shown(key: str) -> None:
    assert not is_private(key)


@given(JSON)
def test_masking_twice_changes_nothing_more(value: object) -> None:
    assert masked(masked(value)) == masked(value)
