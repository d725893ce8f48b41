"""What must never be shown: contact details, card numbers, and the ids of other readers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from agents.domain.contract import Finding
from agents.domain.values import Plan

E_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}(?!\w)")
CARD = re.compile(r"(?<![\w-])(?:\d[ -]?){12,18}\d(?![\w-])")
PHONE = re.compile(r"(?<![\w-])(?:\+\d{1,3}[ .-]?(?:\(\d+\)[ .-]?)?|\(\d{2,5}\)[ .-]?|0\d{1,4}[ .-])\d(?:[ .-]?\d){5,11}(?![\w-])")
READER = re.compile(r"(?<![\w-])r-\d{3,}(?![\w-])")


def no_private_data(text: str, plan: Plan) -> Finding | None:
    """Object to contact details, card numbers and other readers' ids. The objection does not repeat them."""
    return next((Finding("no_private_data", f"The answer shows {what}.") for what in _shown(text, plan)), None)


def _shown(text: str, plan: Plan) -> Iterable[str]:
    if E_MAIL.search(text):
        yield "an e-mail address"
    if any(_is_card(found[0]) for found in CARD.finditer(text)):
        yield "a payment card number"
    if PHONE.search(text):
        yield "a phone number"
    if any(found[0] != plan.facts.get("reader") for found in READER.finditer(text)):
        yield "the id of another reader"


def _is_card(found: str) -> bool:
    """Check Luhn's sum; a book's number (978 or 979 and ten digits) may fulfil it by chance and is public."""
    digits = [int(each) for each in found if each.isdigit()]
    if len(digits) == 13 and digits[:3] in ([9, 7, 8], [9, 7, 9]):
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
