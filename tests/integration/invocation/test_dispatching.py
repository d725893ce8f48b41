"""What the dispatcher hears: nothing that was said is left for a later round."""

from __future__ import annotations

import time
from uuid import uuid4

from invocation.gateways.hints import CHANNEL
from invocation.gateways.presence import own_connection
from invocation.services.dispatching import _heard


def test_whatever_was_said_by_now_is_heard_at_once(transactional_db: None) -> None:
    tenants = {uuid4() for _ in range(50)}
    with own_connection() as listening, own_connection() as speaking:
        listening.execute(f"LISTEN {CHANNEL}")
        for tenant in tenants:
            speaking.execute("SELECT pg_notify(%s, %s)", [CHANNEL, f"p1 {tenant}"])
        time.sleep(0.05)

        assert _heard(listening, timeout=5.0) == {"p1": tenants}
        assert _heard(listening, timeout=0.0) == {}
