"""A run that waits outlives every process and a deploy: nothing is asked, paid or done twice, and it keeps its version."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.acceptance.speaking import ENDED, Consumer
from tests.installation import ROOT, Installation, start

KEY = "sk-for-the-simulator-only"
TIERS = "standard=gearbox-offline-standard,economy=gearbox-offline-economy"
PARKED = ENDED | {"input_required", "waiting"}


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """A provider outside the installation, which counts its calls; yields its base URL."""
    command = [
        sys.executable,
        "manage.py",
        "simulate_provider",
        "--port",
        "0",
        "--api-key",
        KEY,
        "--first-token-ms",
        "1",
        "--token-ms",
        "1",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield server.stdout.readline().rsplit(" ", 1)[-1].strip()
        server.terminate()


@pytest.fixture
def installation(provider: str, tmp_path: Path) -> Iterator[Installation]:
    settings = {"MODEL_PROVIDER": "openai", "MODEL_BASE_URL": provider, "MODEL_API_KEY": KEY, "MODEL_TIERS": TIERS}
    found = start(tmp_path / "home", ENDPOINT_MODULES="tests.acceptance.deploys.before", **settings)
    yield found
    found.manage("down")


def calls(provider: str) -> int:
    stats = httpx.get(provider.rsplit("/v1", 1)[0] + "/stats", headers={"Authorization": f"Bearer {KEY}"}).json()
    return int(stats["calls"])


def kill_everything(home: Path) -> None:
    """kill -9 each process of the installation, its servers too."""
    ours = [process for process in psutil.process_iter() if belongs(process, home)]
    for process in ours:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(ours, timeout=20)
    assert len(ours) > 10


def belongs(process: psutil.Process, home: Path) -> bool:
    try:
        return process.environ().get("GEARBOX_HOME") == str(home) or any(str(home) in word for word in process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False


def redeployed(installation: Installation) -> Installation:
    """Start the installation again, with the newer code."""
    newer = replace(installation, environment={**installation.environment, "ENDPOINT_MODULES": "tests.acceptance.deploys.after"})
    newer.manage("up", "--detach")
    return newer


def cost_of(job: dict[str, Any]) -> float:
    return float(job["spent_usd"])


def test_a_run_goes_on_after_everything_was_killed_and_newer_code_deployed(installation: Installation, provider: str) -> None:
    with closing(Consumer(installation)) as consumer:
        refund = consumer.submit("refund@1", {"order": "o-10007"})["id"]
        weigh = consumer.submit("weigh@1", {})["id"]
        asked = [consumer.job(job, states=PARKED) for job in (refund, weigh)]
        before = calls(provider)
    assert [job["state"] for job in asked] == ["input_required"] * 2
    assert before == 1

    kill_everything(installation.home)
    newer = redeployed(installation)

    with closing(Consumer(newer)) as consumer:
        assert calls(provider) == before
        consumer.http.post(f"/v1/jobs/{refund}/input", json={"answers": {"fraud_check": {"approve": True}}}).raise_for_status()
        consumer.http.post(f"/v1/jobs/{weigh}/input", json={"answers": {"weighed": True}}).raise_for_status()
        waiting = consumer.job(weigh, states=ENDED | {"waiting"})
        assert waiting["awaiting"]["callback"] == "confirmed"
        assert httpx.post(waiting["awaiting"]["url"], json={"by": "outside"}).status_code == httpx.codes.ACCEPTED
        ended = [consumer.job(job) for job in (refund, weigh)]

        assert [job["state"] for job in ended] == ["completed"] * 2
        assert [job["agent"] for job in ended] == ["mangaassist@1", "weigher@1"]
        assert "approved" in consumer.text_of(refund)
        output = consumer.get(f"/v1/jobs/{weigh}/result")["output"]
        assert (output["version"], output["answer"], output["called"]) == (1, True, {"by": "outside"})
        assert calls(provider) == before + 2
        steps = [step["name"] for job in (refund, weigh) for step in consumer.get(f"/v1/jobs/{job}/journal")["items"]]
        assert [steps.count(name) for name in ("model", "issue_refund", "ask:fraud_check", "ask:weighed")] == [3, 1, 1, 1]
        assert cost_of(ended[1]) > cost_of(asked[1]) > 0

        newest = consumer.job(consumer.submit("refund@1", {"order": "o-10008"})["id"])
        assert (newest["agent"], consumer.text_of(newest["id"])) == ("mangaassist@2", "the newer version")
        usage = consumer.get("/v1/usage")
    assert ledger_calls(usage) == calls(provider)


def ledger_calls(usage: dict[str, Any]) -> int:
    return sum(int(line["calls"]) for line in usage["items"])
