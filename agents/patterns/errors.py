"""What supervisor and broker answer when they cannot: results of their own, never retried."""

from __future__ import annotations

from agents.domain.errors import AgentError


class NothingToCompare(AgentError):
    """Fewer than two titles are named, or found by what is asked."""

    code = "nothing_to_compare"
    remedy = "Give two to four slugs in `titles`, or a text that finds more than one title."


class NothingFoundOut(AgentError):
    """Not one of the children came back with something."""

    code = "nothing_found_out"
    remedy = "Read the children's errors; they are jobs of their own."


class NothingToRoute(AgentError):
    """The input has no text, title, reader or order."""

    code = "nothing_to_route"
    remedy = "Give `text`, `title`, `reader` or `order`."
