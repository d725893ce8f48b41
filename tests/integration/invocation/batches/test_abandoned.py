"""What a killed writer leaves is seen by nobody and taken away."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from invocation.gateways.stores import store_at
from invocation.services import cleaning
from tests import aws
from tests.integration.invocation.batches.planned import opened

ROOT = Path(__file__).resolve().parents[4]
WRITER = """
import sys, time
from django.conf import settings
settings.configure(S3_ENDPOINT_URL=sys.argv[1])
from invocation.gateways import s3
from invocation.gateways.stores import store_at
with store_at(sys.argv[2]).open_whole("data/part.parquet") as file:
    file.write(b"x" * (2 * s3.PART_BYTES + 5))
    print("sent", flush=True)
    time.sleep(600)
"""


def killed_while_writing(address: str, location: str) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, address, location], cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "sent\n"
        writer.send_signal(signal.SIGKILL)


def uploads(address: str, prefix: str) -> list[str]:
    with aws.client("s3", address) as s3:
        found = s3.list_multipart_uploads(Bucket=aws.BUCKET).get("Uploads", ())
    return [upload["Key"] for upload in found if upload["Key"].startswith(prefix)]


def test_an_upload_that_a_kill_broke_off_is_invisible_and_cleaned(aws_address: str, s3_folder: str) -> None:
    store = store_at(s3_folder)
    store.write_whole("data/other.parquet", b"whole")
    killed_while_writing(aws_address, s3_folder)
    prefix = s3_folder.removeprefix(f"s3://{aws.BUCKET}/")

    assert uploads(aws_address, prefix) == [f"{prefix}/data/part.parquet"]
    assert [path for path, _ in store.list()] == ["data/other.parquet"]
    assert not store.exists("data/part.parquet")
    with pytest.raises(FileNotFoundError):
        store.open_input("data/part.parquet")

    assert store_at(f"{s3_folder}-beside").remove_abandoned(before=datetime.now(UTC).timestamp()) == 0
    assert store.remove_abandoned(before=0) == 0
    assert uploads(aws_address, prefix)
    assert store.remove_abandoned(before=datetime.now(UTC).timestamp()) == 1
    assert not uploads(aws_address, prefix)
    assert [path for path, _ in store.list()] == ["data/other.parquet"]


@pytest.mark.usefixtures("tried")
@pytest.mark.django_db
def test_the_sweep_cleans_the_object_store_and_outputs_elsewhere(aws_address: str, s3_folder: str, settings: Any) -> None:
    output = f"{s3_folder}/elsewhere"
    opened(shards=1)
    batch = opened(shards=1)
    type(batch).objects.filter(pk=batch.pk).update(output=output)
    killed_while_writing(aws_address, output)
    half = Path(settings.OBJECT_STORE) / ".part.parquet-beside-0123"
    half.write_text("half")

    later = datetime.now(UTC) + timedelta(days=2)
    assert cleaning.sweep(now=later) == 2
    assert not half.exists()
    assert not uploads(aws_address, output.removeprefix(f"s3://{aws.BUCKET}/"))
    assert cleaning.sweep(now=later) == 0


@pytest.mark.usefixtures("tried")
@pytest.mark.django_db
def test_an_output_whose_name_begins_as_the_object_stores_is_elsewhere(aws_address: str, s3_folder: str, settings: Any) -> None:
    batch = opened(shards=1)
    settings.OBJECT_STORE = s3_folder
    output = f"{s3_folder}-beside/dataset"
    type(batch).objects.filter(pk=batch.pk).update(output=output)
    killed_while_writing(aws_address, output)

    assert cleaning.sweep(now=datetime.now(UTC) + timedelta(days=2)) == 1
    assert not uploads(aws_address, output.removeprefix(f"s3://{aws.BUCKET}/"))


@pytest.mark.usefixtures("tried")
@pytest.mark.django_db
def test_a_store_that_is_away_stops_no_sweep(s3_folder: str, settings: Any) -> None:
    batch = opened(shards=1)
    type(batch).objects.filter(pk=batch.pk).update(output="s3://no-such-bucket-anywhere/x")

    with capture_logs() as said:
        assert cleaning.sweep(now=datetime.now(UTC)) == 0
    assert [line["event"] for line in said if line["log_level"] == "warning"] == ["store_not_cleaned"]
