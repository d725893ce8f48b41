"""Locations in S3 as words: what is a plain one, and which lies inside which."""

from __future__ import annotations

import re

PLAIN = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/\s\x00-\x1f]+)*")


def plain(location: str) -> str | None:
    """Return an `s3://bucket/prefix` without a `/` at its end; None if it is no such location, or has a step up or in place."""
    found = location.rstrip("/")
    if not PLAIN.fullmatch(found) or {".", ".."} & set(found.split("/")):
        return None
    return found


def is_within(location: str, prefix: str) -> bool:
    """Say whether a plain location is the prefix or lies below it: `s3://a/bc` does not lie below `s3://a/b`."""
    return location == prefix or location.startswith(f"{prefix}/")
