"""An installation whose model is spoken to over HTTP: the simulator's own server, in the protocol of a provider."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

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


@contextmanager
def served() -> Iterator[str]:
    """The simulator as a server of its own; yields its base URL."""
    command = [sys.executable, "manage.py", "simulate_provider", "--port", "0", "--api-key", KEY]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield server.stdout.readline().rsplit(" ", 1)[-1].strip()
        server.terminate()


@contextmanager
def over_http(provider: str, base_url: str, home: Path) -> Iterator[Installation]:
    address = base_url.removesuffix("/v1") if provider == "bedrock" else base_url
    settings = {"MODEL_PROVIDER": provider, "MODEL_BASE_URL": address, "MODEL_API_KEY": KEY, "MODEL_TIERS": TIERS}
    installation = start(home, **{**settings, **BESIDES.get(provider, {})})
    yield installation
    installation.manage("down")


def answers_as(up: Installation, far: Installation) -> None:
    """Assert that chat and job come to the same over HTTP as in process, and cost the same."""
    with closing(Consumer(up)) as inside, closing(Consumer(far)) as outside:
        here, there = inside.chat(ASKED), outside.chat(ASKED)
        job = outside.submit("personalize@1", {"reader": "r-004"})

        assert there[-1]["type"] == "turn.completed", there[-1]
        assert text(there) == text(here)
        assert there[-1]["data"]["usage"] == here[-1]["data"]["usage"]
        assert there[-1]["data"]["cost_usd"] == here[-1]["data"]["cost_usd"] > 0
        assert outside.job(job["id"])["state"] == "completed"
