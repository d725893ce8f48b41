"""What all web processes count together, in Redis: open streams by tenant, open streams by endpoint, and tallies.

A process repeats what it holds; what it said lapses after `LIFE_S`, so that one that died holds nothing for longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import orjson
import redis as blocking
import redis.asyncio as redis
from django.conf import settings

from invocation.gateways import cancellations, streams
from invocation.gateways.link import pack

TIMEOUT_S = 1.0
BOUNDS: dict[str, Any] = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
LIFE_S = 10
OPEN_KEY = "gearbox:streams:open"
TALLIES_KEY = "gearbox:streams:tallies"
GONE = (redis.RedisError, OSError)

ENTER = """
local now, others = tonumber(redis.call('TIME')[1]), 0
local told = redis.call('HGETALL', KEYS[1])
for i = 1, #told, 2 do
  local count, lapses = string.match(told[i + 1], '(%d+):(%d+)')
  if tonumber(lapses) <= now then
    redis.call('HDEL', KEYS[1], told[i])
  elseif told[i] ~= ARGV[1] then
    others = others + tonumber(count)
  end
end
local limit = tonumber(ARGV[3])
if limit >= 0 and others + tonumber(ARGV[2]) > limit then
  return {0, others}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. (now + tonumber(ARGV[4])))
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {1, others}
"""
"""Count the streams of one tenant in one process unless all processes together would pass the limit (-1 is none)."""

Tally = tuple[str, ...]
"""A measure's name, its labels, and for a histogram the place of a bucket or `sum`."""

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, redis.Redis] = WeakKeyDictionary()


def tenant_key(tenant_id: UUID) -> str:
    return f"gearbox:streams:tenant:{tenant_id}"


async def enter(tenant_id: UUID, *, process: str, own: int, limit: int) -> tuple[bool, int]:
    """Count this process's `own` streams of a tenant: whether they fit, and how many others hold. Raises one of GONE."""
    async with asyncio.timeout(TIMEOUT_S):
        said: Any = await streams.hub().link.run(ENTER, [tenant_key(tenant_id)], [process, own, limit, LIFE_S])
    return bool(said[0]), int(said[1])


async def repeat(*, process: str, count: Callable[[], Mapping[UUID, int]]) -> Mapping[UUID, int]:
    """Repeat how many streams of each tenant this process holds, and return that. Raises one of GONE.

    They are counted as they are sent, and on the connection on which `enter` speaks: what is older never comes behind what is newer.
    """
    link = streams.hub().link
    async with asyncio.timeout(TIMEOUT_S):
        await link.up()
        by_tenant = count()
        told = [pack("EVAL", ENTER, 1, tenant_key(tenant_id), process, own, -1, LIFE_S) for tenant_id, own in by_tenant.items()]
        answers = [asyncio.get_running_loop().create_future() for _ in told]
        link.tell(b"".join(told), answers)
        await asyncio.gather(*answers)
    return by_tenant


async def report(*, process: str, by_kind: Mapping[str, int], tallies: Mapping[Tally, float]) -> None:
    """Repeat what this process holds of each kind, and add what it has measured. Raises one of GONE; then nothing or all was added."""
    pipe = _client().pipeline(transaction=True)
    with cancellations.kept():
        seconds: Any = await _client().time()
    pipe.hset(OPEN_KEY, process, orjson.dumps({"lapses": seconds[0] + LIFE_S, "open": dict(by_kind)}))
    for tally, amount in tallies.items():
        pipe.hincrbyfloat(TALLIES_KEY, orjson.dumps(tally).decode(), amount)
    with cancellations.kept():
        await pipe.execute()


def open_now() -> dict[str, int]:
    """Return the open streams of all living processes by kind, from a thread that may block. Raises redis.RedisError."""
    store = _blocking()
    seconds: Any = store.time()
    told: Any = store.hgetall(OPEN_KEY)
    found: dict[str, int] = {}
    for process, raw in told.items():
        said = orjson.loads(raw)
        if said["lapses"] <= seconds[0]:
            store.hdel(OPEN_KEY, process)
            continue
        for kind, count in said["open"].items():
            found[kind] = found.get(kind, 0) + count
    return found


def open_of(tenant_id: UUID) -> int:
    """Return the open streams of a tenant over all living processes, from a thread that may block. Raises redis.RedisError."""
    store = _blocking()
    seconds: Any = store.time()
    told: Any = store.hvals(tenant_key(tenant_id))
    counts = [tuple(map(int, said.split(b":"))) for said in told]
    return sum(count for count, lapses in counts if lapses > seconds[0])


def tallied() -> dict[Tally, float]:
    """Return every tally, from a thread that may block. Raises redis.RedisError."""
    told: Any = _blocking().hgetall(TALLIES_KEY)
    return {tuple(orjson.loads(name)): float(amount) for name, amount in told.items()}


def take_once(name: str, *, within_s: int) -> bool:
    """Say whether nobody has taken this name before, from a thread that may block. Raises redis.RedisError."""
    return bool(_blocking().set(f"gearbox:taken:{name}", 1, nx=True, ex=within_s))


async def listeners(channel: str) -> int:
    """Return how many web processes listen to a channel. Raises one of GONE."""
    with cancellations.kept():
        said: Any = await _client().pubsub_numsub(channel)
    return int(said[0][1])


async def aclose() -> None:
    """Close the running loop's client; the next use opens another."""
    client = _clients.pop(asyncio.get_running_loop(), None)
    if client is not None:
        await client.aclose()


def _client() -> redis.Redis:
    loop = asyncio.get_running_loop()
    found = _clients.get(loop)
    if found is None:
        pool = redis.BlockingConnectionPool.from_url(settings.REDIS_URL, max_connections=32, timeout=TIMEOUT_S, **BOUNDS)
        found = _clients[loop] = redis.Redis.from_pool(pool)
    return found


@cache
def _blocking() -> blocking.Redis:
    return blocking.Redis.from_url(settings.REDIS_URL, max_connections=16, **BOUNDS)
