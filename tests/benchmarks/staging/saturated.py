"""Chats beside a batch that wants more than its quota: a whole installation, on a model over HTTP whose minute really is limited."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.installation import ROOT, Installation, start

KEY = "sk-for-the-simulator-only"
PROVIDER, MODEL = "openai", "gearbox-offline-standard"
TIERS = f"standard={MODEL},economy={MODEL}"
TOKENS_A_MINUTE = 600_000
P0_RESERVED, P3_CAP = 0.4, 0.5
CAPACITY = 512
PAUSE_S = 0.25
A_REQUEST = 1_000
"""Rows: a request has a body of 64 KiB at most."""
ASKED = {"text": "Recommend a finished seinen thriller"}
QUOTA = """
from quota.models import ModelQuota
ModelQuota.objects.update_or_create(provider={provider!r}, model={model!r}, defaults=dict(
    tokens_per_minute={limit}, requests_per_minute=100_000, p0_reserved={reserved}, p3_cap={cap}))
"""
USED = """
from datetime import UTC, datetime
from django.db.models import Sum, F
from quota.models import BatchLedgerEntry
since, until = (datetime.fromtimestamp(at, UTC) for at in ({since}, {until}))
lines = BatchLedgerEntry.objects.filter(at__gte=since, at__lt=until)
print(lines.aggregate(used=Sum(F("input_tokens") + F("output_tokens")))["used"] or 0)
"""
TITLES = Path("agents/mangaassist/catalog.jsonl")


@dataclass(slots=True)
class Chats:
    """What people saw: seconds until each turn's first delta, and why turns failed."""

    first_deltas: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Saturated:
    """An installation, and the provider that it calls."""

    installation: Installation
    provider_url: str

    @property
    def share(self) -> float:
        """Return the tokens that a batch may have in any minute: its cap, or what the reserve leaves."""
        return TOKENS_A_MINUTE * min(P3_CAP, 1 - P0_RESERVED)

    def refused(self) -> int:
        """Return how many calls the provider answered with 429."""
        address = self.provider_url.removesuffix("/v1") + "/stats"
        found: dict[str, int] = httpx.get(address, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False).raise_for_status().json()
        return found["rate_limited"]

    def used_by_batch(self, *, since: float, until: float) -> int:
        """Return the tokens that the ledger holds for p3 between two moments (seconds of the epoch)."""
        told = self.installation.manage("shell", "--no-imports", "-c", USED.format(since=since, until=until))
        return int(told.strip().rsplit("\n", 1)[-1])

    def begin_batches(self, rows: int) -> list[str]:
        """Submit so many rows, as many in a batch as a request may carry, and return the batches' ids."""
        titles = [json.loads(line)["slug"] for line in (ROOT / TITLES).read_text().splitlines()]
        wanted = [{"row_id": f"r-{number}", "title": titles[number % len(titles)]} for number in range(rows)]
        return [self._begin(wanted[start : start + A_REQUEST]) for start in range(0, rows, A_REQUEST)]

    def _begin(self, rows: Sequence[dict[str, str]]) -> str:
        answer = self._call("POST", "/v1/batches", json={"endpoint": "enrich@1", "manifest": {"rows": rows}, "shards": 4})
        return str(answer["id"])

    def cancel(self, batch_ids: Sequence[str]) -> None:
        for batch_id in batch_ids:
            self._call("POST", f"/v1/batches/{batch_id}/cancel", json={})

    def batch(self, batch_id: str) -> dict[str, Any]:
        return self._call("GET", f"/v1/batches/{batch_id}")

    def chat(self, *, people: int, for_s: float, pause_s: float = PAUSE_S) -> Chats:
        """Let so many people ask one question after another, with a pause between two."""
        return asyncio.run(self._chat(people, for_s, pause_s))

    async def _chat(self, people: int, for_s: float, pause_s: float) -> Chats:
        seen, end = Chats(), time.monotonic() + for_s
        headers = {"Authorization": f"Bearer {self.installation.key}"}
        async with httpx.AsyncClient(
            base_url=self.installation.base_url, headers=headers, timeout=30, trust_env=False, limits=httpx.Limits(max_connections=people)
        ) as http:
            await asyncio.gather(*(_person(http, seen, number, end, pause_s) for number in range(people)))
        return seen

    def _call(self, method: str, path: str, **call: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.installation.key}"}
        answer = httpx.request(method, self.installation.base_url + path, headers=headers, timeout=60, trust_env=False, **call)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found


async def _person(http: httpx.AsyncClient, seen: Chats, number: int, end: float, pause_s: float) -> None:
    """Each begins a little after the one before, and reads for a moment between two questions."""
    await asyncio.sleep(number * pause_s / 5)
    while time.monotonic() < end:
        await _turn(http, seen)
        await asyncio.sleep(pause_s)


async def _turn(http: httpx.AsyncClient, seen: Chats) -> None:
    began, is_first = time.monotonic(), True
    async with http.stream("POST", "/v1/chat", json={"endpoint": "chat@1", "input": ASKED}) as answer:
        if answer.status_code != httpx.codes.OK:
            seen.failures.append(f"{answer.status_code} {(await answer.aread()).decode()[:200]}")
            return
        async for line in answer.aiter_lines():
            event = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if event.get("type") == "delta" and is_first:
                is_first = False
                seen.first_deltas.append(time.monotonic() - began)
            elif event.get("type") == "turn.failed":
                seen.failures.append(json.dumps(event["data"])[:300])


@contextmanager
def provider(*options: str) -> Iterator[str]:
    """Serve the simulator with a real limit, and yield its base URL."""
    words = ["manage.py", "simulate_provider", "--port", "0", "--api-key", KEY, "--capacity", str(CAPACITY), *options]
    with subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            if server.stdout is None:
                raise AssertionError("the provider's words are piped")
            yield server.stdout.readline().rsplit(" ", 1)[-1].strip()
        finally:
            server.terminate()


@contextmanager
def saturated(**settings: str) -> Iterator[Saturated]:
    """Yield a whole installation on such a provider; nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="gearbox-isolated-") as folder, provider("--tpm", str(TOKENS_A_MINUTE)) as url:
        told = {"MODEL_PROVIDER": PROVIDER, "MODEL_BASE_URL": url, "MODEL_API_KEY": KEY, "MODEL_TIERS": TIERS}
        installation = start(Path(folder), **told, **settings)
        try:
            installation.manage("shell", "--no-imports", "-c", QUOTA.format(**_quota()))
            yield Saturated(installation, url)
        finally:
            installation.manage("down")


def _quota() -> dict[str, Any]:
    return {"provider": PROVIDER, "model": MODEL, "limit": TOKENS_A_MINUTE, "reserved": P0_RESERVED, "cap": P3_CAP}


def p95(waits: Sequence[float]) -> float:
    """Return what 95 % of the waits did not exceed, in seconds."""
    return sorted(waits)[max(0, -(-95 * len(waits) // 100) - 1)]
