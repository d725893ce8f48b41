"""Tickets: what opens a WebSocket in a key's stead, since a browser cannot send a header with one."""

from __future__ import annotations

from datetime import datetime, timedelta
from secrets import token_urlsafe

from django.core import signing

from invocation.domain.errors import StreamUnavailable
from invocation.gateways import shared_counts
from quota.domain.callers import Caller
from quota.domain.errors import BadKey
from quota.services import keys

LIFE = timedelta(seconds=60)
SALT = "gearbox.websocket.ticket"


def issue(prefix: str) -> str:
    """Return a ticket of the key with this prefix. It opens one connection within a minute and holds no secret."""
    return signing.TimestampSigner(salt=SALT).sign(f"{prefix}.{token_urlsafe(12)}")


def redeem(ticket: str, *, now: datetime) -> Caller:
    """Return whose ticket it is; it is used up by that.

    Raises BadKey for one that is forged, too old or used, KeyRevoked since a ticket never outlives
    its key, and StreamUnavailable while nobody can say whether it was used.
    """
    try:
        told = signing.TimestampSigner(salt=SALT).unsign(ticket, max_age=LIFE)
    except signing.BadSignature:
        raise BadKey("This ticket is not valid, or older than a minute: buy another with POST /v1/tickets.") from None
    prefix, _, number = told.partition(".")
    if not _is_first_use(number):
        raise BadKey("This ticket was used: each opens one connection. Buy another with POST /v1/tickets.")
    return keys.vouch(prefix, now=now)


def _is_first_use(number: str) -> bool:
    try:
        return shared_counts.take_once(f"ticket:{number}", within_s=int(LIFE.total_seconds()) + 1)
    except shared_counts.GONE:
        raise StreamUnavailable("Tickets cannot be checked: the stream store cannot be reached.", retry_after=LIFE / 30) from None
