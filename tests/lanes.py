"""Runs all tests in lanes side by side, each a pytest of its own with servers of its own, and the types beside them: they wait often."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).resolve().parent.parent
LANES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "processes": ("tests/acceptance", "tests/integration/client"),
        "invocation": ("tests/integration/invocation",),
        "others": (
            "tests/architecture",
            "tests/browser",
            "tests/conformance",
            "tests/integration/agents",
            "tests/integration/config",
            "tests/integration/evals",
            "tests/integration/quota",
            "tests/unit",
        ),
    }
)
TYPES = "types"
_printing = threading.Lock()


@dataclass(slots=True)
class Lane:
    """One of them under way: its progress is printed as it comes, what it has to say at the end is kept until all have ended."""

    name: str
    process: subprocess.Popen[str]
    report: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def follow(self) -> None:
        for line in self.process.stdout or ():
            if self.report or (line.startswith("====") and "test session starts" not in line):
                self.report.append(line)
            else:
                self._show(line)
        self.process.wait()
        self.seconds = time.monotonic() - self.began

    def _show(self, line: str) -> None:
        if line.strip():
            with _printing:
                sys.stdout.write(f"{self.name:>10} | {line}")
                sys.stdout.flush()


@contextmanager
def started(arguments: list[str]) -> Iterator[list[Lane]]:
    """Start every lane; none outlives this process's interest in it."""
    tests = [_start(name, _pytest(name, paths, arguments)) for name, paths in LANES.items()]
    lanes = [_start(TYPES, [sys.executable, "-m", "mypy"]), *tests]
    try:
        yield lanes
    finally:
        for lane in lanes:
            if lane.process.poll() is None:
                lane.process.terminate()
                lane.process.wait()


def _pytest(name: str, paths: Sequence[str], arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "pytest", "--durations=25", "-o", f"cache_dir=.pytest_cache/{name}", *arguments, *paths]


def _start(name: str, words: Sequence[str]) -> Lane:
    around = {**os.environ, "GEARBOX_TEST_HOME": str(ROOT / ".local" / f"test-{name}"), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(words, cwd=ROOT, env=around, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return Lane(name, process)


def main(arguments: list[str]) -> int:
    """Run all lanes; return 0 if every test of every lane passed and the types hold."""
    with started(arguments) as lanes:
        threads = [threading.Thread(target=lane.follow, daemon=True) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for lane in lanes:
        sys.stdout.write(f"\n{lane.name}: {lane.seconds:.0f} s\n{''.join(lane.report)}")
    return int(any(lane.process.returncode for lane in lanes))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
