"""The environment, read once into one validated, frozen value; nothing else reads it."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

CLASSES = ("p0", "p1", "p2", "p3")
ROOT = Path(__file__).resolve().parent.parent
MOST_BYTES = 200 * 1024 * 1024
"""A row of JSON beyond this is nothing that PostgreSQL keeps well; more belongs in an object store of the agent's own."""
MOST_MANIFEST_BYTES = 1024**4


class BadSetting(ValueError):
    """An environment variable has a value that Gearbox cannot start with."""

    def __init__(self, name: str, found: str, remedy: str) -> None:
        super().__init__(f"{name}={found!r}: {remedy}")
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    """What this process was told. Lengths are seconds; URLs are None where the embedded servers serve."""

    home: Path
    debug: bool
    secret_key: str
    allowed_hosts: tuple[str, ...]
    database_url: str | None
    batch_database_url: str | None
    redis_url: str | None
    broker_url: str | None
    web_host: str
    web_port: int
    flower_port: int
    flower_user: str
    flower_password: str
    admin_user: str
    admin_password: str
    model_provider: str
    model_base_url: str
    model_api_key: str
    model_region: str
    model_tiers: Mapping[str, str]
    first_delta_grace_ms: int
    offline_first_token_ms: int
    offline_token_ms: int
    offline_capacity: int
    offline_fault_markers: bool
    object_store: str
    s3_endpoint_url: str
    glue_database: str
    worker_threads: int
    slots: Mapping[str, int]
    rows_in_flight: int
    rows_of_a_shard: int
    shard_slice_s: float
    lease_s: float
    heartbeat_s: float
    drain_s: float
    unready_s: float
    web_connections: int
    allowed_origins: tuple[str, ...]
    idle_s: float
    comes_back_s: float
    breaker_failures: int
    endpoint_modules: tuple[str, ...]
    public_url: str
    webhook_allow_private: bool
    alert_webhook_url: str
    alert_webhook_secret: str
    manifest_max_bytes: int
    manifests_max_bytes: int
    result_inline_bytes: int
    result_max_bytes: int
    retain_results_days: int
    retain_journal_days: int
    retain_jobs_days: int

    def __post_init__(self) -> None:
        if self.batch_database_url and _place(self.batch_database_url) == _place(self.database_url or ""):
            raise BadSetting("BATCH_DATABASE_URL", "…", "this is the database of DATABASE_URL: name another, or leave it empty for one")
        if self.lease_s < 2 * self.heartbeat_s:
            raise BadSetting("LEASE_S", str(self.lease_s), f"the lease must outlast two heartbeats of {self.heartbeat_s} s")
        if self.manifests_max_bytes < self.manifest_max_bytes:
            told = f"one manifest may have {self.manifest_max_bytes} bytes: allow at least as many"
            raise BadSetting("MANIFESTS_MAX_BYTES", str(self.manifests_max_bytes), told)
        if self.result_max_bytes < self.result_inline_bytes:
            told = f"a result in the row may have {self.result_inline_bytes} bytes: allow at least as many"
            raise BadSetting("RESULT_MAX_BYTES", str(self.result_max_bytes), told)
        if self.retain_jobs_days < max(self.retain_results_days, self.retain_journal_days):
            raise BadSetting("RETAIN_JOBS_DAYS", str(self.retain_jobs_days), "a job outlives its result and its journal")
        if self.alert_webhook_url and not self.alert_webhook_secret:
            raise BadSetting("ALERT_WEBHOOK_SECRET", "", "alerts are signed: give the secret that their receiver checks with")


def read(given: Mapping[str, str]) -> Env:
    """Validate `given` (usually os.environ). Raises BadSetting naming the variable."""
    home = Path(given.get("GEARBOX_HOME") or ROOT / ".local").resolve()
    kept = _Kept(home)
    return Env(
        home=home,
        debug=_switch(given, "DEBUG"),
        secret_key=given.get("SECRET_KEY") or kept.secret("secret_key"),
        allowed_hosts=_words(given, "ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]"),
        database_url=given.get("DATABASE_URL") or kept.server("database_url"),
        batch_database_url=_database(given, "BATCH_DATABASE_URL"),
        redis_url=given.get("REDIS_URL") or kept.server("redis_url"),
        broker_url=given.get("BROKER_URL") or None,
        web_host=given.get("WEB_HOST") or "127.0.0.1",
        web_port=_count(given, "WEB_PORT", 8000),
        flower_port=_count(given, "FLOWER_PORT", 5555),
        flower_user=given.get("FLOWER_USER") or "ops",
        flower_password=given.get("FLOWER_PASSWORD") or kept.secret("flower_password"),
        admin_user=given.get("ADMIN_USER") or "admin",
        admin_password=given.get("ADMIN_PASSWORD") or kept.secret("admin_password"),
        model_provider=given.get("MODEL_PROVIDER") or "offline",
        model_base_url=given.get("MODEL_BASE_URL") or "",
        model_api_key=given.get("MODEL_API_KEY") or "",
        model_region=_region(given, "MODEL_REGION"),
        model_tiers=_pairs(given, "MODEL_TIERS"),
        first_delta_grace_ms=_count(given, "FIRST_DELTA_GRACE_MS", 0, least=0),
        offline_first_token_ms=_count(given, "OFFLINE_FIRST_TOKEN_MS", 200),
        offline_token_ms=_count(given, "OFFLINE_TOKEN_MS", 20),
        offline_capacity=_count(given, "OFFLINE_CAPACITY", 64),
        offline_fault_markers=_switch(given, "OFFLINE_FAULT_MARKERS"),
        object_store=_store(given, "OBJECT_STORE", home / "objects"),
        s3_endpoint_url=_address(given, "S3_ENDPOINT_URL"),
        glue_database=_identifier(given, "GLUE_DATABASE"),
        worker_threads=_count(given, "WORKER_THREADS", 4),
        slots=_slots(given, "SLOTS"),
        rows_in_flight=_count(given, "ROWS_IN_FLIGHT", 512),
        rows_of_a_shard=_count(given, "ROWS_OF_A_SHARD", 512),
        shard_slice_s=_seconds(given, "SHARD_SLICE_S", 10.0),
        lease_s=_seconds(given, "LEASE_S", 10.0),
        heartbeat_s=_seconds(given, "HEARTBEAT_S", 2.0),
        drain_s=_seconds(given, "DRAIN_S", 8.0),
        unready_s=_seconds(given, "UNREADY_S", 0.5),
        web_connections=_count(given, "WEB_CONNECTIONS", 2_000),
        allowed_origins=_origins(given, "ALLOWED_ORIGINS"),
        idle_s=_seconds(given, "IDLE_S", 900.0),
        comes_back_s=_seconds(given, "COMES_BACK_S", 2.0),
        breaker_failures=_count(given, "BREAKER_FAILURES", 5),
        endpoint_modules=_words(given, "ENDPOINT_MODULES", "config.endpoints"),
        public_url=_address(given, "PUBLIC_URL"),
        webhook_allow_private=_switch(given, "WEBHOOK_ALLOW_PRIVATE"),
        alert_webhook_url=_address(given, "ALERT_WEBHOOK_URL"),
        alert_webhook_secret=_signing_secret(given, "ALERT_WEBHOOK_SECRET"),
        manifest_max_bytes=_bytes(given, "MANIFEST_MAX_BYTES", 2 * 1024**3, most=MOST_MANIFEST_BYTES),
        manifests_max_bytes=_bytes(given, "MANIFESTS_MAX_BYTES", 20 * 1024**3, most=MOST_MANIFEST_BYTES),
        result_inline_bytes=_bytes(given, "RESULT_INLINE_BYTES", 64 * 1024),
        result_max_bytes=_bytes(given, "RESULT_MAX_BYTES", 16 * 1024 * 1024),
        retain_results_days=_count(given, "RETAIN_RESULTS_DAYS", 30),
        retain_journal_days=_count(given, "RETAIN_JOURNAL_DAYS", 7),
        retain_jobs_days=_count(given, "RETAIN_JOBS_DAYS", 90),
    )


class _Kept:
    """What earlier starts left under home: generated secrets, and the addresses of running embedded servers."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def secret(self, name: str) -> str:
        """Return the secret of this name, made at first need; two processes that race keep the same one."""
        folder = self._home / "secrets"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / name
        if not path.exists():
            fresh = folder / f".{name}.{os.getpid()}"
            fresh.touch(mode=0o600)
            fresh.write_text(secrets.token_urlsafe(32))
            try:
                os.link(fresh, path)
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return path.read_text()

    def server(self, name: str) -> str | None:
        try:
            found = json.loads((self._home / "servers.json").read_text()).get(name)
        except (OSError, ValueError, AttributeError):
            return None
        return str(found) if found else None


def _switch(given: Mapping[str, str], name: str) -> bool:
    raw = given.get(name, "").lower()
    if raw not in {"", "0", "1", "true", "false"}:
        raise BadSetting(name, raw, "say 1 or 0")
    return raw in {"1", "true"}


def _count(given: Mapping[str, str], name: str, default: int, *, least: int = 1) -> int:
    raw = given.get(name) or str(default)
    if not raw.isdecimal() or not least <= int(raw) < 1_000_000:
        raise BadSetting(name, raw, f"say a whole number, {least} or more")
    return int(raw)


def _bytes(given: Mapping[str, str], name: str, default: int, *, most: int = MOST_BYTES) -> int:
    raw = given.get(name) or str(default)
    if not raw.isdecimal() or not 0 < int(raw) <= most:
        raise BadSetting(name, raw, f"say a number of bytes from 1 to {most}")
    return int(raw)


def _seconds(given: Mapping[str, str], name: str, default: float) -> float:
    raw = given.get(name) or str(default)
    try:
        value = float(raw)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise BadSetting(name, raw, "say a number of seconds above 0")
    return value


def _words(given: Mapping[str, str], name: str, default: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in (given.get(name) or default).split(",") if word.strip())


def _origins(given: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Read `https://one.example,https://two.example:8443`."""
    words = _words(given, name, "")
    bad = next((word for word in words if not re.fullmatch(r"https?://[^/\s]+", word)), None)
    if bad is not None:
        raise BadSetting(name, bad, "say scheme and host as a browser's Origin does, such as https://shop.example")
    return words


def _store(given: Mapping[str, str], name: str, default: Path) -> str:
    raw = given.get(name) or str(default)
    if "://" in raw and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/[^/\s]+)*/?", raw):
        raise BadSetting(name, raw, "say a folder that every process sees, or s3://bucket/prefix")
    return raw.rstrip("/") if "://" in raw else raw


def _database(given: Mapping[str, str], name: str) -> str | None:
    """Read a database's URL; it holds a password and is not repeated in the error."""
    raw = given.get(name) or None
    if raw and not (raw.startswith(("postgresql://", "postgres://")) and urlsplit(raw).path.strip("/")):
        raise BadSetting(name, "…", "say postgresql://user:password@host:port/name")
    return raw


def _place(url: str) -> tuple[str | None, int, str]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or 5432, parts.path


def _identifier(given: Mapping[str, str], name: str) -> str:
    raw = given.get(name, "")
    if raw and not re.fullmatch(r"[a-z0-9_]{1,255}", raw):
        raise BadSetting(name, raw, "say small letters, digits and _")
    return raw


def _address(given: Mapping[str, str], name: str) -> str:
    raw = given.get(name, "")
    if raw and not raw.startswith(("https://", "http://")):
        raise BadSetting(name, raw, "say an http or https URL")
    return raw


def _region(given: Mapping[str, str], name: str) -> str:
    """Read a region's name; it becomes a part of a host's name, so nothing else may stand there."""
    raw = given.get(name, "")
    if raw and not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d{1,2}", raw):
        raise BadSetting(name, raw, "say an AWS region, such as us-east-1")
    return raw


def _signing_secret(given: Mapping[str, str], name: str) -> str:
    """Read a secret of Standard Webhooks; what stands there is not repeated in the error."""
    raw = given.get(name, "")
    try:
        length = len(base64.b64decode(raw.removeprefix("whsec_"), validate=True))
    except ValueError:
        length = 0
    if raw and (not raw.startswith("whsec_") or not 24 <= length <= 64):
        raise BadSetting(name, "…", "say whsec_ and the base64 of 24 to 64 random bytes")
    return raw


def _slots(given: Mapping[str, str], name: str) -> Mapping[str, int]:
    """Read `p1=16,p3=8`: runs in flight in one process of a class."""
    pairs = _pairs(given, name)
    bad = next((f"{key}={count}" for key, count in pairs.items() if key not in CLASSES or not count.isdecimal() or int(count) < 1), None)
    if bad is not None:
        raise BadSetting(name, bad, f"say one of {', '.join(CLASSES)} and a whole number above 0, such as p1=16")
    return MappingProxyType({key: int(count) for key, count in pairs.items()})


def _pairs(given: Mapping[str, str], name: str) -> Mapping[str, str]:
    """Read `a=1,b=2`."""
    words = _words(given, name, "")
    bad = next((word for word in words if "=" not in word), None)
    if bad is not None:
        raise BadSetting(name, bad, "say key=value, separated by commas")
    return MappingProxyType(dict(word.split("=", 1) for word in words))


env = read(os.environ)
