"""The ledger against a provider's report: what agrees, what estimates explain, what is beyond tolerance."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from quota.domain.errors import ReportInvalid
from quota.domain.reconciling import Key, Reported, Tolerance, Verdict, compare
from quota.domain.usage import Figures
from quota.gateways.usage_reports import read

DAY = date(2026, 11, 20)
KEY = Key(DAY, "openai", "gpt-4o-mini")
EXACTLY = Tolerance(share=Decimal(0), tokens=0)
HEAD = "day,provider,model,requests,input_tokens,output_tokens,cached_tokens,usd\n"


def _ours(**facts: Any) -> Figures:
    return Figures(**{"calls": 10, "input_tokens": 10_000, "output_tokens": 2_000, "cost_usd": Decimal(2), **facts})


def _theirs(**facts: Any) -> Reported:
    return Reported(**{"requests": 10, "input_tokens": 10_000, "output_tokens": 2_000, "cost_usd": Decimal(2), **facts})


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ({}, {}, Verdict.AGREES),
        ({}, {"input_tokens": 10_100}, Verdict.AGREES),
        ({}, {"input_tokens": 10_200}, Verdict.BEYOND),
        ({}, {"input_tokens": 9_000}, Verdict.BEYOND),
        ({}, {"input_tokens": 10_900, "output_tokens": 1_100}, Verdict.BEYOND),
        ({}, {"cost_usd": Decimal("2.03")}, Verdict.BEYOND),
        ({}, {"cost_usd": None}, Verdict.AGREES),
        ({}, {"requests": 0}, Verdict.AGREES),
        ({"estimated_tokens": 9_000}, {"requests": 11, "input_tokens": 10_900}, Verdict.BEYOND),
        ({"estimated_tokens": 300}, {"input_tokens": 10_300}, Verdict.EXPLAINED),
        ({"estimated_tokens": 300}, {"input_tokens": 10_600}, Verdict.BEYOND),
        ({"estimated_usd": Decimal("0.05")}, {"cost_usd": Decimal("2.04")}, Verdict.EXPLAINED),
        ({}, {"input_tokens": 10_050, "output_tokens": 2_050}, Verdict.AGREES),
    ],
)
def test_a_day_of_a_model_is_judged_by_tokens_and_money(ours: dict[str, Any], theirs: dict[str, Any], verdict: Verdict) -> None:
    (found,) = compare({KEY: _ours(**ours)}, {KEY: _theirs(**theirs)}, tolerance=Tolerance())

    assert found.verdict is verdict
    assert found.is_flagged is (verdict is Verdict.BEYOND)


def test_what_one_side_does_not_know_is_flagged() -> None:
    other = Key(DAY, "openai", "gpt-4.1")
    found = compare({KEY: _ours()}, {other: _theirs()}, tolerance=EXACTLY)

    assert {each.key.model: each.verdict for each in found} == {"gpt-4.1": Verdict.UNBOOKED, "gpt-4o-mini": Verdict.UNREPORTED}
    assert [each.tokens for each in found] == [12_000, -12_000]
    assert [each.cost_usd for each in found] == [Decimal(2), Decimal(-2)]


def test_days_and_providers_that_no_report_covers_are_left_alone() -> None:
    later, elsewhere = Key(DAY + timedelta(days=1), "openai", "gpt-4o-mini"), Key(DAY, "offline", "gearbox-offline-standard")
    found = compare({KEY: _ours(), later: _ours(), elsewhere: _ours()}, {KEY: _theirs()}, tolerance=EXACTLY)

    assert [each.key for each in found] == [KEY]


def test_a_report_is_read_as_csv_and_as_json_lines() -> None:
    table = read((HEAD + "2026-11-20,openai,gpt-4o-mini,3,900,100,200,0.25\n").encode("utf-8-sig"))
    lines = read(
        b'{"day":"2026-11-20","model":"gpt-4o-mini","requests":1,"input_tokens":400,"output_tokens":60,"cached_tokens":200,"usd":0.1}\n\n'
        b'{"day":"2026-11-20","model":"gpt-4o-mini","requests":2,"input_tokens":500,"output_tokens":40,"usd":0.15}\n',
        provider="openai",
    )

    assert table == lines
    assert table[KEY] == Reported(requests=3, input_tokens=900, output_tokens=100, cached_tokens=200, cost_usd=Decimal("0.25"))


@pytest.mark.parametrize(
    ("content", "line", "field"),
    [
        ("", 1, "day"),
        (HEAD, 1, "day"),
        ("date,tokens\n2026-11-20,5\n", 1, "day"),
        (HEAD + "20.11.2026,openai,m,1,1,1,0,0\n", 2, "day"),
        (HEAD + "2026-11-20,,m,1,1,1,0,0\n", 2, "provider"),
        (HEAD + "2026-11-20,openai,,1,1,1,0,0\n", 2, "model"),
        (HEAD + "2026-11-20,openai,m,1,-1,1,0,0\n", 2, "input_tokens"),
        (HEAD + "2026-11-20,openai,m,1,1.5,1,0,0\n", 2, "input_tokens"),
        (HEAD + "2026-11-20,openai,m,1,1,1,2,0\n", 2, "cached_tokens"),
        (HEAD + "2026-11-20,openai,m,1,1,1,0,NaN\n", 2, "usd"),
        (HEAD + "2026-11-20,openai,m,1,1\n", 2, "output_tokens"),
        ('{"day":"2026-11-20"}\n[1]\n', 1, "provider"),
        ('{"day":\n', 1, ""),
        ('{"day":"2026-11-20","provider":"o","model":"m","input_tokens":true,"output_tokens":1}', 1, "input_tokens"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_with_its_field(content: str, line: int, field: str) -> None:
    with pytest.raises(ReportInvalid) as refused:
        read(content.encode())

    assert (refused.value.line, refused.value.field) == (line, field)
