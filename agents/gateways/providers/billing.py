"""What a provider would bill: every call that it worked for, cut and cancelled ones as far as they came."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime

from agents.gateways.providers.tokens import count_tokens


@dataclass(slots=True)
class Billed:
    """What was billed for one day and model."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


def _today() -> date:
    return datetime.now(UTC).date()


@dataclass(slots=True)
class Billing:
    """The bill by UTC day and model, since it was made."""

    lines: defaultdict[tuple[date, str], Billed] = field(default_factory=lambda: defaultdict(Billed))

    @contextmanager
    def call(self, model: str, input_tokens: int) -> Iterator[list[str]]:
        """Bill one call's question, and of its answer the words that the caller was given, however it ends."""
        spoken: list[str] = []
        try:
            yield spoken
        finally:
            line = self.lines[_today(), model]
            line.requests += 1
            line.input_tokens += input_tokens
            line.output_tokens += count_tokens("".join(spoken))

    def report(self) -> bytes:
        """Return the bill as JSON lines, as `manage.py reconcile` reads them."""
        rows = ({"day": day.isoformat(), "model": model, **asdict(line)} for (day, model), line in sorted(self.lines.items()))
        return "".join(f"{json.dumps(row)}\n" for row in rows).encode()
