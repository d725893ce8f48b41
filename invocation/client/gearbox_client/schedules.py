"""Calls on schedules."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from gearbox_client.calls import MOST_OF_A_PAGE, Call, Method, Page, budget_of, get, given, page_of, place, post
from gearbox_client.groups import Group, W, exchange, pages
from gearbox_client.reading import nothing, reader
from gearbox_client.values.schedules import Firing, Schedule


class Schedules(Group[W]):
    """Keep, change, pause, fire, forget."""

    @exchange
    def create(
        self,
        name: str,
        endpoint: str,
        cron: str,
        input: Mapping[str, Any],  # noqa: A002  (the wire's own word)
        *,
        timezone: str | None = None,
        budget: Decimal | None = None,
        tokens: int | None = None,
        model_calls: int | None = None,
    ) -> Call[Schedule]:
        """Keep a schedule. Each of its runs spends no more than `budget` (US dollars), `tokens` and `model_calls`."""
        spends = budget_of(budget, tokens, model_calls)
        body = given(name=name, endpoint=endpoint, cron=cron, input=dict(input), timezone=timezone, budget=spends)
        return post(place("schedules"), reader(Schedule), body)

    @exchange
    def get(self, schedule_id: str) -> Call[Schedule]:
        return get(place("schedules", schedule_id), reader(Schedule))

    @pages
    def list(self) -> Call[Page[Schedule]]:
        """Yield schedules, newest first."""
        return page_of(Schedule, place("schedules"), limit=MOST_OF_A_PAGE)

    @exchange
    def change(
        self,
        schedule_id: str,
        *,
        name: str | None = None,
        endpoint: str | None = None,
        cron: str | None = None,
        timezone: str | None = None,
        input: Mapping[str, Any] | None = None,  # noqa: A002
        budget: Decimal | None = None,
        tokens: int | None = None,
        model_calls: int | None = None,
    ) -> Call[Schedule]:
        """Change the fields that are given; the others stay."""
        told = None if input is None else dict(input)
        spends = budget_of(budget, tokens, model_calls)
        body = given(name=name, endpoint=endpoint, cron=cron, timezone=timezone, input=told, budget=spends)
        return Call(method=Method.PATCH, path=place("schedules", schedule_id), read=reader(Schedule), body=body)

    @exchange
    def delete(self, schedule_id: str) -> Call[None]:
        return Call(method=Method.DELETE, path=place("schedules", schedule_id), read=nothing, is_repeatable=True)

    @pages
    def firings(self, schedule_id: str) -> Call[Page[Firing]]:
        """Yield the schedule's firings, newest first."""
        return page_of(Firing, place("schedules", schedule_id, "firings"), limit=MOST_OF_A_PAGE)

    @exchange
    def fire(self, schedule_id: str) -> Call[Firing]:
        """Fire now, beside the clock."""
        return post(place("schedules", schedule_id, "fire"), reader(Firing))

    @exchange
    def pause(self, schedule_id: str) -> Call[Schedule]:
        return post(place("schedules", schedule_id, "pause"), reader(Schedule))

    @exchange
    def resume(self, schedule_id: str) -> Call[Schedule]:
        """Fire again from the next moment on; what was missed is not made up."""
        return post(place("schedules", schedule_id, "resume"), reader(Schedule))
