"""The offline provider: writes from the facts in the messages, at a model's pace, and fails on request."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from agents.domain.errors import ProviderRateLimited, ProviderRefused, ProviderStalled, ProviderUnavailable, StreamCut
from agents.domain.values import ModelRequest, Piece, Reply, Usage
from agents.gateways.providers import briefing, prose
from agents.gateways.providers.faults import Draws, Fault, Faults, Overloaded
from agents.gateways.providers.lengths import LENGTHS
from agents.gateways.providers.pacing import Pacing, Tempo, wait_until
from agents.gateways.providers.tokens import count_messages, count_tokens, cut, words

SLOW_FACTOR = 10.0
STALLS_AFTER = 5
DEFAULT_FAULTS = Faults(markers=True)
DEFAULT_STALL = timedelta(seconds=20)


@dataclass(slots=True)
class Tally:
    """What the simulator has done since it was made. Tokens are those of finished calls."""

    calls: int = 0
    in_flight: int = 0
    completed: int = 0
    cancelled: int = 0
    rate_limited: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @contextmanager
    def open_call(self) -> Iterator[None]:
        """Count one call as in flight until it ends, and as cancelled if the reader went away."""
        self.calls += 1
        self.in_flight += 1
        try:
            yield
        except (GeneratorExit, asyncio.CancelledError):
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1

    def complete(self, usage: Usage) -> None:
        self.completed += 1
        self.input_tokens += usage.input
        self.output_tokens += usage.output


class OfflineSimulator:
    """A Provider without a network: the text follows from messages and model alone.

    Clock, load and faults change when it comes and whether it comes whole, never
    what it says. One object serves one event loop; it says "offline" in its name.
    """

    name = "offline"

    def __init__(self, *, pacing: Pacing | None = None, faults: Faults = DEFAULT_FAULTS, stall_timeout: timedelta = DEFAULT_STALL) -> None:
        self.pacing = pacing or Pacing()
        self.tally = Tally()
        self._faults = faults
        self._draws = Draws(faults)
        self._stall_timeout = stall_timeout

    def reply(self, request: ModelRequest) -> Reply:
        """Return the whole answer at once, with its usage. Raises ProviderRefused for a model that it does not have."""
        length = LENGTHS.get(request.model)
        if length is None:
            raise ProviderRefused(f"The offline provider has no model {request.model}; it has {', '.join(LENGTHS)}.")
        whole = prose.write(briefing.read(request.messages), length=length, luck=Random(seed_of(request)))  # noqa: S311  (variety)
        text = cut(whole, max_tokens=request.max_tokens)
        usage = Usage(input=count_messages(request.messages), output=count_tokens(text))
        return Reply(text=text, model=request.model, usage=usage, finish="stop" if text == whole else "length")

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece | Reply, None]:
        """Speak the reply word by word, as agents.domain.providers.Provider promises."""
        reply = self.reply(request)
        fault = self._draws.draw(briefing.last_user_text(request.messages))
        with self.tally.open_call():
            self._refuse(fault)
            tempo = self._tempo(request, fault)
            start = asyncio.get_running_loop().time()
            pieces = words(reply.text)
            breaking_point = _breaking_point(fault, len(pieces))
            for number, word in enumerate(pieces):
                if number == breaking_point:
                    await self._break(fault)
                if tempo:
                    await wait_until(start + tempo.advance())
                yield Piece(word)
        self.tally.complete(reply.usage)
        yield reply

    def over_limit(self, wait_s: float) -> ProviderRateLimited:
        """Count a call that a limit on tokens kept out, and return its error."""
        self.tally.calls += 1
        self.tally.rate_limited += 1
        return ProviderRateLimited("Rate limit reached on tokens per minute.", retry_after=timedelta(seconds=wait_s))

    async def aclose(self) -> None:
        """Do nothing: there is no connection to close."""

    def _tempo(self, request: ModelRequest, fault: Fault | None) -> Tempo | None:
        if self.pacing.is_instant:
            return None
        pacing = self.pacing.slower(SLOW_FACTOR) if fault is Fault.SLOW else self.pacing
        return Tempo(pacing, seed=seed_of(request), in_flight=lambda: self.tally.in_flight)

    def _refuse(self, fault: Fault | None) -> None:
        if fault is Fault.RATE_LIMIT:
            self.tally.rate_limited += 1
            raise ProviderRateLimited("The offline provider was told to answer 429.", retry_after=self._faults.retry_after)
        if fault is Fault.ERROR:
            raise ProviderUnavailable("The offline provider was told to answer 500.")
        if fault is Fault.OVERLOAD:
            raise Overloaded("The offline provider was told to be overloaded.")

    async def _break(self, fault: Fault | None) -> None:
        if fault is Fault.CUT:
            raise StreamCut("The offline provider was told to end the stream early.")
        if fault is Fault.BREAK:
            raise ProviderUnavailable("The offline provider was told to fail within the stream.")
        await asyncio.sleep(self._stall_timeout.total_seconds())
        raise ProviderStalled(f"The offline provider was told to fall silent, for {self._stall_timeout.total_seconds():g} s.")


def seed_of(request: ModelRequest) -> int:
    """Return the seed of a request: the model and the messages, nothing else."""
    digest = hashlib.sha256(request.model.encode())
    for message in request.messages:
        digest.update(f"\0{message.role.value}\0{message.text}".encode())
    return int.from_bytes(digest.digest()[:8])


def _breaking_point(fault: Fault | None, pieces: int) -> int:
    """Return before which piece the stream breaks; -1 for never."""
    if fault in {Fault.CUT, Fault.BREAK}:
        return pieces // 2
    return min(STALLS_AFTER, pieces - 1) if fault is Fault.STALL else -1
