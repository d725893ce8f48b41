from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invocation.domain.errors import BodyTooLarge, InputInvalid
from invocation.domain.frames import A_SECOND, AT_ONCE, MOST_BYTES, FrameType, Pace, parse_frame


def test_an_acceptance_names_its_turn() -> None:
    frame = parse_frame('{"type": "accept", "turn": "018f0000-0000-7000-8000-000000000001"}')

    assert (frame.type, frame.turn) == (FrameType.ACCEPT, "018f0000-0000-7000-8000-000000000001")


def test_a_turn_is_read_with_all_that_it_says() -> None:
    frame = parse_frame('{"type": "turn", "input": {"text": "hi"}, "locale": "de", "subject": "r", "metadata": {"a": "b"}}')

    assert (frame.type, frame.input, frame.locale) == (FrameType.TURN, {"text": "hi"}, "de")
    assert (frame.subject, frame.metadata, frame.bytes) == ("r", {"a": "b"}, 97)


def test_a_cancel_needs_nothing_else() -> None:
    assert parse_frame(b'{"type": "cancel"}').type is FrameType.CANCEL


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ("", "/"),
        ("{", "/"),
        ("[]", "/"),
        ("[" * 50_000, "/"),
        ("{}", "/type"),
        ('{"type": "shout"}', "/type"),
        ('{"type": {}}', "/type"),
        ('{"type": "turn", "words": 1}', "/words"),
        ('{"type": "turn", "input": "hi"}', "/input"),
        ('{"type": "turn", "input": {"text": "a\\u0000b"}}', "/"),
        ('{"type": "turn", "locale": 3}', "/locale"),
        ('{"type": "turn", "locale": "a language tag too long"}', "/locale"),
        ('{"type": "turn", "metadata": {"a": 1}}', "/metadata"),
    ],
)
def test_a_malformed_frame_names_its_field(raw: str, field: str) -> None:
    with pytest.raises(InputInvalid) as refused:
        parse_frame(raw)

    assert refused.value.facts["field"] == field


def test_a_frame_above_the_limit_is_refused_unread() -> None:
    with pytest.raises(BodyTooLarge) as refused:
        parse_frame("x" * (MOST_BYTES + 1))

    assert refused.value.facts["limit"] == MOST_BYTES


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda below: st.lists(below) | st.dictionaries(st.text(), below)
)


@given(st.binary() | anything.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_sent_is_a_frame_or_a_typed_refusal(raw: bytes) -> None:
    outcome: object
    try:
        outcome = parse_frame(raw).type
    except (InputInvalid, BodyTooLarge) as refused:
        outcome = refused.code
    assert outcome in {*FrameType, InputInvalid.code, BodyTooLarge.code}


def test_frames_may_come_in_a_burst_and_then_at_a_persons_pace() -> None:
    pace = Pace(at_s=100.0)

    assert [pace.allows(now_s=100.0) for _ in range(AT_ONCE + 1)] == [True] * AT_ONCE + [False]
    assert [pace.allows(now_s=101.0) for _ in range(A_SECOND + 1)] == [True] * A_SECOND + [False]
    assert all(pace.allows(now_s=102.0 + number / A_SECOND) for number in range(100))
