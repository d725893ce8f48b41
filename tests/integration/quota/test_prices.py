"""Prices: what an operator says goes before the table, from its moment on, in every process within 5 s."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError, transaction

from quota.domain.errors import PriceInEffect, PriceRefused, UnknownPrice
from quota.domain.prices import PriceSource
from quota.models import ModelPrice, QuotaChange
from quota.services import prices, snapshots
from tests.integration.quota.conftest import NOW

HOUR = timedelta(hours=1)
OFFLINE = ("offline", "gearbox-offline-standard")


@pytest.fixture(autouse=True)
def read_anew() -> Iterator[None]:
    prices.forget()
    yield
    prices.forget()


def _price(**facts: Any) -> ModelPrice:
    usual = {"provider": OFFLINE[0], "model": OFFLINE[1], "input_usd": Decimal(3), "output_usd": Decimal(15), "cached_usd": Decimal(1)}
    return ModelPrice(**{**usual, "valid_from": None, "reason": "a contract", **facts})


def _set(now: Any = NOW, **facts: Any) -> ModelPrice:
    return prices.set_price(_price(**facts), by="ada", now=now)


@pytest.mark.django_db
def test_an_override_goes_before_the_table_from_its_moment_until_it_is_ended() -> None:
    _set(now=NOW, valid_from=NOW + HOUR)
    _set(now=NOW, valid_from=NOW + 2 * HOUR, input_usd=None, output_usd=None, cached_usd=None)
    found = [prices.effective(*OFFLINE, at=NOW + hours * HOUR) for hours in (0, 1, 2)]

    assert [each.source for each in found] == [PriceSource.OFFLINE, PriceSource.OVERRIDE, PriceSource.OFFLINE]
    assert [each.price.input for each in found] == [Decimal("0.40"), Decimal(3), Decimal("0.40")]


@pytest.mark.django_db
def test_a_model_that_the_table_does_not_know_can_be_given_a_price() -> None:
    with pytest.raises(UnknownPrice):
        prices.effective("ours", "tuned", at=NOW)
    _set(provider="ours", model="tuned")

    assert prices.effective("ours", "tuned", at=NOW).price.output == Decimal(15)


@pytest.mark.django_db(transaction=True)
async def test_what_another_process_said_holds_here_within_5_s(closing: None) -> None:
    before = await prices.price_of(*OFFLINE, at=NOW)
    await sync_to_async(lambda: _price(valid_from=NOW, set_by="another process", set_at=NOW).save())()
    async with asyncio.timeout(snapshots.FRESH_S + 1):
        while (await prices.price_of(*OFFLINE, at=NOW)).input == before.input:  # noqa: ASYNC110  (what is waited for is the snapshot's age)
            await asyncio.sleep(0.05)

    assert (await prices.price_of(*OFFLINE, at=NOW)).input == Decimal(3)


@pytest.mark.django_db
def test_a_price_cannot_reach_back_to_calls_that_were_paid() -> None:
    with pytest.raises(PriceRefused) as refused:
        _set(valid_from=NOW - timedelta(seconds=1))

    assert refused.value.field == "valid_from"
    assert not ModelPrice.objects.exists()


@pytest.mark.django_db
def test_two_prices_of_a_model_cannot_begin_at_one_moment() -> None:
    _set()
    with pytest.raises(PriceRefused):
        _set()

    assert QuotaChange.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", [{"cached_usd": None}, {"input_usd": Decimal(-1)}, {"reason": ""}, {"set_at": NOW + HOUR}])
def test_the_database_refuses_a_price_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        _price(**{"valid_from": NOW, "set_by": "ada", "set_at": NOW, **wrong}).save()


@pytest.mark.django_db
def test_a_price_in_effect_is_neither_changed_nor_deleted() -> None:
    price = _set()

    with pytest.raises(PriceInEffect):
        prices.withdraw(price, by="ada", now=NOW)
    with pytest.raises(IntegrityError, match="superseded"), transaction.atomic():
        ModelPrice.objects.update(input_usd=0)
    with pytest.raises(IntegrityError, match="superseded"), transaction.atomic():
        ModelPrice.objects.filter(pk=price.pk).delete()


@pytest.mark.django_db
def test_a_price_of_the_future_can_be_withdrawn_on_record(now: Any) -> None:
    price = _set(now=now, valid_from=now + HOUR)
    prices.withdraw(price, by="bob", now=now)

    assert not ModelPrice.objects.exists()
    assert list(QuotaChange.objects.order_by("id").values_list("act", "by")) == [("added", "ada"), ("deleted", "bob")]


@pytest.fixture
async def closing() -> AsyncIterator[None]:
    from django.db import connections

    yield
    await sync_to_async(connections.close_all)()
