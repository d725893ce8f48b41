"""How much of what it may use a batch alone reaches, over HTTP against a provider that enforces its limit."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from config import processes
from tests.benchmarks.figure import Bound, Figure, Row
from tests.benchmarks.staging.stage import Stage, staged
from tests.installation import free_port

KEY = "sk-for-the-simulator-only"
LIMIT, P0_RESERVED, P3_CAP = 200_000, 0.3, 0.6
MODEL = {"provider": "openai", "model": "gearbox-offline-standard"}
PROCESSES, CALLERS = 2, 16
WARM_S, MEASURED_S, TAIL_S = 65.0, 122.0, 3.0
TARGET, MOST_429 = 0.95, 0.001


def run() -> Figure:
    """Two batch processes call flat out. The first minute fills the window; what the provider served in the next two counts."""
    share = min(P3_CAP, 1 - P0_RESERVED)
    with staged() as stage:
        stage.client("quoting").do("limit", tokens=LIMIT, requests=60_000, p0_reserved=P0_RESERVED, p3_cap=P3_CAP, **MODEL)
        base_url = _provider(stage, tokens_per_minute=round(LIMIT * share))
        clients = [stage.client("batching", called=f"batching-{number}") for number in range(PROCESSES)]
        terms = {"base_url": base_url, "api_key": KEY, "callers": CALLERS, "for_s": WARM_S + MEASURED_S + TAIL_S, **MODEL}
        with ThreadPoolExecutor(PROCESSES) as pool:
            ends = [pool.submit(client.do, "rows", seed=number, **terms) for number, client in enumerate(clients, start=1)]
            time.sleep(WARM_S)
            before, began = _stats(base_url), time.monotonic()
            time.sleep(MEASURED_S)
            after, lasted = _stats(base_url), time.monotonic() - began
            told = [end.result() for end in ends]
    reached = _tokens(after) - _tokens(before)
    calls, limited = after["calls"], after["rate_limited"]
    return Figure(
        name="quota_utilisation",
        unit="share",
        main=Row(
            what=f"tokens served ÷ min(p3's cap, limit - p0's reserve), {MEASURED_S:g} s",
            value=reached / (LIMIT * share * lasted / 60),
            target=TARGET,
            bound=Bound.AT_LEAST,
        ),
        beside=(
            Row(what="429s ÷ calls, from the start", value=limited / max(calls, 1), target=MOST_429),
            Row(what="what p3 may use", value=LIMIT * share, unit="tokens/min"),
            Row(what="calls", value=calls, unit="calls"),
            Row(what="429s", value=limited, unit="calls"),
            Row(what="reserved ÷ used", value=sum(each["reserved"] for each in told) / sum(each["tokens"] for each in told)),
            *(Row(what=f"process {number}", value=each["calls"], unit="calls") for number, each in enumerate(told, start=1)),
        ),
    )


def _provider(stage: Stage, *, tokens_per_minute: int) -> str:
    """Start the provider, whose limit is what the batch may use: a token more would be a 429."""
    port = free_port()
    words = ("simulate_provider", "--port", str(port), "--api-key", KEY, "--tpm", str(tokens_per_minute), "--capacity", "1000")
    stage.spawn("provider", (*processes.MANAGE, *words, "--first-token-ms", "200", "--token-ms", "8"), {})
    base_url = f"http://127.0.0.1:{port}/v1"
    limit = time.monotonic() + 30
    while True:
        try:
            _stats(base_url)
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.05)
        else:
            return base_url


def _stats(base_url: str) -> Mapping[str, int]:
    asked = urllib.request.Request(base_url.removesuffix("/v1") + "/stats", headers={"Authorization": f"Bearer {KEY}"})  # noqa: S310
    with urllib.request.urlopen(asked, timeout=5) as answer:  # noqa: S310
        found: Mapping[str, int] = json.load(answer)
    return found


def _tokens(stats: Mapping[str, int]) -> int:
    return stats["input_tokens"] + stats["output_tokens"]
