"""Chat: one question, its answer as a stream, and the offer that may stand in an answer's place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from gearbox_client.calls import MOST_OF_A_PAGE, Call, Page, Streaming, budget_of, get, given, page_of, place, post
from gearbox_client.groups import Group, W, exchange, pages, stream
from gearbox_client.problems import UnreadableAnswer
from gearbox_client.reading import nothing, reader
from gearbox_client.values.chat import SessionLine
from gearbox_client.values.events import ENDED, LAST_OF_A_TURN
from gearbox_client.values.jobs import AcceptedJob

SESSION = "x-gearbox-session"
TURN = "x-gearbox-turn"


class Chat(Group[W]):
    """Ask; accept what is offered; look back."""

    @pages
    def sessions(self, *, endpoint: str | None = None, subject: str | None = None) -> Call[Page[SessionLine]]:
        """Yield sessions, newest first, each with its first question."""
        return page_of(SessionLine, place("sessions"), endpoint=endpoint, subject=subject, limit=MOST_OF_A_PAGE)

    @exchange
    def accept(self, turn_id: str) -> Call[AcceptedJob]:
        """Go on with a turn as the job that its `turn.failed` offered in `escape["offer"]`, and return as soon as that is durable.

        An offer is accepted once: called again, it returns the same job. Raises Conflict (`nothing_offered`) where there is none.
        """
        return replace(post(place("turns", turn_id, "accept"), reader(AcceptedJob)), is_repeatable=True)

    @stream
    def send(
        self,
        endpoint: str,
        input: Mapping[str, Any],  # noqa: A002  (the wire's own word)
        *,
        session: str | None = None,
        subject: str | None = None,
        locale: str | None = None,
        metadata: Mapping[str, str] | None = None,
        budget: Decimal | None = None,
        tokens: int | None = None,
        model_calls: int | None = None,
    ) -> Streaming:
        """Yield one turn's events as they come, up to `turn.completed` or `turn.failed`.

        Without a session a new one begins. The question is sent once: a connection that is
        cut after the first answer is resumed, one that is cut before is Unreachable. The turn
        spends no more than `budget` (US dollars), `tokens` and `model_calls`.
        """
        body = given(
            endpoint=endpoint,
            input=dict(input),
            session=session,
            subject=subject,
            locale=locale,
            metadata=metadata and dict(metadata),
            budget=budget_of(budget, tokens, model_calls),
        )
        return Streaming(
            opening=post(place("chat"), nothing, body),
            after=0,
            resumed_at=lambda told: place("sessions", _told(told, SESSION), "events"),
            is_first=lambda event, told: event.data.get("turn") == _told(told, TURN),
            is_last=lambda event, told: event.type in LAST_OF_A_TURN and event.data.get("turn") == _told(told, TURN),
            is_over=lambda told, _: get(place("sessions", _told(told, SESSION)), lambda session: _is_over(session, _told(told, TURN))),
        )


def _told(headers: Mapping[str, str], name: str) -> str:
    if name not in headers:
        raise UnreadableAnswer(f"The answer has no {name}.")
    return headers[name]


def _is_over(session: Any, turn_id: str) -> bool:
    return any(turn["id"] == turn_id and turn["state"] in ENDED for turn in session["turns"])
