"""A batch whose worker and whose gatherer are killed and whose broker is wiped, in short; at full length in tests/soak."""

from __future__ import annotations

import os
import sys
from datetime import timedelta

import pytest

from tests.soak.copies import all_is_well
from tests.soak.harm import Harms, hurt
from tests.soak.press import press

ROWS, SHARDS = 1_500, 8
HARMS = Harms(worker=1, gather=1, flush=1)


@pytest.mark.timeout(600)
def test_a_batch_that_is_killed_and_wiped_has_each_row_once_and_pays_for_none_twice() -> None:
    seed = int(os.environ.get("SOAK_SEED") or int.from_bytes(os.urandom(4)))
    sys.stdout.write(f"SOAK_SEED={seed}\n")
    with press(rows=ROWS, call=timedelta(seconds=0.8)) as here:
        here.begin(shards=SHARDS)
        hurt(here, HARMS, seed=seed)
        sys.stdout.write(all_is_well(here, kills=HARMS.kills, within=120) + "\n")
