"""How long `manage.py --help` takes: heavy imports are lazy."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from tests.benchmarks.figure import Figure, Row
from tests.installation import ROOT

TIMES = 7
TARGET_S = 1.0
HELP = (sys.executable, "manage.py", "--help")
BARE = (sys.executable, "-c", "import django.core.management")


def run() -> Figure:
    return Figure(
        name="help_time",
        unit="s",
        main=Row(what=f"manage.py --help, median of {TIMES}", value=_median_of(HELP), target=TARGET_S),
        beside=(Row(what="bare import of django.core.management", value=_median_of(BARE)),),
    )


def _median_of(argv: tuple[str, ...]) -> float:
    return median(_seconds(argv) for _ in range(TIMES))


def _seconds(argv: tuple[str, ...]) -> float:
    began = time.perf_counter()
    subprocess.run(argv, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began
