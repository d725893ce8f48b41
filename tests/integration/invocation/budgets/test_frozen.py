"""A worker that froze goes on once it wakes, beside its successor: together they spend no more than a turn, or a batch, may."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest

from invocation.domain.budgets import Wish
from invocation.domain.errors import StaleMove
from invocation.domain.manifests import form_of
from invocation.domain.turns import TurnState
from invocation.gateways import declared, objects
from invocation.gateways.database import off_loop
from invocation.models import Batch, Shard, Turn
from invocation.services import accounts, batch_openings, batches, turns
from invocation.services.accounts import TurnAccount, remaining_of_turn
from invocation.services.batch_openings import BatchOpening
from invocation.services.bills import Bill
from invocation.services.manifests import Manifest
from invocation.services.shard_engine import ShardEngine
from quota.domain.budgets import Budget, Spending
from quota.domain.ledger import LedgerLine
from tests.integration.invocation.budgets.spender import GATES
from tests.integration.invocation.conftest import OnLoop, until
from tests.integration.invocation.rows import NOW, a_turn
from tests.integration.invocation.workers import turn_worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wiped")]
TWO_HUNDRED = {"calls": 200, "gate": "both"}


@pytest.fixture
def paid(monkeypatch: pytest.MonkeyPatch) -> list[LedgerLine]:
    """Each call that was really made, in whichever process, also in one that may book nothing any more."""
    lines: list[LedgerLine] = []
    add = Bill.add

    def heard(self: Bill, line: LedgerLine) -> None:
        lines.append(line)
        add(self, line)

    monkeypatch.setattr(Bill, "add", heard)
    return lines


def asked(given: dict[str, Any], **columns: Any) -> Turn:
    terms = {"deadline": datetime.now(UTC) + timedelta(seconds=40), "latency_budget_ms": 40_000, "call_cap": 1_000, **columns}
    return a_turn(now=datetime.now(UTC), agent="spender@1", endpoint="spender-chat@1", input=given, **terms)


class Gate(asyncio.Event):
    """Knows how many have come to it."""

    stand_here = 0

    async def wait(self) -> Literal[True]:
        self.stand_here += 1
        return await super().wait()


def frozen_and_awake(on_loop: OnLoop[Any], turn: Turn, *, frozen_at: Callable[[Gate], bool]) -> None:
    """Let a first attempt come to this point, a second begin as well, and both go on together to their ends."""

    async def story() -> None:
        gate = GATES["both"] = Gate()
        async with turn_worker() as frozen, turn_worker() as awake:
            frozen.accept([turn.pk])
            await until(lambda: frozen_at(gate))
            await off_loop(turns.requeue_orphans, now=datetime.now(UTC))
            awake.accept([turn.pk])
            await until(lambda: gate.stand_here == 2)
            gate.set()
            await until(lambda: frozen.in_flight == awake.in_flight == 0, within_s=50)

    on_loop(story())
    turn.refresh_from_db()


def test_a_frozen_attempt_and_its_successor_together_spend_no_more_than_the_turn_may(on_loop: OnLoop[Any], paid: list[LedgerLine]) -> None:
    """Both run in earnest: the first stands at a gate while the second takes its turn, then both ask for two hundred calls."""
    turn = asked(TWO_HUNDRED, call_cap=40)

    frozen_and_awake(on_loop, turn, frozen_at=lambda gate: gate.stand_here == 1)

    assert (turn.state, turn.attempt) == ("completed", 2)
    assert 30 <= len(paid) <= turn.call_cap


def test_an_attempt_that_has_set_all_aside_leaves_its_successor_nothing_of_the_turn(on_loop: OnLoop[Any], paid: list[LedgerLine]) -> None:
    turn = asked({**TWO_HUNDRED, "first": True}, call_cap=1)

    frozen_and_awake(on_loop, turn, frozen_at=lambda _: len(paid) == 1)

    assert (turn.state, turn.attempt) == ("completed", 2)
    assert (turn.output or {})["made"] == {"call_budget_exceeded": 200}
    assert len(paid) == 1


def test_a_turn_that_needs_a_quarter_of_its_caps_writes_nothing_and_one_that_needs_more_does(on_loop: OnLoop[Any]) -> None:
    turn = a_turn(TurnState.WORKING, attempt=1, call_cap=20)
    budget = Budget(remaining_of_turn(turn))
    account = TurnAccount(turn, budget)
    found = []

    async def story() -> None:
        for _ in range(7):
            budget.reserve(Spending(calls=1))
            await account.hold(Spending(calls=1))
            found.append(await off_loop(Turn.objects.values_list("held_calls", flat=True).get, pk=turn.pk))

    on_loop(story())
    assert found == [0, 0, 0, 0, 0, 7, 7]
    turn.refresh_from_db()
    turn.attempt = 2
    assert remaining_of_turn(turn).calls == 20 - 5 - 7


def test_an_attempt_that_lost_its_turn_sets_nothing_more_aside() -> None:
    turn = a_turn(TurnState.WORKING, attempt=1)
    Turn.objects.filter(pk=turn.pk).update(attempt=2)

    with pytest.raises(StaleMove):
        accounts.hold_of_turn(turn, Spending(calls=1))
    assert Turn.objects.get(pk=turn.pk).held_calls == 0


def opened(rows: list[dict[str, Any]], **wish: Any) -> Batch:
    tenant = uuid4()
    path = Path(objects.store_of(tenant).at("manifests/frozen.jsonl"))
    objects.write_whole(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
    of = Manifest(location=str(path), form=form_of(path.name), row_id=None)
    endpoint = declared.book().find("spender-batch@1")
    return batch_openings.open_batch(BatchOpening(tenant_id=tenant, endpoint=endpoint, manifest=of, wish=Wish(**wish), shards=1), now=NOW)


def test_a_frozen_attempt_and_its_successor_together_spend_no_more_than_the_batch_may(
    on_loop: OnLoop[Any], paid: list[LedgerLine], settings: Any, tmp_path: Path
) -> None:
    """The first has paid for its rows' first calls when the second takes its shard; then both ask for hundreds."""
    settings.OBJECT_STORE = str(tmp_path)
    batch = opened([{"row_id": f"row-{number}", **TWO_HUNDRED, "first": True, "raises": True} for number in range(4)], model_calls=64)
    Batch.objects.filter(pk=batch.pk).update(state="running", started_at=NOW)
    shard_id = batch.shards.get().pk

    async def story() -> None:
        GATES["both"] = asyncio.Event()
        frozen, awake = ShardEngine(owner=uuid4()), ShardEngine(owner=uuid4())
        asleep = asyncio.create_task(frozen.run(shard_id))
        await until(lambda: len(paid) == 4)
        assert await off_loop(batches.rescue_shards, now=datetime.now(UTC)) == 1
        beside = asyncio.create_task(awake.run(shard_id))
        await until(lambda: off_loop(Shard.objects.filter(pk=shard_id, attempt=2).exists))
        GATES["both"].set()
        await asyncio.wait_for(asyncio.gather(asleep, beside), 50)

    on_loop(story())
    batch.refresh_from_db()

    assert 60 <= len(paid) <= batch.call_cap == 64
    assert (batch.state, (batch.pause or {})["code"]) == ("paused", "cost_ceiling")
    assert "Workers that were lost may have spent" in (batch.pause or {})["sentence"]
