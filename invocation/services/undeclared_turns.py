"""Turns whose endpoint or agent this process does not know: in a deploy another may, and nobody waits in silence until it is too late."""

from __future__ import annotations

import asyncio

import structlog

from agents.domain.errors import Cause
from invocation.domain.errors import StaleMove
from invocation.domain.jobs import Fault
from invocation.domain.turn_errors import WORTH_A_TRY
from invocation.domain.turns import EventType, TurnMove
from invocation.gateways import dispatch
from invocation.gateways.database import off_loop, patiently
from invocation.models import Turn
from invocation.services import turns
from invocation.services.pens import Pen
from invocation.services.turn_limits import TurnLimits
from invocation.services.turns import Ending, failure_event

AGAIN_S = 0.1
"""How long a turn is kept before it is given back: its message may come here again and again."""

log = structlog.get_logger()


async def leave(turn: Turn, pen: Pen) -> None:
    """Give a claimed turn back while there is time for an answer, then end it, typed. One that somebody else has is left alone."""
    limits = TurnLimits(turn)
    await asyncio.sleep(AGAIN_S)
    try:
        if limits.left >= WORTH_A_TRY:
            await patiently(turns.put_back, turn)
            await off_loop(_wake, turn, within_s=limits.left.total_seconds())
        else:
            ending = _ending(turn, pen)
            await patiently(turns.finish, turn, ending, None)
            pen.write_last(ending.event)
    except StaleMove as stale:
        log.warning("fenced_out", turn_id=str(turn.pk), detail=stale.detail)


def _wake(turn: Turn, *, within_s: float) -> None:
    """Without the broker the sweep ends it at its deadline."""
    try:
        dispatch.wake_turns([turn.pk], within_s=within_s)
    except dispatch.BrokerGone as gone:
        log.warning("broker_gone", error=str(gone), turns=1)


def _ending(turn: Turn, pen: Pen) -> Ending:
    """What an earlier attempt had shown stays, as far as it was stored."""
    sentence = f"{turn.endpoint} with {turn.agent} is not declared where its turns are answered."
    fault = Fault(code="endpoint_undeclared", sentence=sentence, cause=Cause.BAD_CODE, remedy="Ask again.")
    failure = failure_event(code=fault.code, sentence=fault.sentence, remedy=fault.remedy, truncated=bool(turn.text), escape=None)
    event = pen.last(EventType.TURN_FAILED, {"turn": str(turn.pk), **failure})
    return Ending(move=TurnMove.FAIL, event=event, text=turn.text, error=fault.as_json(), truncated=bool(turn.text), last_seq=event["seq"])
