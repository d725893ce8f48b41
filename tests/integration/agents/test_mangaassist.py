"""MangaAssist over real rows, with its real skills."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.gateways import postgres
from agents.harness import Harness
from agents.mangaassist.agent import MangaAssist
from agents.mangaassist.errors import UnknownOrder, UnknownReader, UnknownTitle
from agents.models import Purchase, Refund, Title
from tests.integration.agents.conftest import OnLoop

pytestmark = pytest.mark.usefixtures("shop")
APPROVED = {"fraud_check": {"approve": True}}
DENIED = {"fraud_check": {"approve": False}}


@pytest.fixture
def told(on_loop: OnLoop[Any]) -> Any:
    return lambda given, answers=APPROVED: on_loop(Harness(MangaAssist, answers=answers).run(given))


def test_changing_a_catalog_row_changes_the_answer(told: Any) -> None:
    before = told({"text": "Who wrote Monster?"})
    Title.objects.filter(slug="monster").update(author="Quill Rewrite", year=2001)
    after = told({"text": "Who wrote Monster?"})

    assert "Naoki Urasawa" in before.text
    assert "1994" in before.text
    assert "Quill Rewrite" in after.text
    assert "2001" in after.text
    assert "Urasawa" not in after.text


def test_a_new_synopsis_is_found_by_its_words(told: Any) -> None:
    Title.objects.filter(slug="monster").update(synopsis="A zeppelin captain looks for a quartz mine.")

    assert told({"text": "something about zeppelins and quartz"}).output["titles"] == ["monster"]


@pytest.mark.parametrize("given", [{"text": "a finished josei romance"}, {"title": "monster"}, {"reader": "r-001"}])
def test_every_task_writes_from_rows(told: Any, given: dict[str, str]) -> None:
    rehearsal = told(given)

    assert len(rehearsal.text.split()) > 30
    assert rehearsal.output["titles"]


def test_a_letter_recommends_nothing_that_the_reader_owns(told: Any) -> None:
    owned = set(Purchase.objects.filter(reader_id="r-001").values_list("title_id", flat=True))

    assert not owned & set(told({"reader": "r-001"}).output["titles"])


def test_a_retention_summary_names_the_reader_and_the_purchases(told: Any) -> None:
    purchase = Purchase.objects.filter(reader_id="r-001").select_related("reader", "title").order_by("-at").first()
    rehearsal = told({"reader": "r-001", "text": "monthly summary"})

    assert purchase is not None
    assert rehearsal.output["task"] == "retain"
    assert purchase.reader.name in rehearsal.text
    assert purchase.title.title in rehearsal.text


@pytest.mark.parametrize(
    ("given", "error"),
    [({"title": "nowhere"}, UnknownTitle), ({"reader": "r-none"}, UnknownReader), ({"order": "o-none"}, UnknownOrder)],
)
def test_what_the_shop_does_not_have_is_the_agents_own_error(told: Any, given: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        told(given)


def test_a_refund_is_stored_once_however_often_it_is_asked_for(told: Any) -> None:
    order = Purchase.objects.order_by("order")[0]
    first = told({"order": order.order})
    second = told({"order": order.order}, answers=DENIED)

    assert "approved" in first.text
    assert "approved" in second.text
    assert list(Refund.objects.values_list("order_id", "amount_usd", "decision")) == [(order.order, order.price_usd, "approved")]


def test_a_denied_refund_pays_nothing(told: Any) -> None:
    order = Purchase.objects.order_by("order")[0].order
    rehearsal = told({"order": order}, answers=DENIED)

    assert "denied" in rehearsal.text
    assert Refund.objects.get(pk=order).amount_usd == 0


def test_many_runs_share_one_small_pool(on_loop: OnLoop[Any]) -> None:
    async def sessions() -> int:
        counted = await postgres.fetch(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(counted[0]["count"])

    async def many() -> int:
        harness, before = Harness(MangaAssist), await sessions()
        await asyncio.gather(*(harness.run({"text": "a thriller about a doctor"}) for _ in range(40)))
        return await sessions() - before

    assert on_loop(many()) <= postgres.LARGEST
