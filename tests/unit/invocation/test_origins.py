from __future__ import annotations

import pytest

from invocation.domain.origins import is_ours

ALLOWED = ("https://shop.example", "https://other.example:8443")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://chat.example:8000", "chat.example:8000"),
        ("http://chat.example", "chat.example:80"),
        ("https://chat.example", "chat.example"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("https://shop.example", "chat.example"),
        ("https://other.example:8443", "chat.example"),
    ],
)
def test_pages_of_the_same_host_and_of_allowed_origins_are_ours(origin: str, host: str) -> None:
    assert is_ours(origin, host=host, allowed=ALLOWED)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://elsewhere.example", "chat.example"),
        ("http://chat.example:8001", "chat.example:8000"),
        ("http://chat.example.elsewhere.example", "chat.example"),
        ("http://shop.example", "chat.example"),
        ("https://other.example", "chat.example"),
        ("null", "chat.example"),
        ("", ""),
        ("http://", ""),
        ("http://chat.example:x", "chat.example:x"),
        ("http://[", "["),
    ],
)
def test_all_other_pages_are_not(origin: str, host: str) -> None:
    assert not is_ours(origin, host=host, allowed=ALLOWED)
