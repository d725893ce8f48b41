"""W3C trace context: one traceparent an invocation (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import re
import secrets

_FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def new() -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def taken(header: str | None) -> str:
    """Return the caller's trace with a span of our own below it, or a new trace if the header is none or malformed."""
    if not header or not _FORM.fullmatch(header):
        return new()
    return f"{header[:36]}{secrets.token_hex(8)}{header[52:]}"
