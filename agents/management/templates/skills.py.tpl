"""What ${name} can look up or do: each call is one journaled step."""

from __future__ import annotations

from agents.domain.contract import skill
from agents.domain.run import Run
from agents.domain.values import Json


@skill
async def look_up(run: Run, *, text: str) -> Json:
    """Find what is known about the text."""
    return [{"about": "${name}", "note": f"This is all that {run.tenant} knows of {text} so far."}]
