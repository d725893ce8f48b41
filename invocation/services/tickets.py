"""Tickets: what opens a WebSocket in a key's stead, since a browser cannot send a header with one."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.core import signing

from quota.domain.callers import Caller
from quota.domain.errors import BadKey
from quota.services import keys

LIFE = timedelta(seconds=60)
SALT = "gearbox.websocket.ticket"


def issue(prefix: str) -> str:
    """Return a ticket of the key with this prefix. It opens connections for a minute and holds no secret."""
    return signing.TimestampSigner(salt=SALT).sign(prefix)


def redeem(ticket: str, *, now: datetime) -> Caller:
    """Return whose ticket it is. Raises BadKey or KeyRevoked: a ticket never outlives its key."""
    try:
        prefix = signing.TimestampSigner(salt=SALT).unsign(ticket, max_age=LIFE)
    except signing.BadSignature:
        raise BadKey("This ticket is not valid, or older than a minute: buy another with POST /v1/tickets.") from None
    return keys.vouch(prefix, now=now)
