"""Statements that take many turns at once, and meet in the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from config.supervisor.ending import until
from invocation.domain.turns import TurnMove, TurnState
from invocation.models import Turn
from invocation.services import turn_rows, turns
from invocation.services.turn_rows import Shown
from invocation.services.turns import Ending, Finish
from tests.integration.config.serving import SOON
from tests.integration.invocation.crossing import beside, is_waited
from tests.integration.invocation.rows import a_turn

pytestmark = [pytest.mark.usefixtures("tried"), pytest.mark.django_db(transaction=True)]
OWNER = uuid4()


def stored(held: Sequence[Turn]) -> None:
    turn_rows.store([Shown(turn.pk, turn.attempt, "said", 7) for turn in held], owner=OWNER)


def finished(held: Sequence[Turn]) -> None:
    event = {"seq": 7, "type": "turn.completed", "at": "", "data": {}}
    ending = Ending(move=TurnMove.COMPLETE, event=event, text="said", last_seq=7)
    assert turns.finish_all([Finish(turn, ending, None) for turn in held]) == [None] * len(held)


def text_of(turn_id: UUID) -> str:
    return Turn.objects.values_list("text", flat=True).get(pk=turn_id)


@pytest.mark.parametrize("is_turned_round", [False, True])
@pytest.mark.parametrize("act", [stored, finished])
def test_whoever_waits_for_a_turn_holds_none_behind_it(act: Callable[[Sequence[Turn]], None], *, is_turned_round: bool) -> None:
    """Two that hold what the other waits for would be a deadlock, and one of them would break off."""
    held = [a_turn(TurnState.WORKING, now=datetime.now(UTC), attempt=1, owner=OWNER) for _ in range(2)]
    first, second = sorted(held, key=lambda turn: turn.pk)

    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            Turn.objects.select_for_update().get(pk=first.pk)
            answer = thread.submit(beside(lambda: act([second, first] if is_turned_round else [first, second])))
            assert until(is_waited, patience=SOON)
            assert Turn.objects.select_for_update(nowait=True).get(pk=second.pk).text == ""
        answer.result()

    assert (text_of(first.pk), text_of(second.pk)) == ("said", "said")
