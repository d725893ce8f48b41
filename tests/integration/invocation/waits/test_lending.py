"""Money of a tree: lent before a child exists, given back when it ends, and never spent twice."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from invocation.domain import waits
from invocation.domain.budgets import Wish
from invocation.domain.waits import cap_of_each
from invocation.models import Job
from invocation.services import job_runs, jobs, spawning
from quota.domain.budgets import of_money
from quota.models import LedgerEntry
from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.waits.family import DONE
from tests.integration.invocation.waits.playing import children_of, gave, played, played_to_rest, queued

pytestmark = pytest.mark.django_db(transaction=True)
MODEL = {"do": [{"model": "What is new?"}]}
ALL: dict[str, Any] = {"join": {}}
LEFT = {"left": None}


def spawn(*inputs: dict[str, Any], usd: float | None = None) -> dict[str, Any]:
    return {"spawn": {"inputs": list(inputs), "cost_usd": usd}}


def money(job: Job) -> tuple[Decimal, Decimal]:
    job.refresh_from_db()
    return job.lent_usd, job.spent_usd


def fault(job: Job) -> str:
    return str((job.error or {}).get("code"))


def test_what_children_may_spend_is_lent_before_they_exist(on_loop: OnLoop[Any]) -> None:
    parent = played(on_loop, queued(LEFT, spawn(MODEL, MODEL, usd=0.1), LEFT, ALL))

    assert money(parent) == (Decimal("0.2"), Decimal(0))
    assert [child.cost_cap_usd for child in children_of(parent)] == [Decimal("0.1")] * 2


def test_the_attempt_that_lends_may_spend_that_much_less(on_loop: OnLoop[Any]) -> None:
    parent = played(on_loop, queued(LEFT, spawn(MODEL, usd=0.1), LEFT))
    before, _, after = gave(parent)

    assert before - after == pytest.approx(0.1)


def test_a_spawn_that_nobody_waited_for_lends_all_the_same(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on while the children are made: it must not spend what they may spend."""
    make = spawning.spawn_children

    def slowly(*given: Any, **terms: Any) -> Any:
        made = make(*given, **terms)
        while not DONE["hurried"]:
            threading.Event().wait(0.01)
        return made

    monkeypatch.setattr(spawning, "spawn_children", slowly)
    hurried = {"hurried": {**spawn(MODEL, usd=0.1)["spawn"], "within_s": 1}}
    parent = played(on_loop, queued(LEFT, hurried, LEFT))
    before, _, after = gave(parent)

    assert (parent.lent_usd, len(children_of(parent))) == (Decimal("0.1"), 1)
    assert before - after == pytest.approx(0.1)


def test_a_spawn_that_is_refused_lends_nothing(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent copes with the refusal, and may spend as much as before."""
    monkeypatch.setattr(waits, "MOST_CHILDREN", 0)
    parent = played(on_loop, queued(LEFT, {"refused": spawn(MODEL, usd=0.1)["spawn"]}, LEFT))
    before, refusal, after = gave(parent)

    assert (refusal, after) == ("fan_out_exceeded", before)


def test_what_a_child_spent_becomes_its_parents_and_the_rest_comes_back(on_loop: OnLoop[Any]) -> None:
    parent = played(on_loop, queued(spawn(MODEL, MODEL, usd=0.1), ALL, LEFT))
    first, second = children_of(parent)
    spent = played(on_loop, first.pk).spent_usd
    assert spent > 0
    assert money(parent) == (Decimal("0.1"), spent)
    spent += played(on_loop, second.pk).spent_usd

    assert money(parent) == (Decimal(0), spent)
    again = played(on_loop, parent.pk)
    assert again.spent_usd == spent == sum(LedgerEntry.objects.values_list("cost_usd", flat=True))
    assert gave(again)[-1] == pytest.approx(float(again.cost_cap_usd - spent))


def test_the_last_calls_of_a_child_that_failed_are_its_parents_too(on_loop: OnLoop[Any]) -> None:
    failing = {"do": [{"model": "What is new?"}, {"decline": "No."}]}
    parent = played(on_loop, queued(spawn(failing, usd=0.1), ALL))
    [child] = children_of(parent)
    spent = played(on_loop, child.pk).spent_usd

    assert money(parent) == (Decimal(0), spent)
    assert spent > 0


def test_lines_that_are_booked_with_the_end_reach_the_root(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A call whose step was not kept is on the bill only when the attempt ends."""

    async def unkept(self: Any, key: Any, step: Any) -> None:
        self._steps[key] = step

    parent = played(on_loop, queued(spawn({"do": [spawn(MODEL, usd=0.05), ALL]}, usd=0.1), ALL))
    [middle] = children_of(parent)
    played(on_loop, middle.pk)
    [leaf] = children_of(middle)
    monkeypatch.setattr(job_runs.JobJournal, "record", unkept)
    spent = played(on_loop, leaf.pk).spent_usd
    monkeypatch.undo()
    assert spent > 0
    assert money(middle) == (Decimal(0), spent)
    played(on_loop, middle.pk)

    assert money(parent) == (Decimal(0), spent)


def test_children_that_were_cancelled_give_everything_back(on_loop: OnLoop[Any]) -> None:
    parent = played(on_loop, queued(spawn(MODEL, MODEL, usd=0.1), ALL))
    for child in children_of(parent):
        jobs.cancel(child.pk, reason="not wanted", now=datetime.now(UTC))

    assert money(parent) == (Decimal(0), Decimal(0))


def test_what_outlives_its_parent_still_counts_for_the_root(on_loop: OnLoop[Any]) -> None:
    """The middle completes without a join: what its child may spend stays lent above it, until that ends."""
    leaving = {"do": [spawn(MODEL, usd=0.05)]}
    parent = played(on_loop, queued(spawn(leaving, usd=0.2), ALL))
    [middle] = children_of(parent)
    played(on_loop, middle.pk)
    [leaf] = children_of(middle)
    assert (money(middle), money(parent)) == ((Decimal("0.05"), Decimal(0)), (Decimal("0.05"), Decimal(0)))
    spent = played(on_loop, leaf.pk).spent_usd

    assert money(middle) == money(parent) == (Decimal(0), spent)


def test_a_tree_that_is_cancelled_gives_everything_back_to_its_root(on_loop: OnLoop[Any]) -> None:
    pair = {"do": [spawn(MODEL, MODEL, usd=0.05), ALL]}
    parent = played(on_loop, queued(spawn(pair, pair, usd=0.2), ALL))
    for child in children_of(parent):
        played(on_loop, child.pk)
        assert money(child)[0] == Decimal("0.1")
    jobs.cancel(parent.pk, reason="not wanted", now=datetime.now(UTC))

    assert [money(job) for job in Job.objects.all()] == [(Decimal(0), Decimal(0))] * 7


def test_caps_that_do_not_fit_are_refused_and_make_no_child(on_loop: OnLoop[Any]) -> None:
    job = played(on_loop, queued(spawn(MODEL, MODEL, usd=0.3)))

    assert (job.state, fault(job), job.cause) == ("failed", "budget_exceeded", "budget")
    assert (children_of(job), job.lent_usd) == ([], Decimal(0))


def test_the_row_refuses_what_the_attempt_would_lend_too_much(on_loop: OnLoop[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an attempt believes of its budget, the row's own numbers decide."""
    lend = spawning.spawn_children
    monkeypatch.setattr(spawning, "spawn_children", lambda *given, cap, now: lend(*given, cap=cap.times(10), now=now))
    job = played(on_loop, queued(spawn(MODEL, MODEL, usd=0.1)))

    assert (fault(job), children_of(job), job.lent_usd) == ("budget_exceeded", [], Decimal(0))


def test_without_caps_children_share_half_of_what_is_left(on_loop: OnLoop[Any]) -> None:
    parent = played(on_loop, queued(spawn(MODEL, MODEL), ALL))

    assert [child.cost_cap_usd for child in children_of(parent)] == [Decimal("0.125")] * 2


def test_a_run_with_nothing_left_spawns_nothing(on_loop: OnLoop[Any]) -> None:
    job_id = queued(spawn(MODEL), cost_usd=Decimal("0.000001"))

    assert fault(played(on_loop, job_id)) == "budget_exceeded"


def test_a_whole_tree_spends_no_more_than_its_root_may(on_loop: OnLoop[Any]) -> None:
    pair = {"do": [{"model": "One?"}, spawn(MODEL, MODEL), ALL, {"model": "Two?"}]}
    root = played_to_rest(on_loop, queued(spawn(pair, pair, pair), ALL, {"model": "Three?"}, cost_usd=Decimal("0.02")))

    assert root.lent_usd == 0
    assert root.spent_usd == sum(LedgerEntry.objects.values_list("cost_usd", flat=True)) <= root.cost_cap_usd


@pytest.mark.parametrize(
    ("wish", "ceiling", "left", "count", "cap"),
    [
        (None, "1", "0.9", 3, "0.15"),
        (None, "0.1", "0.9", 3, "0.1"),
        (None, "1", "0.000001", 1, "0"),
        (0.2, "0.5", "0.1", 1, "0.2"),
        (2.0, "0.5", "9", 1, "0.5"),
    ],
)
def test_a_child_may_spend_what_was_said_or_its_share(wish: float | None, ceiling: str, left: str, count: int, cap: str) -> None:
    usd = None if wish is None else Decimal(str(wish))
    shared = cap_of_each(Wish(cost_usd=usd), ceiling=of_money(Decimal(ceiling)), left=of_money(Decimal(left)), count=count)

    assert shared.usd == Decimal(cap)
