"""A web process that leaves: readiness says so first, then every stream is sent elsewhere."""

from __future__ import annotations

from invocation.services import connections

_is_leaving = False


def announce() -> None:
    """Make this process unready; it still serves."""
    global _is_leaving  # noqa: PLW0603  (one departure a process, begun by its server)
    _is_leaving = True


def is_under_way() -> bool:
    return _is_leaving


def send_away() -> None:
    """Tell every open stream to reconnect, and end it; on the loop only."""
    connections.desk().send_away()


async def last_words() -> None:
    """Tell what was measured and that nothing is open here any more."""
    desk = connections.desk()
    await desk.aclose()
    await desk.report()
