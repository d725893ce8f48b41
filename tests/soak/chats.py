"""An installation for chats: two web processes on two ports, p0 workers, and readers of every kind."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.benchmarks.staging.stage import Stage, staged
from tests.installation import free_port
from tests.soak.ground import until

TALKER = "tests.soak.talker"
SETTINGS = {
    "ENDPOINT_MODULES": f"config.endpoints,{TALKER}",
    "LEASE_S": "4",
    "HEARTBEAT_S": "1",
    "DRAIN_S": "6",
    "UNREADY_S": "2",
    "FIRST_DELTA_GRACE_MS": "60000",  # what is slow here is meant to be
    "OFFLINE_FAULT_MARKERS": "1",
    "OFFLINE_FIRST_TOKEN_MS": "20",
    "OFFLINE_TOKEN_MS": "10",
}
LAST = frozenset({"turn.completed", "turn.failed"})
UNSTORED = frozenset({"heartbeat", "gap", "session.ready", "error", "reconnect"})
LIVE = "SELECT count(*) FROM invocation_process WHERE priority_class = 'p0' AND lease_until > now() AND NOT is_draining"
PATIENCE_S = 30
Event = dict[str, Any]


@dataclass(slots=True)
class Chats:
    """The stage, its web processes by name with their ports, and a key."""

    stage: Stage
    key: str = ""
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def start_web(self, name: str, **settings: str) -> None:
        """Start a web process; one of a known name comes back on its port."""
        port = self.ports.setdefault(name, free_port())
        self.stage.spawn(name, (sys.executable, "-m", "config.serving", "-b", "127.0.0.1", "-p", str(port)), settings)

    def wait_for(self, name: str) -> None:
        until(lambda: self._is_ready(name), bool, within=40)

    def start_worker(self, name: str) -> None:
        self.stage.start("worker-p0", called=name)

    def wait_for_workers(self, count: int) -> None:
        until(lambda: int(self.stage.value(LIVE)), lambda live: live == count, within=40)

    def kill(self, name: str, *, by: signal.Signals = signal.SIGKILL) -> None:
        process = self.stage.processes.pop(name)
        process.send_signal(by)
        process.wait(timeout=30)

    def flush(self) -> None:
        with redis.Redis.from_url(self.stage.servers.redis_url) as store:
            store.flushall()

    def process(self, name: str) -> psutil.Process:
        """Return the process itself: what was spawned runs it behind a leash."""
        return _innermost(psutil.Process(self.stage.processes[name].pid))

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def metrics(self, name: str) -> str:
        return httpx.get(self.url(name) + "/metrics", timeout=10, trust_env=False).text

    def address(self, name: str, endpoint: str = "talk@1", **query: Any) -> str:
        asked = "&".join(f"{key}={value}" for key, value in query.items())
        return f"ws://127.0.0.1:{self.ports[name]}/ws/chat/{endpoint}?{asked}"

    @asynccontextmanager
    async def socket(self, name: str, endpoint: str = "talk@1", **query: Any) -> AsyncIterator[ClientConnection]:
        async with connect(self.address(name, endpoint, **query), additional_headers=self.headers, compression=None) as socket:
            yield socket

    def http(self, name: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url(name), headers=self.headers, timeout=30, trust_env=False)

    def new_key(self, *, plan: str, tenant: str) -> str:
        """Make a tenant and return its key."""
        called = f"keys-{tenant}"
        made = self.stage.client("submitting", called=called)
        with made.process:
            [found] = made.do("tenants", names=[tenant], plan=plan)
        self.stage.processes.pop(called)
        return str(found["key"])

    def _is_ready(self, name: str) -> bool:
        try:
            return httpx.get(self.url(name) + "/readyz", timeout=2, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@contextmanager
def chats(*, webs: Sequence[str] = ("web-a", "web-b"), workers: Sequence[str] = ("worker",), **settings: str) -> Iterator[Chats]:
    """Yield such an installation, up and ready; nothing of it is left afterwards."""
    with staged(**{**SETTINGS, **settings}) as stage:
        here = Chats(stage)
        for name in webs:
            here.start_web(name)
        for name in workers:
            here.start_worker(name)
        stage.start("dispatcher")  # it ends turns that no worker began in time
        here.key = here.new_key(plan="house", tenant="chats")
        for name in webs:
            here.wait_for(name)
        here.wait_for_workers(len(workers))
        yield here


async def heard(socket: ClientConnection, *, to: frozenset[str] = LAST) -> list[Event]:
    """Return the events up to one of the types; a refusal or half a minute of nothing is a failure."""
    events: list[Event] = []
    while not events or events[-1]["type"] not in to:
        events.append(json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S)))
        assert events[-1]["type"] != "error", events[-1]
    return events


async def read(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    """Yield the events of a stream of Server-Sent Events."""
    async for line in lines:
        if line.startswith("data:"):
            yield json.loads(line.removeprefix("data:"))


def ask(**given: Any) -> str:
    return json.dumps({"type": "turn", "input": given})


@dataclass(slots=True)
class Reader:
    """One session's reader that is cut off again and again, and keeps account of what it was sent."""

    here: Chats
    luck: random.Random
    webs: Sequence[str]
    session: str = ""
    seq: int = 0
    text: str = ""
    texts: list[str] = field(default_factory=list)
    """What was put together of each turn, in order."""
    seqs: list[int] = field(default_factory=list)
    reconnects: int = 0
    gaps: int = 0
    failures: list[str] = field(default_factory=list)
    patience_s: float = 0.3
    """No connection lasts longer."""
    _is_asked: bool = False

    @property
    def has_all(self) -> bool:
        """Is what was put together of each turn what is stored of it?"""
        asked = "SELECT text FROM invocation_turn WHERE session_id = %(id)s ORDER BY number"
        return self.texts == [text for (text,) in self.here.stage.rows(asked, id=self.session)]

    @property
    def is_whole(self) -> bool:
        """Was each event of the session sent once, and in order? A later attempt alone may begin further on."""
        return self.seqs == list(range(1, len(self.seqs) + 1))

    async def turn(self, **given: Any) -> Event:
        """Ask over a connection that stays until the turn has begun, then be cut off at random points; return its last event."""
        self.text, end = "", None
        while end is None:
            question = ask(**given) if not self._is_asked else None
            with suppress(OSError, ConnectionClosed, TimeoutError, InvalidHandshake):
                end = await self._connection(question)
            self.reconnects += 1
        self._is_asked = False
        self.texts.append(self.text)
        return end

    async def _connection(self, question: str | None) -> Event | None:
        """Follow for a while; the turn's last event if it came."""
        query: dict[str, Any] = {"session": self.session, "after": self.seq} if self.session else {}
        async with self.here.socket(self.luck.choice(self.webs), **query) as socket:
            if question is not None:
                await socket.send(question)
                begun = await self._hear(socket, {"turn.started"} | LAST)
                if begun is None or begun["type"] in LAST:
                    return begun
                self._is_asked = True
            try:
                async with asyncio.timeout(self.luck.random() * self.patience_s):
                    return await self._hear(socket, LAST)
            except TimeoutError:
                socket.transport.abort()
                return None

    async def _hear(self, socket: ClientConnection, wanted: Collection[str]) -> Event | None:
        """Take events up to one that is wanted; None where the question was refused."""
        while True:
            event: Event = json.loads(await socket.recv())
            if event["type"] == "session.ready":
                self.session = event["data"]["session"] or self.session
            if self._took(event) or event["type"] in wanted:
                return event
            if event["type"] == "error":
                return None

    def _took(self, event: Event) -> bool:
        """Keep account of an event; True for a turn's last."""
        if event["type"] == "error":
            self.failures.append(event["data"]["code"])
        if event["type"] == "gap":
            self.gaps += 1
            self.text = event["data"]["text"]
        if event["type"] in UNSTORED:
            return False
        self.seqs += range(event["data"].get("from", event["seq"]), event["seq"] + 1)
        self.seq = event["seq"]
        if event["type"] == "delta":
            self.text += event["data"]["text"]
        return event["type"] in LAST


def _innermost(process: psutil.Process) -> psutil.Process:
    children = process.children()
    return _innermost(children[0]) if children else process
