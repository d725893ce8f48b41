from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearbox_client import UnreadableAnswer, sse
from gearbox_client.sse import Frame, Parser

STREAM = (
    ': open\n\nid: 1\nevent: delta\ndata: {"text": "Grüße 漫画"}\n\nid: 2\nevent: delta\ndata: one\ndata: two\n\ndata:bare\n\n'.encode()
)
FRAMES = [Frame("1", "delta", '{"text": "Grüße 漫画"}'), Frame("2", "delta", "one\ntwo"), Frame("2", "message", "bare")]


def parsed(*chunks: bytes) -> list[Frame]:
    parser = Parser()
    return [frame for chunk in chunks for frame in parser.feed(chunk)]


def test_a_whole_stream_is_read_frame_by_frame() -> None:
    assert parsed(STREAM) == FRAMES


@pytest.mark.parametrize("ending", [b"\r\n", b"\r"])
def test_every_line_ending_of_the_standard_ends_a_line(ending: bytes) -> None:
    assert parsed(STREAM.replace(b"\n", ending)) == FRAMES


@given(st.lists(st.integers(0, 2 * len(STREAM)), max_size=30), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_where_the_bytes_are_split_makes_no_difference(cuts: list[int], ending: bytes) -> None:
    raw = STREAM.replace(b"\n", ending)
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]

    assert parsed(*(raw[start:end] for start, end in itertools.pairwise(places))) == FRAMES


def test_a_crlf_that_is_split_ends_one_line_and_not_two() -> None:
    assert parsed(b"data: a\r", b"\ndata: b\r", b"", b"\n\r", b"\n") == [Frame("", "message", "a\nb")]


def test_a_frame_that_is_not_whole_is_not_told() -> None:
    assert parsed(b"id: 7\ndata: half") == []
    assert parsed(b"id: 7\ndata: half\n") == []


def test_comments_unknown_fields_and_empty_events_are_passed_over() -> None:
    assert parsed(b": alive\nretry: 10\nfancy: yes\nevent: delta\n\ndata: x\n\n") == [Frame("", "message", "x")]


def test_only_one_space_behind_the_colon_is_no_part_of_the_value() -> None:
    assert parsed(b"data:  x\n\n") == [Frame("", "message", " x")]


def test_a_byte_order_mark_at_the_beginning_is_no_part_of_the_first_field() -> None:
    assert parsed(b"\xef\xbb\xbfdata: x\n\n") == [Frame("", "message", "x")]


def test_an_id_with_a_nul_is_passed_over() -> None:
    assert parsed(b"id: 1\ndata: x\n\nid: 2\0\ndata: y\n\n") == [Frame("1", "message", "x"), Frame("1", "message", "y")]


@pytest.mark.parametrize("chunk", [b"data: xxxxxxxx\n", b"data: xxxxxxxx"])
def test_a_frame_beyond_the_limit_is_refused_before_memory_is_gone(chunk: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MOST_BYTES", 100)
    with pytest.raises(UnreadableAnswer):
        parsed(*[chunk] * 20)
