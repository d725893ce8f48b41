"""Calls on jobs. None waits for a result: it comes by webhook, by following, or by asking again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import uuid4

from gearbox_client.calls import MOST_OF_A_PAGE, Call, Page, Streaming, budget_of, get, given, items_of, moment, page_of, place, post
from gearbox_client.groups import Group, W, exchange, pages, stream
from gearbox_client.reading import nothing, reader
from gearbox_client.values.events import LAST_OF_A_JOB
from gearbox_client.values.jobs import AcceptedJob, Context, Job, OrderingPolicy, Result, Step


class Jobs(Group[W]):
    """Submit, follow, answer, cancel, redrive."""

    @exchange
    def submit(
        self,
        endpoint: str,
        input: Mapping[str, Any],  # noqa: A002  (the wire's own word)
        *,
        idempotency_key: str | None = None,
        ordering_key: str | None = None,
        ordering_policy: OrderingPolicy | None = None,
        context: Context | None = None,
        budget: Decimal | None = None,
        tokens: int | None = None,
        model_calls: int | None = None,
        expires_at: datetime | None = None,
        webhook: str | None = None,
        metadata: Mapping[str, str] | None = None,
        subject: str | None = None,
        locale: str | None = None,
    ) -> Call[AcceptedJob]:
        """Submit a job and return as soon as it is durable.

        It spends no more than `budget` (US dollars), `tokens` and `model_calls`, children included.
        `webhook` is the id of one of yours. Without an
        `idempotency_key` one is made, so that this call's own repeats make one job; give
        yours to be safe over your own restarts too.
        """
        body = given(
            endpoint=endpoint,
            input=dict(input),
            ordering_key=ordering_key,
            ordering_policy=ordering_policy,
            context=context,
            budget=budget_of(budget, tokens, model_calls),
            expires_at=moment(expires_at),
            webhook=webhook,
            metadata=metadata and dict(metadata),
            subject=subject,
            locale=locale,
        )
        return post(place("jobs"), reader(AcceptedJob), body, idempotency_key=idempotency_key or str(uuid4()))

    @exchange
    def get(self, job_id: str) -> Call[Job]:
        """Return the job as it stands."""
        return get(place("jobs", job_id), reader(Job))

    @pages
    def list(self, *, state: str | None = None, endpoint: str | None = None) -> Call[Page[Job]]:
        """Yield jobs, newest first."""
        return page_of(Job, place("jobs"), state=state, endpoint=endpoint, limit=MOST_OF_A_PAGE)

    @exchange
    def result(self, job_id: str, *, withheld: Literal["show"] | None = None) -> Call[Result]:
        """Return a completed job's result. Raises ResultNotReady at once before the end, NoResult after another end.

        One that came too late for its context and is to be kept back is ResultWithheld, unless `withheld="show"`.
        """
        return get(place("jobs", job_id, "result"), reader(Result), withheld=withheld)

    @exchange
    def journal(self, job_id: str) -> Call[tuple[Step, ...]]:
        """Return the finished steps, in order."""
        return items_of(Step, place("jobs", job_id, "journal"))

    @exchange
    def cancel(self, job_id: str, *, reason: str | None = None) -> Call[Job]:
        """Ask the job to end; one that a worker holds is `cancelling` until the worker confirms."""
        return post(place("jobs", job_id, "cancel"), reader(Job), given(reason=reason))

    @exchange
    def answer(self, job_id: str, answers: Mapping[str, Any]) -> Call[Job]:
        """Answer the job's questions by their keys; some now and the others later will do."""
        return post(place("jobs", job_id, "input"), reader(Job), {"answers": dict(answers)})

    @exchange
    def redrive(self, job_id: str, *, input: Mapping[str, Any] | None = None) -> Call[AcceptedJob]:  # noqa: A002
        """Start a failed job again as a new one, with this input or the old."""
        return post(place("jobs", job_id, "redrive"), reader(AcceptedJob), given(input=input and dict(input)))

    @stream
    def follow(self, job_id: str, *, after: int = 0) -> Streaming:
        """Yield the job's events behind a seq, each once, up to its last.

        A connection that is cut or falls silent is opened again behind the last event.
        Raises Unreachable when that does not help. To stop earlier, close the iterator.
        """
        return Streaming(
            opening=get(place("jobs", job_id, "events"), nothing),
            after=after,
            resumed_at=lambda _: place("jobs", job_id, "events"),
            is_first=lambda *_: True,
            is_last=lambda event, _: event.type in LAST_OF_A_JOB,
            is_over=lambda _, seq: get(place("jobs", job_id), lambda told: _is_over(reader(Job)(told), seq)),
        )


def _is_over(job: Job, seq: int) -> bool:
    return job.has_ended and job.last_seq <= seq
