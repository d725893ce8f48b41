"""The reference library of Standard Webhooks takes what we send, and refuses what was changed."""

from __future__ import annotations

from typing import Any

import pytest
import standardwebhooks

from tests.integration.invocation.conftest import OnLoop
from tests.integration.invocation.webhooks.sent import sent, spoiled

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def this_machine(settings: Any) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = True


def test_it_takes_what_is_sent(on_loop: OnLoop[Any]) -> None:
    kept, receiver = sent(on_loop)
    (heard,) = receiver.heard

    assert standardwebhooks.Webhook(kept.secret).verify(heard.body, dict(heard.headers)) == heard.told


def test_it_takes_either_secret_while_a_rotation_lasts(on_loop: OnLoop[Any]) -> None:
    kept, receiver = sent(on_loop, rotates=True)
    (heard,) = receiver.heard

    for secret in (kept.secret, kept.fresh):
        assert standardwebhooks.Webhook(secret).verify(heard.body, dict(heard.headers)) == heard.told


@pytest.mark.parametrize("part", ["body", "id", "moment", "secret"])
def test_it_refuses_what_was_changed(on_loop: OnLoop[Any], part: str) -> None:
    kept, receiver = sent(on_loop)
    changed, secret = spoiled(receiver.heard[0], kept.secret, part)

    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(secret).verify(changed.body, dict(changed.headers))
