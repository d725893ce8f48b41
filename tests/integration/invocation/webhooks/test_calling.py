"""One call: bounded whatever the receiver does, and made to the address that was checked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from invocation.domain.destinations import ANYWHERE, PUBLIC, Reach, is_public
from invocation.domain.webhooks import LONGEST_EXCERPT, Answer, CallFault
from invocation.gateways import calling
from invocation.gateways.calling import Caller, Resolve
from tests.integration.invocation.webhooks.receivers import (
    Behave,
    Names,
    Receiver,
    certified,
    close,
    drip,
    endless_head,
    hang,
    plain,
    receiving,
    stream_for_ever,
)

OUTSIDE = "127.0.0.2"
"""Stands for an address of the public internet: the one of this machine that the tests' policy lets through."""


def allows_outside(address: str) -> bool:
    return address == OUTSIDE or is_public(address)


STRICT = Reach(schemes=frozenset({"http", "https"}), ports=frozenset(), allows=allows_outside)


@asynccontextmanager
async def caller(
    *, reach: Reach = ANYWHERE, resolve: Resolve = calling.resolve, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Caller]:
    made = Caller(reach=reach, resolve=resolve, tls=tls)
    try:
        yield made
    finally:
        await made.aclose()


async def told(url: str, *, reach: Reach = ANYWHERE, resolve: Resolve = calling.resolve, tls: ssl.SSLContext | None = None) -> Answer:
    async with caller(reach=reach, resolve=resolve, tls=tls) as calls:
        return await calls.post(url, headers={"webhook-id": "1"}, body=b'{"a":1}')


async def answer_of(behave: Behave) -> tuple[Answer, Receiver]:
    async with receiving(behave) as receiver:
        return await told(receiver.url), receiver


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of a call, shortened to a fifth: what these tests call never answers, and without a limit they would not end."""
    for name in ("CONNECT_S", "WHOLE_S", "READING_S"):
        monkeypatch.setattr(calling, name, getattr(calling, name) / 5)


async def test_the_body_and_the_headers_arrive_as_given() -> None:
    answer, receiver = await answer_of(plain(201, body=b"thanks"))
    (heard,) = receiver.heard

    assert (answer.status, answer.fault, answer.excerpt) == (201, None, "thanks")
    assert heard.line == "POST /hook HTTP/1.1"
    assert heard.body == b'{"a":1}'
    assert (heard.headers["host"], heard.headers["webhook-id"]) == (f"127.0.0.1:{receiver.port}", "1")
    assert heard.headers["user-agent"].startswith("Gearbox")
    assert not {"authorization", "cookie", "x-forwarded-for"} & set(heard.headers)


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with receiving() as inside, receiving(plain(302, location=inside.url), plain(307, location=inside.url)) as outside:
        answers = [await told(outside.url), await told(outside.url)]

    assert [answer.status for answer in answers] == [302, 307]
    assert inside.connections == 0


async def test_who_is_busy_says_when_to_come_back() -> None:
    answer, _ = await answer_of(plain(429, retry_after="90"))

    assert (answer.status, answer.retry_after and answer.retry_after.total_seconds()) == (429, 90.0)


async def test_an_answer_is_kept_only_as_far_as_its_first_500_characters() -> None:
    answer, _ = await answer_of(plain(500, body="ä\0".encode() * 5_000))

    assert answer.excerpt == "ä\N{REPLACEMENT CHARACTER}" * (LONGEST_EXCERPT // 2)


async def test_an_answer_without_an_end_is_cut_off_and_its_status_stands() -> None:
    answer, _ = await answer_of(stream_for_ever)

    assert (answer.status, len(answer.excerpt)) == (200, LONGEST_EXCERPT)


@pytest.mark.usefixtures("hurried")
async def test_an_answer_that_drips_is_cut_off_and_its_status_stands() -> None:
    answer, _ = await answer_of(drip)

    assert answer.status == 202


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("behave", "fault"), [(hang, CallFault.TIMED_OUT), (close, CallFault.BROKE_OFF), (endless_head, CallFault.BROKE_OFF)]
)
async def test_no_answer_is_a_fault_within_the_limit(behave: Behave, fault: CallFault) -> None:
    answer, receiver = await answer_of(behave)

    assert (answer.status, answer.fault) == (None, fault)
    assert len(receiver.heard) == 1


@pytest.mark.usefixtures("hurried")
async def test_who_takes_the_connection_and_never_speaks_tls_is_left() -> None:
    async with receiving(hang) as receiver:
        answer = await told(receiver.url.replace("http:", "https:"))

    assert answer.fault is CallFault.TIMED_OUT


@pytest.mark.usefixtures("hurried")
async def test_a_name_server_that_hangs_is_left() -> None:
    async def never(host: str, port: int) -> list[str]:
        await asyncio.sleep(3600)
        return []

    assert (await told("https://hook.example/", resolve=never)).fault is CallFault.TIMED_OUT


async def test_who_is_not_there_is_unreachable_and_who_has_no_name_unknown() -> None:
    async with receiving() as receiver:
        url = receiver.url
    gone = await told(url)
    nameless = await told("https://hook.invalid/", resolve=Names())

    assert (gone.fault, nameless.fault) == (CallFault.UNREACHABLE, CallFault.UNKNOWN_HOST)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::127.0.0.1"],
        ["2002:7f00:1::"],
        ["fd00:ec2::254"],
        [OUTSIDE, "127.0.0.1"],
        ["127.0.0.1", OUTSIDE],
    ],
)
async def test_a_name_of_which_any_address_is_closed_is_not_called(addresses: list[str]) -> None:
    async with receiving() as inside, receiving(host=OUTSIDE) as outside:
        for port in (inside.port, outside.port):
            answer = await told(f"http://hook.example:{port}/", reach=STRICT, resolve=Names(hook_example=[addresses]))
            assert answer.fault is CallFault.ADDRESS_REFUSED

    assert (inside.connections, outside.connections) == (0, 0)


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f000001", "2130706433", "ip6-localhost"])
async def test_the_systems_own_names_for_this_machine_are_refused_too(host: str) -> None:
    strict = Reach(schemes=PUBLIC.schemes | {"http"}, ports=PUBLIC.ports, allows=PUBLIC.allows)
    async with receiving() as inside:
        answer = await told(f"http://{host}:{inside.port}/", reach=strict)

    assert answer.fault in {CallFault.ADDRESS_REFUSED, CallFault.UNKNOWN_HOST}
    assert inside.connections == 0


async def test_a_name_that_moves_inside_is_called_where_it_was_checked_and_then_no_more() -> None:
    """DNS rebinding: the first look-up is let through, every later one leads inside."""
    names = Names(hook_example=[[OUTSIDE], ["127.0.0.1"]])
    async with receiving(host=OUTSIDE) as outside, receiving() as inside, caller(reach=STRICT, resolve=names) as calls:
        url = f"http://hook.example:{outside.port}/"
        first = await calls.post(url, headers={}, body=b"")
        assert names.asked == ["hook.example"], "one look-up a try: what was checked is what is called"
        second = await calls.post(url, headers={}, body=b"")
        third = await calls.post(f"http://hook.example:{inside.port}/", headers={}, body=b"")

    assert (first.status, second.fault, third.fault) == (204, CallFault.ADDRESS_REFUSED, CallFault.ADDRESS_REFUSED)
    assert outside.heard[0].headers["host"] == f"hook.example:{outside.port}"
    assert (outside.connections, inside.connections) == (1, 0)


async def test_a_url_that_was_kept_under_other_settings_is_refused_at_the_call() -> None:
    async with receiving() as inside:
        answer = await told(inside.url, reach=PUBLIC)

    assert (answer.fault, inside.connections) == (CallFault.URL_REFUSED, 0)


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    async with receiving(host=OUTSIDE) as outside:
        names = Names(hook_example=[["127.0.0.3", OUTSIDE]])
        answer = await told(f"http://hook.example:{outside.port}/", resolve=names)

    assert answer.status == 204


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving(plain(200)) as receiver:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        answer = await told(receiver.url)

    assert (answer.status, proxy.connections) == (200, 0)


async def test_neither_a_cookie_nor_a_connection_is_kept() -> None:
    async with receiving(plain(200, set_cookie="a=b; Path=/"), keeps=True) as receiver, caller() as calls:
        for _ in range(2):
            await calls.post(receiver.url, headers={}, body=b"")

    assert [heard.headers.get("cookie") for heard in receiver.heard] == [None, None]
    assert receiver.connections == 2


async def test_tls_shows_and_checks_the_name_and_not_the_address(tmp_path: Path) -> None:
    made = certified(tmp_path, "hook.example")
    names = Names(hook_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
    async with receiving(tls=made.server, name="hook.example") as receiver:
        good = await told(receiver.url, resolve=names, tls=made.client)
        other = await told(receiver.url.replace("hook.", "other."), resolve=names, tls=made.client)
        by_address = await told(receiver.url.replace("hook.example", "127.0.0.1"), tls=made.client)
        by_a_stranger = await told(receiver.url, resolve=names)

    assert (good.status, good.fault) == (204, None)
    assert {each.fault for each in (other, by_address, by_a_stranger)} == {CallFault.TLS_FAILED}
    assert len(receiver.heard) == 1


async def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    made = certified(tmp_path, "hook.example", days=-1)
    async with receiving(tls=made.server, name="hook.example") as receiver:
        answer = await told(receiver.url, resolve=Names(hook_example=[["127.0.0.1"]]), tls=made.client)

    assert answer.fault is CallFault.TLS_FAILED
