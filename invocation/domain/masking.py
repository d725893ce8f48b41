"""What of a payload an operator may not read: private values are replaced before they are shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

E_MAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")
DIGITS = re.compile(r"(?<![\w-])\d(?:[ -]?\d){12,18}(?![\w-])")
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
PRIVATE_WORDS = frozenset({"secret", "token", "password", "passwd", "passphrase", "authorization", "apikey", "credential", "credentials"})

HIDDEN = "[hidden]"
HIDDEN_E_MAIL = "[e-mail]"
HIDDEN_CARD = "[card number]"


def masked(value: Any) -> Any:
    """Return a JSON value without e-mail addresses, card numbers and the values of keys that name a secret."""
    if isinstance(value, Mapping):
        return {masked_text(str(key)): HIDDEN if is_private(str(key)) else masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    return masked_text(value) if isinstance(value, str) else value


def masked_text(text: str) -> str:
    return DIGITS.sub(_card, E_MAIL.sub(HIDDEN_E_MAIL, text))


def is_private(key: str) -> bool:
    """Say whether a key names a secret: `api_token` and `userPassword` do, a count of `tokens` does not."""
    words = [word.lower() for word in WORDS.findall(key)]
    return not PRIVATE_WORDS.isdisjoint(words) or ("api", "key") in pairwise(words)


def _card(found: re.Match[str]) -> str:
    digits = [int(digit) for digit in found.group() if digit.isdecimal()]
    return HIDDEN_CARD if _is_card_number(digits) else found.group()


def _is_card_number(digits: list[int]) -> bool:
    """Say whether the last digit checks the others (ISO/IEC 7812, Luhn's formula)."""
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
