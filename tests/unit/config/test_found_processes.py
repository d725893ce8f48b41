"""Processes that were found and may have ended since."""

from __future__ import annotations

import subprocess
import sys

import psutil

from config.embedded.launch import without_children


def test_who_ended_since_it_was_found_is_nobodys_main_process() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        found = psutil.Process(process.pid)
        assert without_children([found]) == [found]
        process.communicate(b"\n", timeout=30)

    assert without_children([found]) == []


def test_a_child_of_one_that_was_found_is_left_out() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        ours, child = psutil.Process(), psutil.Process(process.pid)

        assert without_children([ours, child]) == [ours]

        process.communicate(b"\n", timeout=30)
