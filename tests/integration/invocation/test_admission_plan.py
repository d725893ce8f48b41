"""What a round of admission costs does not grow with the backlog: its plan walks the indexes of what waits, however much that is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection

from invocation.domain.jobs import Move
from invocation.gateways.presence import own_connection
from invocation.models import Job
from invocation.selectors.admission import SCENE
from invocation.services import lifecycle
from invocation.services.admission import MOST_A_ROUND, PICK, TENANTS_A_ROUND
from invocation.services.searching import FRONT
from tests.integration.invocation.rows import NOW, a_job

pytestmark = pytest.mark.django_db(transaction=True)
TENANTS, FEW, MANY = 20, 40, 1_000
A_SHARE = 8
ADMIT = lifecycle.ADMISSION.format(picked=PICK, facts=lifecycle.FACTS[Move.ADMIT])
OFF = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan", "jit")


def queue(tenants: list[UUID], *, each: int) -> None:
    """Queue so many jobs of each tenant."""
    like = a_job()
    values = {field.attname: getattr(like, field.attname) for field in Job._meta.concrete_fields if not field.primary_key}
    jobs = (Job(**{**values, "tenant_id": tenant}, id=uuid4()) for tenant in tenants for _ in range(each))
    Job.objects.bulk_create(jobs, batch_size=5_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE invocation_job")


def explained(session: psycopg.Connection[Any], statement: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Run the statement, take back what it changed, and return its plan as it went."""
    with session.transaction(force_rollback=True):
        [(plans,)] = session.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement, given).fetchall()
    [plan] = plans if isinstance(plans, list) else json.loads(plans)
    return dict(plan["Plan"])


def cost(tenants: list[UUID]) -> Mapping[str, dict[str, Any]]:
    """Return the plans of a round's two statements, as the dispatcher's session makes them."""
    all_of = [*tenants][:TENANTS_A_ROUND]
    round_of = {"tenants": all_of, "shares": [A_SHARE] * len(all_of), "weights": [1] * len(all_of), "had": [0] * len(all_of)}
    with own_connection() as session:
        for setting in OFF:
            session.execute(f"SET {setting} = off")
        return {
            "look": explained(session, SCENE, {"class": "p1", "after": UUID(int=0), "most": TENANTS_A_ROUND, "now": NOW}),
            "admit": explained(session, ADMIT, {**round_of, "class": "p1", "most": MOST_A_ROUND, "front": FRONT, "now": NOW}),
        }


def blocks(plan: Mapping[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


def scans(plan: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return how the jobs were read: by which kind of scan, and of which index."""
    here = {(plan["Node Type"], plan.get("Index Name", ""))} if plan.get("Relation Name") == "invocation_job" else set()
    return here.union(*(scans(part) for part in plan.get("Plans", ())))


def test_a_round_reads_as_much_behind_a_long_backlog_as_behind_a_short_one() -> None:
    tenants = [uuid4() for _ in range(TENANTS)]
    queue(tenants, each=FEW)
    short = cost(tenants)
    queue(tenants, each=MANY)
    long = cost(tenants)

    for statement, plan in long.items():
        assert blocks(plan) < 3 * blocks(short[statement]), statement  # of 26 times the jobs: an index is a level higher
        assert not [scan for scan in scans(plan) if "Seq Scan" in scan[0] or "Bitmap" in scan[0]], statement
        assert {index for _, index in scans(plan) if index} >= {"job_ready"}, statement
