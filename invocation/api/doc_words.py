"""Sentences as a page shows them: the code inside a sentence as code."""

from __future__ import annotations

import re

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

CODE = re.compile(r"`([^`]+)`")


def marked(text: str) -> SafeString:
    """Escape the text and put what stands between backticks into <code>."""
    return mark_safe(CODE.sub(r"<code>\1</code>", escape(text)))  # noqa: S308  (escaped first)
