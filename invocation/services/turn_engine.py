"""Runs the turns of one p0 process on its loop: claim, stream, end within the deadline, always with a last event."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from redis import RedisError

from agents.domain.errors import RunError
from agents.domain.storable import storable
from agents.domain.values import Json, Request, Terms
from invocation.domain.errors import StaleMove
from invocation.domain.jobs import Fault
from invocation.domain.outcomes import OutcomeNotKept, RunOutcome, outcome_of
from invocation.domain.turn_errors import LatencyBudgetExceeded, TurnCancelled, WorkerLost, escape_after, may_try_again
from invocation.domain.turns import EventType, TurnMove
from invocation.gateways import declared
from invocation.gateways.announcing import Announcer
from invocation.gateways.database import is_away, patiently, while_away
from invocation.gateways.grouping import Grouper
from invocation.gateways.streams import Event, client, read_after
from invocation.gateways.writing import StreamWriter
from invocation.services import records, turns, undeclared_turns
from invocation.services.accounts import TurnAccount, remaining_of_turn
from invocation.services.bills import Bill
from invocation.services.no_waits import NoWaits
from invocation.services.pens import Pen
from invocation.services.records import Finished
from invocation.services.running import Running, uncancel
from invocation.services.runs import Assignment, AttemptJournal, Carried, Clock, Surroundings, carry_out
from invocation.services.snapshots import Snapshots
from invocation.services.stream_sinks import StreamSink
from invocation.services.turn_limits import TurnLimits
from invocation.services.turns import Ending, Finish, TurnClaimed, failure_event
from quota.domain.budgets import Budget
from quota.domain.ledger import ParentKind

log = structlog.get_logger()
SOURCE = "turn"
ENDS_APART_S = 0.05
"""An end that comes so soon after others is stored with the next ones: nobody waits for the last event as for the first word."""


def _word(error: RunError | None) -> RunOutcome:
    return RunOutcome.CANCELLED if isinstance(error, TurnCancelled) else outcome_of(error)


class TurnEngine:
    """Holds the turns of this process. `accept` may be called on the loop only."""

    def __init__(self, *, owner: UUID, announcer: Announcer) -> None:
        self._owner = owner
        self._announcer = announcer
        self._claims: Grouper[UUID, TurnClaimed | None] = Grouper(self._claim)
        self._finishes: Grouper[Finish, Exception | None] = Grouper(turns.finish_all, apart_s=ENDS_APART_S)
        self._writer = StreamWriter()
        self._snapshots = Snapshots(owner)
        self._running = Running()

    @property
    def in_flight(self) -> int:
        return self._running.count

    @property
    def running(self) -> frozenset[str]:
        return self._running.ids

    def accept(self, turn_ids: Sequence[UUID]) -> None:
        for turn_id in turn_ids:
            self._running.start(str(turn_id), self._attempt(turn_id))

    def stop(self, turn_ids: Sequence[str]) -> None:
        """Cancel these turns: their model calls end, each gets its last event."""
        self._running.stop(turn_ids)

    async def drain(self, grace: timedelta) -> None:
        """Let turns finish: each has a deadline of its own, which is shorter than any grace."""
        await self._running.rest(within_s=grace.total_seconds())
        await self._writer.drain()
        await self._snapshots.aclose()

    def _claim(self, turn_ids: Sequence[UUID]) -> Sequence[TurnClaimed | None]:
        return turns.claim(turn_ids, owner=self._owner)

    async def _attempt(self, turn_id: UUID) -> None:
        claimed = await self._claims.do(turn_id)
        if claimed is None:
            return
        turn = claimed.turn
        pen = Pen(self._writer, str(turn.session_id), claimed.base)
        if not declared.knows(turn.endpoint, turn.agent):
            await undeclared_turns.leave(turn, pen)
            return
        self._announcer.started(turn.id, turn.agent, turn.endpoint)
        outcome = "failed"
        try:
            with self._snapshots.of(turn, pen):
                outcome = await _Performance(claimed, pen, self._running, self._finishes).to_its_end()
        except StaleMove as stale:
            log.warning("fenced_out", turn_id=str(turn_id), detail=stale.detail)
        finally:
            self._announcer.ended(turn.id, outcome)


class _Performance:
    """One claimed turn: tried once more before its first delta, never after."""

    def __init__(self, claimed: TurnClaimed, pen: Pen, running: Running, finishes: Grouper[Finish, Exception | None]) -> None:
        self.turn = claimed.turn
        self.finishes = finishes
        self.running = running
        self.history = claimed.history
        self.pen = pen
        self.base = claimed.base
        self.endpoint = declared.book().by_label[claimed.turn.endpoint]
        self.bill = Bill()
        self.budget = Budget(remaining_of_turn(claimed.turn))
        self.account = TurnAccount(claimed.turn, self.budget)
        self.clock = Clock()
        self.limits = TurnLimits(claimed.turn)
        self.sink = StreamSink(pen, self.limits)

    async def to_its_end(self) -> str:
        """Return the word that Flower shows."""
        turn = self.turn
        self.pen.write(EventType.TURN_STARTED, {"turn": str(turn.id), "number": turn.number, "attempt": turn.attempt})
        carried = await self._stoppably()
        ending = self._ending(carried)
        word = _word(carried.error)
        run = records.finished(carried, row=turn, source=SOURCE, outcome=word, since=turn.received_at, asked=turn.input)
        kept = await self._kept(ending, run)
        self.pen.write_last(kept.event)
        return word if kept is ending else RunOutcome.FAILED

    async def _kept(self, ending: Ending, run: Finished) -> Ending:
        """End the turn and return how: where that cannot be stored, with a failure that can, and what its calls cost all the same."""
        try:
            await self._finish(ending, run)
        except StaleMove:
            raise
        except Exception as defect:
            if is_away(defect):
                raise
            log.exception("outcome_not_kept", turn_id=str(self.turn.id))
            why = OutcomeNotKept.of(defect)
            failed = self._unkept(ending, why)
            await self._finish(failed, run._replace(outcome=outcome_of(why), error_code=why.code, evidence=None))
            return failed
        return ending

    async def _finish(self, ending: Ending, run: Finished) -> None:
        """End the turn as soon as the database is there. Raises StaleMove if somebody else ended it; its calls are booked all the same."""
        try:
            broken = await while_away(lambda: self.finishes.do(Finish(self.turn, ending, run)))
            if broken is not None:
                raise broken
        except StaleMove:
            await patiently(turns.book_late, self.turn, run.lines)
            raise

    async def _stoppably(self) -> Carried:
        try:
            with self.running.stoppable(str(self.turn.id)):
                return await self._carried()
        except asyncio.CancelledError:
            uncancel()
            return self._ended_by(TurnCancelled("The turn was stopped."))

    async def _carried(self) -> Carried:
        if self.turn.attempt > 1 and await self._was_heard():
            return self._ended_by(WorkerLost("The worker was lost in the middle of the answer."))
        try:
            return await self.limits.keep(self._tries)
        except LatencyBudgetExceeded as late:
            return self._ended_by(late)

    async def _tries(self) -> Carried:
        most, tries = self.endpoint.policy.tries, 1
        carried = await carry_out(self._assignment(), self._surroundings())
        while carried.error and may_try_again(
            carried.error, tries=tries, most=most, has_spoken=bool(self.sink.text), left=self.limits.left
        ):
            tries += 1
            await asyncio.sleep((carried.error.retry_after or timedelta()).total_seconds())
            carried = await carry_out(self._assignment(), self._surroundings())
        return carried

    async def _was_heard(self) -> bool:
        """Did an earlier attempt show a delta? Its text is then kept as it was."""
        earlier = [event for event in await self._logged() if event.seq <= self.base]
        started = max((event.seq for event in earlier if event.data.get("turn") == str(self.turn.id)), default=self.base)
        shown = [event.data["text"] for event in earlier if event.seq > started and event.type == EventType.DELTA]
        self.sink.text = "".join(shown) or self.turn.text
        return bool(self.sink.text)

    async def _logged(self) -> list[Event]:
        try:
            async with client() as store:
                return await read_after(store, str(self.turn.session_id), 0)
        except (RedisError, OSError):
            return []

    def _ended_by(self, error: RunError) -> Carried:
        return Carried(None, error, self.bill, self.clock)

    def _ending(self, carried: Carried) -> Ending:
        return self._completed(carried) if carried.performance else self._failed(carried)

    def _completed(self, carried: Carried) -> Ending:
        if carried.performance is None:
            raise AssertionError("a completed turn has a performance")
        output = dict(carried.performance.output.value)
        event = self.pen.last(EventType.TURN_COMPLETED, self._shown(carried) | {"text": carried.performance.text, "output": output})
        return Ending(move=TurnMove.COMPLETE, event=event, text=carried.performance.text, output=output, last_seq=event["seq"])

    def _failed(self, carried: Carried) -> Ending:
        error = carried.error
        if error is None:
            raise AssertionError("a failed turn has an error")
        fault = Fault.of(error)
        failure = failure_event(
            code=fault.code,
            sentence=fault.sentence,
            remedy=fault.remedy,
            truncated=bool(self.sink.text) and not self.sink.retracted_by,
            escape=escape_after(error, self.endpoint.escape),
        )
        facts = error.facts if isinstance(error, LatencyBudgetExceeded) else {}
        event = self.pen.last(EventType.TURN_FAILED, self._shown(carried) | failure | facts)
        return Ending(
            move=TurnMove.CANCEL if isinstance(error, TurnCancelled) else TurnMove.FAIL,
            event=event,
            text=self.sink.text,
            error=fault.as_json(),
            truncated=failure["truncated"],
            retracted=bool(self.sink.retracted_by),
            last_seq=event["seq"],
        )

    def _unkept(self, ending: Ending, why: OutcomeNotKept) -> Ending:
        """Return an end that can be stored, in the place of one that cannot: under its seq, with what was shown."""
        fault, text = Fault.of(why), storable(ending.text)
        failure = failure_event(
            code=fault.code,
            sentence=fault.sentence,
            remedy=fault.remedy,
            truncated=bool(text) and not ending.retracted,
            escape=escape_after(why, self.endpoint.escape),
        )
        return Ending(
            move=TurnMove.FAIL,
            event={**ending.event, "type": str(EventType.TURN_FAILED), "data": {"turn": str(self.turn.id), **failure}},
            text=text,
            error=fault.as_json(),
            truncated=failure["truncated"],
            retracted=ending.retracted,
            last_seq=ending.last_seq,
        )

    def _shown(self, carried: Carried) -> dict[str, Json]:
        bill = carried.bill
        return {
            "turn": str(self.turn.id),
            "usage": {"input": bill.usage.input, "output": bill.usage.output},
            "cost_usd": float(bill.cost_usd),
            "first_delta_ms": self._since_receipt(carried.clock.first_delta_ms),
            "model_first_ms": bill.model_first_ms,
            "duration_ms": self._since_receipt(carried.clock.elapsed_ms()),
            "model": ", ".join(bill.models),
            "downshifts": [each.as_json() for each in bill.downshifts],
        }

    def _since_receipt(self, ms: int | None) -> int | None:
        """Lengths that a person sees count from the receipt of the question, waiting included."""
        waited = (self.clock.started_at - self.turn.received_at).total_seconds() * 1000
        return None if ms is None else ms + max(0, round(waited))

    def _assignment(self) -> Assignment:
        turn = self.turn
        return Assignment(
            run_id=turn.id,
            endpoint=self.endpoint,
            agent=turn.agent,
            request=Request(input=turn.input, history=self.history),
            terms=Terms(
                tenant=str(turn.tenant_id),
                subject=turn.subject,
                locale=turn.locale,
                latency_budget_ms=turn.latency_budget_ms,
                cost_cap_usd=float(turn.cost_cap_usd),
                metadata=turn.metadata,
            ),
            tenant_id=turn.tenant_id,
            parent_kind=ParentKind.TURN,
            parent_id=str(turn.id),
            budgets=(self.budget,),
            account=self.account,
            patience=turn.deadline - datetime.now(UTC),
        )

    def _surroundings(self) -> Surroundings:
        return Surroundings(journal=AttemptJournal(), sink=self.sink, watcher=self.sink, waits=NoWaits(), bill=self.bill, clock=self.clock)
