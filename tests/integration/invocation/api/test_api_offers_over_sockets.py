"""Offers of an escape hatch, accepted on the connection on which they came."""

from __future__ import annotations

import pytest

from invocation.gateways.database import off_loop
from tests.integration.invocation.api.calling import Account, open_account
from tests.integration.invocation.api.test_api_offers import failed_turn
from tests.integration.invocation.api.test_api_sockets import bearer, connected

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("on_this_loop")]


@pytest.fixture
def caller(transactional_db: None) -> Account:
    return open_account()


async def test_an_offer_is_accepted_over_the_socket_and_answered_with_its_job(caller: Account) -> None:
    turn = await off_loop(lambda: failed_turn(caller))
    async with connected(f"/ws/chat/chat@1?session={turn.session_id}", bearer(caller)) as socket:
        await socket.hear()
        told = []
        for frame in ({"type": "accept", "turn": str(turn.pk)},) * 2:
            await socket.say(frame)
            told.append(await socket.hear())
        await socket.say({"type": "accept", "turn": "none"})
        refused = await socket.hear()

    assert [event["type"] for event in told] == ["offer.accepted"] * 2
    assert told[0]["data"] == told[1]["data"]
    assert (told[0]["data"]["turn"], told[0]["data"]["endpoint"]) == (str(turn.pk), "personalize@1")
    assert (refused["type"], refused["data"]["code"]) == ("error", "not_found")
