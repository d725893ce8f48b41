"""What the dispatcher hears: nothing that was said is left for a later round, and nothing is forgotten in one."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.db import OperationalError, connection

from invocation.gateways import statements
from invocation.gateways.hints import CHANNEL
from invocation.gateways.presence import own_connection
from invocation.models import Job
from invocation.services import mending
from invocation.services.dispatching import Dispatcher, _heard
from tests.integration.invocation.rows import a_job, a_process, a_tenant


def test_whatever_was_said_by_now_is_heard_at_once(transactional_db: None) -> None:
    tenants = {uuid4() for _ in range(50)}
    with own_connection() as listening, own_connection() as speaking:
        listening.execute(f"LISTEN {CHANNEL}")
        for tenant in tenants:
            speaking.execute("SELECT pg_notify(%s, %s)", [CHANNEL, f"p1 {tenant}"])
        time.sleep(0.05)

        assert _heard(listening, timeout=5.0) == {"p1": tenants}
        assert _heard(listening, timeout=0.0) == {}


def test_a_newcomer_who_is_heard_of_in_a_round_that_looks_everywhere_comes_first_all_the_same(transactional_db: None) -> None:
    a_process(slots=1, now=datetime.now(UTC))
    early, newcomer = sorted(a_tenant("house") for _ in range(2))
    waiting, first = a_job(tenant_id=early), a_job(tenant_id=newcomer)

    assert Dispatcher().round({"p1": {newcomer}}) == 1
    assert {job.pk: job.state for job in Job.objects.all()} == {waiting.pk: "queued", first.pk: "dispatched"}


def test_who_has_a_job_under_way_or_one_that_waits_is_no_newcomer(transactional_db: None) -> None:
    a_process(slots=1, now=datetime.now(UTC))
    at_work, waiting, new = sorted(a_tenant("house") for _ in range(3))
    dispatcher = Dispatcher()
    a_job(tenant_id=at_work)
    dispatcher.round()
    a_job(tenant_id=waiting)
    dispatcher.round()

    assert [dispatcher._has_newcomer({"p1": heard}) for heard in (set(), {at_work, waiting}, {at_work, new})] == [False, False, True]


def test_what_was_mended_is_looked_for_though_nobody_submitted(transactional_db: None) -> None:
    a_process(slots=1, now=datetime.now(UTC))
    dispatcher = Dispatcher()
    assert dispatcher.round() == 0
    a_job(tenant_id=a_tenant("house"))

    assert dispatcher.round({"p1": set()}) == 0
    dispatcher._look_everywhere()
    assert dispatcher.round({"p1": set()}) == 1


def test_a_mend_that_fails_stops_no_other_and_a_lost_database_stops_them_all() -> None:
    def broken(now: datetime) -> int:
        raise KeyError("x@2")

    def cut_off(now: datetime) -> int:
        raise OperationalError("the connection is lost")

    assert [mending._tried(mend) for mend in (broken, lambda _: 3)] == [0, 3]
    with pytest.raises(OperationalError):
        mending._tried(cut_off)


def test_who_admits_waits_for_no_disk_and_nobody_has_that_connection_afterwards(transactional_db: None) -> None:
    with statements.admitting():
        assert setting("synchronous_commit") == "off"
        session = connection.connection.info.backend_pid

    assert setting("synchronous_commit") == "on"
    assert connection.connection.info.backend_pid != session


def setting(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return str(cursor.fetchone()[0])
