from __future__ import annotations

from pathlib import Path

import pytest

from config.env import BadSetting, read


@pytest.mark.parametrize("region", ["us-east-1", "ap-southeast-2", "us-gov-west-1"])
def test_a_region_is_taken_as_given(region: str, tmp_path: Path) -> None:
    assert read({"GEARBOX_HOME": str(tmp_path), "MODEL_REGION": region}).model_region == region


@pytest.mark.parametrize("region", ["Virginia", "us-east-1.example.org/", "useast1"])
def test_what_is_no_region_is_refused_by_its_name(region: str, tmp_path: Path) -> None:
    with pytest.raises(BadSetting) as refused:
        read({"GEARBOX_HOME": str(tmp_path), "MODEL_REGION": region})

    assert refused.value.name == "MODEL_REGION"
