"""Where alerts go: an address and the secret that signs them, refused at start when they could not work."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from config.env import BadSetting, read

SECRET = "whsec_" + base64.b64encode(b"x" * 24).decode()


def test_without_an_address_no_alert_is_sent_anywhere(tmp_path: Path) -> None:
    assert read({"GEARBOX_HOME": str(tmp_path)}).alert_webhook_url == ""


def test_an_address_and_its_secret_are_read(tmp_path: Path) -> None:
    given = {"ALERT_WEBHOOK_URL": "http://pager.internal:9000/hook", "ALERT_WEBHOOK_SECRET": SECRET}
    found = read({"GEARBOX_HOME": str(tmp_path), **given})

    assert (found.alert_webhook_url, found.alert_webhook_secret) == ("http://pager.internal:9000/hook", SECRET)


@pytest.mark.parametrize(
    ("url", "secret", "named"),
    [
        ("ftp://pager.internal", SECRET, "ALERT_WEBHOOK_URL"),
        ("https://pager.example", "", "ALERT_WEBHOOK_SECRET"),
        ("https://pager.example", "opensesame", "ALERT_WEBHOOK_SECRET"),
        ("https://pager.example", "whsec_" + base64.b64encode(b"x" * 23).decode(), "ALERT_WEBHOOK_SECRET"),
        ("https://pager.example", "whsec_" + base64.b64encode(b"x" * 65).decode(), "ALERT_WEBHOOK_SECRET"),
        ("https://pager.example", "whsec_!", "ALERT_WEBHOOK_SECRET"),
        ("https://pager.example", SECRET.removeprefix("whsec_"), "ALERT_WEBHOOK_SECRET"),
    ],
)
def test_what_could_not_work_is_named_and_a_secret_is_not_repeated(tmp_path: Path, url: str, secret: str, named: str) -> None:
    with pytest.raises(BadSetting) as refused:
        read({"GEARBOX_HOME": str(tmp_path), "ALERT_WEBHOOK_URL": url, "ALERT_WEBHOOK_SECRET": secret})

    assert refused.value.name == named
    assert not secret or secret not in str(refused.value)
