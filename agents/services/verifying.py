"""How an answer is verified: its readings, and when each of its pieces is shown, held back or taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import Any, Protocol, cast

import structlog

from agents.domain.contract import Finding, Verifier
from agents.domain.errors import AnswerWithdrawn, PrivateDataShown, RunError, VerifierFailed, VerifierStalled
from agents.domain.values import Json, Output, Plan, VerdictLimits, Verification

log = structlog.get_logger()
SENTENCE_ENDS = frozenset(".!?\n")
LONGEST_UNREAD = 200
"""Characters without a sentence's end after which verifiers read all the same."""
UNVERIFIED = "The answer could not be verified."


class Stage(Protocol):
    """Where an answer is shown and taken back."""

    def delta(self, text: str) -> None: ...

    async def retracted(self, finding: Finding) -> None: ...


class Reader:
    """The verifiers of one answer: plain functions, which read at once, and others, which are awaited."""

    def __init__(self, verifiers: Sequence[Verifier], plan: Plan, limits: VerdictLimits) -> None:
        self._prompt = [each for each in verifiers if not _is_awaited(each)]
        self._awaited = [each for each in verifiers if _is_awaited(each)]
        self._plan = plan
        self.limits = limits

    @property
    def is_there(self) -> bool:
        """Whether anybody reads at all."""
        return bool(self._prompt or self._awaited)

    @property
    def is_prompt(self) -> bool:
        """Whether no verifier has to be awaited."""
        return not self._awaited

    def at_once(self, text: str) -> None:
        """Let the plain verifiers read. Raises PrivateDataShown, or VerifierFailed when one raises itself."""
        for verifier in self._prompt:
            try:
                finding = verifier(text, self._plan)
            except Exception as broken:
                raise _failed(verifier, broken) from broken
            _judge(cast("Finding | None", finding))

    async def in_time(self, text: str) -> None:
        """Let the others read. Raises PrivateDataShown, VerifierFailed, or VerifierStalled after the limit of a reading."""
        for verifier in self._awaited:
            try:
                async with asyncio.timeout(self.limits.reading.total_seconds()):
                    finding: Any = await verifier(text, self._plan)  # type: ignore[misc]  # this one is `async def`
            except TimeoutError:
                raise VerifierStalled(
                    f"{verifier.__name__} did not answer within {self.limits.reading}.", verifier=verifier.__name__
                ) from None
            except RunError:
                raise
            except Exception as broken:
                raise _failed(verifier, broken) from broken
            _judge(finding)


class Showing:
    """One answer on its way: its pieces so far, and when the stage sees them. Readings that are awaited run `beside`."""

    def __init__(self, reader: Reader, stage: Stage, beside: asyncio.TaskGroup | None) -> None:
        self._reader = reader
        self._stage = stage
        self._beside = beside
        self._pieces: list[str] = []
        self._unread = 0
        self._reading: asyncio.Task[None] | None = None
        self._being_read = ""

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    async def take(self, piece: str) -> None:
        """Go on with the answer. Raises AnswerWithdrawn when it may not stand; it has been taken back then."""
        if self._is_to_be_read_with(piece):
            await self._read_on(self.text)

    async def conclude(self, output: Output, output_check: Callable[[Json], None]) -> None:
        """Verify all that was said and all that only the Output says, then check the Output. Raises AnswerWithdrawn, or OutputInvalid."""
        raise NotImplementedError

    def _is_to_be_read_with(self, piece: str) -> bool:
        """Add a piece, and say whether verifiers read now: at a sentence's end, or when they have not for long."""
        self._pieces.append(piece)
        self._unread += len(piece)
        if self._unread < LONGEST_UNREAD and SENTENCE_ENDS.isdisjoint(piece):
            return False
        self._unread = 0
        return True

    async def _read_on(self, text: str) -> None:
        raise NotImplementedError

    async def _conclude(self, output: Output, output_check: Callable[[Json], None]) -> None:
        if self._reader.is_there:
            await self._read_all(output)
        output_check(output.value)

    async def _read_all(self, output: Output) -> None:
        said = self.text
        if said == self._being_read:
            await self._verdict()
        else:
            await self._read_whole(said)
        for words in _strings(output.value):
            if words not in said:
                await self._read_whole(words)

    async def _read_whole(self, text: str) -> None:
        self._reader.at_once(text)
        await self._reader.in_time(text)

    def _begin_reading(self, text: str) -> None:
        if self._beside is not None:
            self._being_read = text
            self._reading = self._beside.create_task(self._read_beside(text))

    async def _read_beside(self, text: str) -> None:
        await self._reader.in_time(text)

    async def _verdict(self) -> None:
        """Wait for the reading that is under way. Raises what it found."""
        if self._reading is not None:
            await self._reading


class Draft(Showing):
    """Shows each piece as it comes, and takes all back on a finding.

    Plain verifiers read up to each sentence's end before that end is shown. The others read beside the
    generation, which is never more than a sentence ahead of their verdict: what they find in the second
    sentence is taken back before the fourth is begun, however slow they are.
    """

    _has_shown = False
    _is_withdrawn = False

    async def take(self, piece: str) -> None:
        if self._is_to_be_read_with(piece):
            try:
                await self._read_on(self.text)
            except AnswerWithdrawn as objection:
                await self._withdraw(objection)
                raise
        if self._is_withdrawn:
            await self._verdict()
        self._has_shown = True
        self._stage.delta(piece)

    async def conclude(self, output: Output, output_check: Callable[[Json], None]) -> None:
        try:
            await self._verdict()
            await self._conclude(output, output_check)
        except AnswerWithdrawn as objection:
            await self._withdraw(objection)
            raise

    async def _read_on(self, text: str) -> None:
        self._reader.at_once(text)
        await self._verdict()
        self._begin_reading(text)

    async def _read_beside(self, text: str) -> None:
        """Take the answer back at once, even while the model says nothing: the error then ends the generation."""
        try:
            await super()._read_beside(text)
        except AnswerWithdrawn as objection:
            await self._withdraw(objection)
            raise

    async def _withdraw(self, objection: AnswerWithdrawn) -> None:
        """Take back, once, what was shown, if anything was."""
        if self._has_shown and not self._is_withdrawn:
            self._is_withdrawn = True
            await self._stage.retracted(_finding_of(objection))


class Buffer(Showing):
    """Shows nothing before the whole answer is verified and its Output checked.

    Verifiers read while the model still speaks, so that a finding ends it early; once it has ended, what is
    left to verify has `held_back` in all, and what is not verified by then is never shown.
    """

    _newest = ""

    async def conclude(self, output: Output, output_check: Callable[[Json], None]) -> None:
        limit = self._reader.limits.held_back
        self._drop_stale_reading()
        try:
            async with asyncio.timeout(limit.total_seconds()):
                await self._conclude(output, output_check)
        except TimeoutError:
            raise VerifierStalled(f"The answer was not verified within {limit} after it was written.") from None
        for piece in self._pieces:
            self._stage.delta(piece)

    async def _read_on(self, text: str) -> None:
        """Never let the model wait for a verifier: while one still reads, only the newest prefix is kept for it."""
        self._reader.at_once(text)
        self._newest = text
        if self._reading is None or self._reading.done():
            self._begin_reading(text)

    async def _read_beside(self, text: str) -> None:
        await super()._read_beside(text)
        while self._newest != self._being_read:
            self._being_read = self._newest
            await super()._read_beside(self._being_read)

    def _drop_stale_reading(self) -> None:
        if self._reading is not None and self._being_read != self.text:
            self._reading.cancel()


SHOWINGS: Mapping[Verification, type[Showing]] = MappingProxyType({Verification.DRAFT: Draft, Verification.BUFFER: Buffer})


def _is_awaited(verifier: Verifier) -> bool:
    return iscoroutinefunction(verifier) or iscoroutinefunction(getattr(verifier, "__call__", None))  # noqa: B004  (an object's own)


def _judge(finding: Finding | None) -> None:
    if finding:
        raise PrivateDataShown(finding.sentence, verifier=finding.verifier)


def _failed(verifier: Verifier, broken: Exception) -> VerifierFailed:
    """What it raised may quote what it read: that goes to the log alone."""
    log.error("verifier_failed", verifier=verifier.__name__, error=repr(broken)[:500], exc_info=broken)
    return VerifierFailed(f"{verifier.__name__} raised {type(broken).__name__}.", verifier=verifier.__name__)


def _finding_of(objection: AnswerWithdrawn) -> Finding:
    """A finding speaks to readers; what failed in a verifier is not for them."""
    return Finding(objection.verifier, objection.sentence if isinstance(objection, PrivateDataShown) else UNVERIFIED)


def _strings(value: Json) -> Iterator[str]:
    """Yield every text inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)
