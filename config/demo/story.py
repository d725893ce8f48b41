"""The four acts: a chat, jobs (one of which asks a person), a schedule fired by beat, and a batch over the whole catalog."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from config.demo.client import Client, DemoFailed

QUESTIONS: Sequence[str] = (
    "Recommend a finished seinen thriller",
    "Which shojo romance from before 2000 should I start with?",
    "Something like Monster, but shorter?",
    "A sports series with a high school team?",
    "What is Vagabond about?",
    "How do I get a refund for an order?",
    "A cosy cooking or slice of life series, please",
    "Which fantasy adventures by Kentaro Miura do you have?",
)
READERS: Sequence[str] = tuple(f"r-{number:03d}" for number in range(1, 13))
WATCHED: Sequence[str] = ("r-020", "r-021", "r-022")
ENDED = frozenset({"completed", "failed", "cancelled"})
EVERY_MINUTE = "* * * * *"
FIRED_WITHIN_S = 100
ENDED_WITHIN_S = 120


class Story:
    """Tells the acts one after the other; every figure comes later, from the durable records."""

    def __init__(self, client: Client, console: Console, *, titles: Sequence[str]) -> None:
        self._client = client
        self._console = console
        self._titles = titles
        self._mark = uuid4().hex[:8]

    def schedule(self) -> list[str]:
        """Set schedules up; beat fires them while the other acts play."""
        self._act("scheduled-trigger", "retention@1: three schedules of every minute; beat fires them meanwhile")
        return [self._one_schedule(reader) for reader in WATCHED]

    def chat(self) -> None:
        self._act("streaming-sync", "chat@1: a person asks and reads along")
        for number, question in enumerate(QUESTIONS):
            self._console.print(f"[bold]> {question}[/]")
            self._read_along(question, aloud=number == 0)

    def jobs(self) -> None:
        self._act("async-queue", "personalize@1: twelve readers' letters; refund@1 waits for a person")
        job_ids = [self._submit("personalize@1", {"reader": reader}, f"letter-{reader}") for reader in READERS]
        with Progress(TextColumn("letters"), BarColumn(), MofNCompleteColumn(), console=self._console) as bar:
            task = bar.add_task("letters", total=len(job_ids))
            for job_id in job_ids:
                self._ended(job_id)
                bar.advance(task)
        self._refund()

    def manifest(self, folder: Path) -> Path:
        """Write the catalog's titles as a manifest, one row a title."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "catalog-manifest.jsonl"
        path.write_text("".join(json.dumps({"row_id": slug, "title": slug}) + "\n" for slug in self._titles))
        self._act("batch-window", f"enrich@1: a text for each of {len(self._titles)} titles, in shards, into Parquet")
        return path

    def fired(self, schedule_ids: Sequence[str]) -> None:
        """Wait for beat, then pause the schedules."""
        self._console.print("waiting for beat's minute …", style="dim")
        for schedule_id in schedule_ids:
            path = f"/v1/schedules/{schedule_id}/firings"
            self._client.until(path, lambda found: any(each["state"] in ENDED for each in found["items"]), within_s=FIRED_WITHIN_S)
            self._client.post(f"/v1/schedules/{schedule_id}/pause", {})

    def _refund(self) -> None:
        job_id = self._submit("refund@1", {"order": f"o-{10_000 + int(time.time()) % 309 + 1}"}, "refund")
        waiting = self._client.until(
            f"/v1/jobs/{job_id}", lambda found: found["state"] in ENDED | {"input_required"}, within_s=ENDED_WITHIN_S
        )
        if waiting["state"] == "input_required":
            self._console.print(f"the fraud team is asked: {next(iter(waiting['questions'].values()))['sentence']}")
            self._client.post(f"/v1/jobs/{job_id}/input", {"key": "fraud_check", "value": {"approve": True}})
        self._ended(job_id)
        self._console.print(self._client.get(f"/v1/jobs/{job_id}/result")["output"]["text"], style="dim")

    def _submit(self, endpoint: str, value: dict[str, str], name: str) -> str:
        accepted = self._client.post("/v1/jobs", {"endpoint": endpoint, "input": value}, **{"Idempotency-Key": f"{self._mark}-{name}"})
        return str(accepted["id"])

    def _ended(self, job_id: str) -> None:
        found = self._client.until(f"/v1/jobs/{job_id}", lambda job: job["state"] in ENDED, within_s=ENDED_WITHIN_S)
        if found["state"] != "completed":
            raise DemoFailed(f"Job {job_id} is {found['state']}: {found.get('error')}")

    def _one_schedule(self, reader: str) -> str:
        body = {
            "name": f"demo {self._mark} {reader}",
            "endpoint": "retention@1",
            "cron": EVERY_MINUTE,
            "timezone": "Asia/Tokyo",
            "input": {"reader": reader},
        }
        return str(self._client.post("/v1/schedules", body)["id"])

    def _read_along(self, question: str, *, aloud: bool) -> None:
        last: dict[str, object] = {}
        for event in self._client.chat(question):
            if aloud and event["type"] == "delta":
                self._console.print(event["data"]["text"], end="", style="dim", highlight=False)
            last = event
        if aloud:
            self._console.print()
        if last.get("type") != "turn.completed":
            raise DemoFailed(f"The turn on {question!r} ended with {last}.")

    def _act(self, mode: str, sentence: str) -> None:
        self._console.print()
        self._console.rule(f"[bold]{mode}[/]  {sentence}", align="left")
