"""The whole platform on a model over HTTP: every provider of that sort against the simulator's own server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.acceptance.speaking import Consumer, text
from tests.installation import ROOT, Installation, start

KEY = "sk-for-the-simulator-only"
TIERS = "standard=gearbox-offline-standard,economy=gearbox-offline-economy"
BESIDES = {
    "bedrock": {
        "MODEL_API_KEY": "",
        "MODEL_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": KEY,
    }
}
ASKED = {"text": "Recommend a finished seinen thriller"}


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """The simulator as a server of its own; yields its base URL."""
    command = [sys.executable, "manage.py", "simulate_provider", "--port", "0", "--api-key", KEY]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield server.stdout.readline().rsplit(" ", 1)[-1].strip()
        server.terminate()


@pytest.fixture(scope="module", params=["openai", "anthropic", "bedrock"])
def over_http(request: pytest.FixtureRequest, served: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    address = served.removesuffix("/v1") if request.param == "bedrock" else served
    settings = {"MODEL_PROVIDER": request.param, "MODEL_BASE_URL": address, "MODEL_API_KEY": KEY, "MODEL_TIERS": TIERS}
    installation = start(tmp_path_factory.mktemp("http"), **{**settings, **BESIDES.get(request.param, {})})
    yield installation
    installation.manage("down")


def test_a_model_over_http_answers_as_the_one_in_process(up: Installation, over_http: Installation) -> None:
    with closing(Consumer(up)) as inside, closing(Consumer(over_http)) as outside:
        here, there = inside.chat(ASKED), outside.chat(ASKED)
        job = outside.submit("personalize@1", {"reader": "r-004"})

        assert there[-1]["type"] == "turn.completed", there[-1]
        assert text(there) == text(here)
        assert there[-1]["data"]["usage"] == here[-1]["data"]["usage"]
        assert there[-1]["data"]["cost_usd"] == here[-1]["data"]["cost_usd"] > 0
        assert outside.job(job["id"])["state"] == "completed"
