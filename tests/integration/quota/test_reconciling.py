"""Reports of providers: imported once, compared with the ledger, shown in the terminal and in the admin."""

from __future__ import annotations

import io
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from quota.models import ProviderUsage, UsageImport
from quota.services import ledger, reconciling, usage
from tests.integration.quota.conftest import NOW
from tests.integration.quota.lines import TENANT, a_line

HEAD = "day,provider,model,requests,input_tokens,output_tokens,cached_tokens,usd\n"
AGREEING = HEAD + "2026-11-20,openai,gpt-4o-mini,2,1400,240,0,0.000944\n"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def booked() -> None:
    facts = {"provider": "openai", "model": "gpt-4o-mini"}
    ledger.append([a_line(**facts)])
    usage.sweep(now=NOW)
    ledger.append([a_line(**facts), a_line()])


def _file(folder: Path, text: str) -> str:
    (folder / "report.csv").write_text(text)
    return str(folder / "report.csv")


def _reconcile(*arguments: str) -> tuple[int, str]:
    told = io.StringIO()
    try:
        call_command("reconcile", *arguments, stdout=told)
    except SystemExit as ended:
        return int(str(ended.code)), told.getvalue()
    return 0, told.getvalue()


def test_a_report_that_agrees_ends_well(tmp_path: Path) -> None:
    status, told = _reconcile(_file(tmp_path, AGREEING))

    assert status == 0
    assert "openai/gpt-4o-mini" in told
    assert "All 1 within tolerance." in told


def test_a_difference_beyond_tolerance_ends_with_one(tmp_path: Path) -> None:
    status, told = _reconcile(_file(tmp_path, AGREEING.replace("1400", "9400")))

    assert status == 1
    assert "beyond tolerance" in told
    assert "+8,000" in told
    assert _reconcile("--slack", "8000")[0] == 0
    assert _reconcile("--tolerance", "86")[0] == 0


def test_the_same_file_is_imported_once_and_a_later_word_replaces_an_earlier(tmp_path: Path) -> None:
    assert "imported already" not in _reconcile(_file(tmp_path, AGREEING))[1]
    assert "imported already" in _reconcile(_file(tmp_path, AGREEING))[1]
    _reconcile(_file(tmp_path, AGREEING.replace("1400", "1500")))

    assert UsageImport.objects.count() == 2
    assert ProviderUsage.objects.get().input_tokens == 1_500


def test_a_report_that_cannot_be_read_imports_nothing(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="Line 3, input_tokens: 'many' is not a whole number"):
        call_command("reconcile", _file(tmp_path, AGREEING + "2026-11-21,openai,gpt-4o-mini,2,many,240,0,0\n"))

    assert not UsageImport.objects.exists()


def test_without_any_report_the_command_says_what_to_do() -> None:
    with pytest.raises(CommandError, match="name a file"):
        call_command("reconcile")


def test_the_admin_shows_what_differs_and_flags_it(admin_client: Client) -> None:
    reconciling.take(AGREEING.replace("240", "900").encode(), name="november.csv", by="ada", now=NOW)
    page = admin_client.get(reverse("admin:quota_reconciliation"))
    shown, figures = page.content.decode(), dict(page.context["figures"])

    assert figures["Beyond tolerance"] == "1"
    assert 'class="gx-flagged"' in shown
    assert "+660" in shown
    assert "november.csv" in shown
    assert dict(admin_client.get(reverse("admin:quota_reconciliation") + "?slack=660").context["figures"])["Beyond tolerance"] == "0"


def _upload(client: Client, text: str) -> str:
    form = {"report": SimpleUploadedFile("r.csv", text.encode()), "provider": ""}
    return client.post(reverse("admin:quota_reconciliation"), form, follow=True).content.decode()


def test_a_report_is_imported_in_the_admin_by_those_who_may(admin_client: Client, client: Client) -> None:
    assert "was imported" in _upload(admin_client, AGREEING)
    assert "imported already" in _upload(admin_client, AGREEING)
    assert "Line 2, day" in _upload(admin_client, AGREEING.replace("2026-11-20", "yesterday"))
    clerk = User.objects.create_user("clerk", password="a-long-password", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_usageimport"))
    client.force_login(clerk)

    assert client.get(reverse("admin:quota_reconciliation")).status_code == 200
    assert client.post(reverse("admin:quota_reconciliation"), {}).status_code == 403
    assert UsageImport.objects.get().imported_by == "admin"


def test_usage_is_shown_in_the_terminal() -> None:
    told = io.StringIO()
    call_command("usage", "--by", "model", "mode", "--until", "2026-11-20", "--days", "1", stdout=told)

    assert "gpt-4o-mini" in told.getvalue()
    assert str(Decimal("0.0014")) in told.getvalue()
    with pytest.raises(CommandError, match="no tenant called nobody"):
        call_command("usage", "--tenant", "nobody")


def test_usage_in_the_terminal_ends_with_its_last_day() -> None:
    told = io.StringIO()
    ledger.append([a_line(tenant_id=TENANT, at=NOW + timedelta(days=1), model="too-late")])
    call_command("usage", "--by", "model", "--until", "2026-11-20", stdout=told)

    assert "too-late" not in told.getvalue()
