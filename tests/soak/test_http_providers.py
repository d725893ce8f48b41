"""The whole platform on each provider's protocol over HTTP; `make test` has each protocol by itself, and OpenAI's through an outage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.far_model import answers_as, over_http, served
from tests.installation import Installation


@pytest.mark.timeout(600)
@pytest.mark.parametrize("provider", ["openai", "anthropic", "bedrock"])
def test_a_model_over_http_answers_as_the_one_in_process(up: Installation, tmp_path: Path, provider: str) -> None:
    with served() as base_url, over_http(provider, base_url, tmp_path) as far:
        answers_as(up, far)
