"""The whole platform on a model over HTTP; the other providers' protocols have their turn in `make soak`."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.far_model import answers_as, over_http, served
from tests.installation import Installation


def test_a_model_over_http_answers_as_the_one_in_process(up: Installation, tmp_path: Path) -> None:
    with served() as base_url, over_http("openai", base_url, tmp_path) as far:
        answers_as(up, far)
