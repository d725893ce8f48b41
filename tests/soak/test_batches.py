"""Twenty thousand rows over sixty-four shards, killed ten times (`make soak`; SOAK_SEED=n repeats a run)."""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta

import pytest

from tests.soak.copies import all_is_well
from tests.soak.harm import Harms, hurt
from tests.soak.press import ROWS_IN_FLIGHT, press

ROWS, SHARDS = 20_000, 64
HARMS = Harms(worker=5, control=1, beat=2, gather=2, flush=2, postgres=1)


@pytest.mark.timeout(1_200)
def test_twenty_thousand_rows_killed_ten_times_are_each_there_once_and_paid_for_once() -> None:
    seed = int(os.environ.get("SOAK_SEED") or int.from_bytes(os.urandom(4)))
    sys.stdout.write(f"SOAK_SEED={seed}\n")
    with press(rows=ROWS, call=timedelta(seconds=2.0)) as here:
        began = time.monotonic()
        here.begin(shards=SHARDS)
        hurt(here, HARMS, seed=seed)
        told = all_is_well(here, kills=HARMS.kills, within=240, most_under_way=HARMS.worker * ROWS_IN_FLIGHT)
        sys.stdout.write(f"{told}, {time.monotonic() - began:.0f} s\n")
