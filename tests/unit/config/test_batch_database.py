"""The setting of the second database: a URL of another one, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.env import BadSetting, read

FIRST = "postgresql://a:b@db.example:5432/gearbox"


def given(batches: str, home: Path) -> dict[str, str]:
    return {"GEARBOX_HOME": str(home), "DATABASE_URL": FIRST, "BATCH_DATABASE_URL": batches}


@pytest.mark.parametrize(
    "found",
    ["postgresql://c:d@db.example/batches", "postgres://a:b@other.example:5432/gearbox", "postgresql://a:b@db.example:5433/gearbox"],
)
def test_another_database_is_taken(found: str, tmp_path: Path) -> None:
    assert read(given(found, tmp_path)).batch_database_url == found


def test_nothing_is_one_database(tmp_path: Path) -> None:
    assert read(given("", tmp_path)).batch_database_url is None


@pytest.mark.parametrize(
    "found",
    ["mysql://a:b@db.example/x", "postgresql://a:secret@db.example", FIRST, "postgres://other:secret@db.example/gearbox?sslmode=require"],
)
def test_what_is_no_other_database_is_refused_by_name_and_its_password_is_not_told(found: str, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="BATCH_DATABASE_URL") as refused:
        read(given(found, tmp_path))
    assert "secret" not in str(refused.value)
