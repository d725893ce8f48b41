"""One W3C traceparent an invocation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invocation.domain import traces

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_callers_trace_goes_on_with_a_span_of_our_own() -> None:
    version, trace, span, flags = traces.taken(f"00-{TRACE}-{SPAN}-01").split("-")

    assert (version, trace, flags) == ("00", TRACE, "01")
    assert span != SPAN
    assert len(span) == 16


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "x",
        f"01-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_a_malformed_header_begins_a_new_trace(header: str | None) -> None:
    found = traces.taken(header)

    assert traces._FORM.fullmatch(found)
    assert TRACE not in found


@given(st.text(max_size=80))
def test_whatever_the_header_says_the_trace_is_well_formed(header: str) -> None:
    assert traces._FORM.fullmatch(traces.taken(header))


def test_every_new_trace_is_another() -> None:
    assert len({traces.new() for _ in range(100)}) == 100
