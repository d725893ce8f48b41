"""What MangaAssist answers when it cannot: results of its own, never retried."""

from __future__ import annotations

from agents.domain.errors import AgentError


class NothingAsked(AgentError):
    """The input has no text, title, reader or order."""

    code = "nothing_asked"
    remedy = "Give `text`, `title`, `reader` or `order`."


class UnknownTitle(AgentError):
    """No title of the catalog has this slug."""

    code = "unknown_title"
    remedy = "Search with `text`, or give a slug of the catalog such as `monster`."


class UnknownReader(AgentError):
    """The shop has no such reader."""

    code = "unknown_reader"
    remedy = "Give the id of a reader of this shop such as `r-001`."


class UnknownOrder(AgentError):
    """The shop has no such order, or it is not this reader's. Nothing was asked, nothing was paid."""

    code = "unknown_order"
    remedy = "Give the order's number from the receipt such as `o-10001`."
