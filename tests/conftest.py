"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import django_stubs_ext
import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from tests import emptying
from tests.installation import Installation, start

django_stubs_ext.monkeypatch()  # tests import forms and admins without config.urls
emptying.install()

DECLARED = "config.endpoints,tests.browser.staged"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let who uses the installation that all share come last: begun early, its nine processes would run beside all others."""
    items.sort(key=lambda item: "up" in getattr(item, "fixturenames", ()))


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation for all tests of the session that do it no lasting harm: a model that is made to fail stays in use."""
    installation = start(tmp_path_factory.mktemp("up"), OFFLINE_FAULT_MARKERS="1", BREAKER_FAILURES="100000", ENDPOINT_MODULES=DECLARED)
    yield installation
    installation.manage("down")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Let tests empty what is kept for good; and let go of the database before it is dropped: loops that ended kept connections."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE quota_ledgerentry DISABLE TRIGGER ledger_is_not_emptied")
        cursor.execute("ALTER TABLE quota_quotachange DISABLE TRIGGER changes_are_not_emptied")
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
