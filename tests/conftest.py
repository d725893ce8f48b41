"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import django_stubs_ext
import pytest
from django.conf import settings
from django.db import connections
from pytest_django import DjangoDbBlocker

from invocation.gateways import s3
from tests import aws, emptying
from tests.installation import Installation, start

django_stubs_ext.monkeypatch()  # tests import forms and admins without config.urls
emptying.install()

DATABASE_FIXTURES = frozenset({"db", "transactional_db", "django_db_reset_sequences"})
KEPT_FOR_GOOD = (
    ("default", "quota_ledgerentry", "ledger_is_not_emptied"),
    ("default", "quota_quotachange", "changes_are_not_emptied"),
    (settings.BATCH_DATABASE, "quota_batchledgerentry", "batch_ledger_is_not_emptied"),
)
DECLARED = "config.endpoints,tests.browser.staged"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--batches-away", action="store_true", help="No test may use the database of batches, which is another that is away.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let who uses the installation that all share come last: begun early, its nine processes would run beside all others."""
    items.sort(key=lambda item: "up" in getattr(item, "fixturenames", ()))
    if settings.BATCH_DATABASE != "default" and not config.getoption("batches_away"):
        for item in items:
            _use_both(item)


def _use_both(item: pytest.Item) -> None:
    """Let a test that uses the database use the batches' as well, where that is another."""
    mark = item.get_closest_marker("django_db")
    if mark or DATABASE_FIXTURES.intersection(getattr(item, "fixturenames", ())):
        told = {**(mark.kwargs if mark else {}), "databases": ["default", settings.BATCH_DATABASE]}
        item.add_marker(pytest.mark.django_db(**told), append=False)


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
def aws_address() -> Iterator[str]:
    """Where the stand-in of S3 and Glue answers."""
    with aws.serving() as address:
        yield address
        s3.close()


@pytest.fixture
def s3_folder(aws_address: str, monkeypatch: pytest.MonkeyPatch, settings: Any) -> str:
    """A place of the test's own in the stand-in, which the product uses as its S3: `s3://bucket/prefix`."""
    for name, value in aws.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    settings.S3_ENDPOINT_URL = aws_address
    return f"s3://{aws.BUCKET}/{uuid4().hex}"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker, pytestconfig: pytest.Config) -> Iterator[None]:
    """Let tests empty what is kept for good; and let go of the databases before they are dropped: loops that ended kept connections."""
    there = ["default"] if pytestconfig.getoption("batches_away") else list(connections)
    with django_db_blocker.unblock():
        for alias, table, trigger in KEPT_FOR_GOOD:
            if alias not in there:
                continue
            with connections[alias].cursor() as cursor:
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
    yield
    with django_db_blocker.unblock():
        for alias in there:
            with connections[alias].cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
