from __future__ import annotations

from pathlib import Path

import pytest

from config.env import BadSetting, read


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("RESULT_INLINE_BYTES", {"RESULT_INLINE_BYTES": "0"}),
        ("RESULT_MAX_BYTES", {"RESULT_MAX_BYTES": "a lot"}),
        ("RESULT_MAX_BYTES", {"RESULT_MAX_BYTES": str(2**30)}),
        ("RESULT_MAX_BYTES", {"RESULT_INLINE_BYTES": "1001", "RESULT_MAX_BYTES": "1000"}),
        ("MANIFESTS_MAX_BYTES", {"MANIFESTS_MAX_BYTES": "1000"}),
        ("RETAIN_RESULTS_DAYS", {"RETAIN_RESULTS_DAYS": "0"}),
        ("RETAIN_JOBS_DAYS", {"RETAIN_JOBS_DAYS": "29"}),
        ("RETAIN_JOBS_DAYS", {"RETAIN_JOURNAL_DAYS": "91"}),
    ],
)
def test_a_limit_that_cannot_hold_is_refused_by_its_name(name: str, given: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(BadSetting) as refused:
        read({"GEARBOX_HOME": str(tmp_path), **given})

    assert refused.value.name == name


def test_limits_are_taken_as_given(tmp_path: Path) -> None:
    told = read({"GEARBOX_HOME": str(tmp_path), "RESULT_INLINE_BYTES": "1000", "RESULT_MAX_BYTES": "1000", "RETAIN_JOBS_DAYS": "30"})

    assert (told.result_inline_bytes, told.result_max_bytes, told.retain_jobs_days, told.retain_journal_days) == (1000, 1000, 30, 7)
