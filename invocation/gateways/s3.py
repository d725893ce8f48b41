"""The store in S3, or in what speaks its protocol: read through pyarrow, written through boto3, whose uploads can be broken off."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings

from invocation.gateways.stores import S3_SCHEME, BadLocation, Stamp, relative

PART_BYTES = 8 * 1024 * 1024
"""A part of an upload. S3 takes 5 MiB or more for all but the last, and 10,000 of them."""
READ_AHEAD = 1024 * 1024
REMOVED_AT_ONCE = 1000
"""The most keys of one DeleteObjects."""
GONE = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NoSuchUpload", "NotFound"})


def store(location: str) -> S3Store:
    """Return the store at `s3://bucket/prefix`. Raises BadLocation."""
    bucket, _, prefix = location.removeprefix(S3_SCHEME).partition("/")
    if not bucket:
        raise BadLocation(f"{location}: say s3://bucket/prefix.")
    return S3Store(bucket, relative(prefix) if prefix.strip("/") else "", connection())


class Connection:
    """This process's clients of one S3: credentials and region come from where AWS's own programs find them."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint or None
        self._session = boto3.session.Session()
        self.region = self._session.region_name or "us-east-1"

    @cached_property
    def client(self) -> Any:
        own = {"s3": {"addressing_style": "path"}, "request_checksum_calculation": "when_required"} if self._endpoint else {}
        config = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=5, read_timeout=60, **own)
        return self._session.client("s3", endpoint_url=self._endpoint, region_name=self.region, config=config)

    @cached_property
    def filesystem(self) -> Any:
        from pyarrow.fs import S3FileSystem  # noqa: PLC0415  (only who reads loads it)

        return S3FileSystem(endpoint_override=self._endpoint, region=self.region, connect_timeout=5, request_timeout=60)

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()


_connections: dict[str, Connection] = {}
_lock = threading.Lock()


def connection() -> Connection:
    """Return the clients of the S3 that the settings name; one pair a process."""
    endpoint = settings.S3_ENDPOINT_URL
    with _lock:
        found = _connections.get(endpoint) or Connection(endpoint)
        found.client  # noqa: B018  (made under the lock: a session makes its clients in one thread at a time)
        return _connections.setdefault(endpoint, found)


def close() -> None:
    """Let go of every client; the next use makes them anew."""
    with _lock:
        while _connections:
            _connections.popitem()[1].close()


@dataclass(frozen=True, slots=True)
class S3Store:
    """What lies in a bucket under a prefix. Its own word for a folder is a prefix that ends in `/`."""

    bucket: str
    prefix: str
    _through: Connection

    @property
    def location(self) -> str:
        return S3_SCHEME + "/".join(part for part in (self.bucket, self.prefix) if part)

    def below(self, prefix: str) -> S3Store:
        return S3Store(self.bucket, self._key(prefix), self._through)

    def at(self, path: str) -> str:
        return f"{S3_SCHEME}{self.bucket}/{self._key(path)}"

    def open_input(self, path: str) -> BinaryIO:
        found = self.filesystem.open_input_file(f"{self.bucket}/{self._key(path)}")
        return cast("BinaryIO", io.BufferedReader(found, READ_AHEAD))

    def open_whole(self, path: str) -> AbstractContextManager[BinaryIO]:
        return _whole(self._client, self.bucket, self._key(path))

    def write_whole(self, path: str, content: bytes) -> None:
        with self.open_whole(path) as file:
            file.write(content)

    def read(self, path: str) -> bytes:
        with _asking(self.at(path)):
            found: bytes = self._client.get_object(Bucket=self.bucket, Key=self._key(path))["Body"].read()
            return found

    def size(self, path: str) -> int:
        with _asking(self.at(path)):
            return int(self._client.head_object(Bucket=self.bucket, Key=self._key(path))["ContentLength"])

    def stamp(self, path: str) -> Stamp:
        with _asking(self.at(path)):
            found = self._client.head_object(Bucket=self.bucket, Key=self._key(path))
            return Stamp(int(found["ContentLength"]), str(found["ETag"]))

    def exists(self, path: str) -> bool:
        with suppress(FileNotFoundError):
            return self.size(path) >= 0
        return False

    def can_hold(self, path: str) -> bool:
        """It always may: a key and a prefix of one name lie beside each other."""
        return bool(self._key(path))

    def list(self, prefix: str = "") -> Sequence[tuple[str, int]]:
        own = len(self.prefix) + 1 if self.prefix else 0
        return sorted((found["Key"][own:], found["Size"]) for found in self._objects(prefix) if not found["Key"].endswith("/"))

    def remove(self, path: str) -> None:
        with _asking(self.at(path)), suppress(FileNotFoundError):
            self._client.delete_object(Bucket=self.bucket, Key=self._key(path))

    def remove_tree(self, prefix: str) -> None:
        keys = [{"Key": found["Key"]} for found in self._objects(relative(prefix))]
        for start in range(0, len(keys), REMOVED_AT_ONCE):
            with _asking(self.location):
                some = {"Objects": keys[start : start + REMOVED_AT_ONCE], "Quiet": True}
                _must_be_gone(self._client.delete_objects(Bucket=self.bucket, Delete=some))

    def remove_abandoned(self, *, before: float) -> int:
        with _asking(self.location):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self._folder(""))
            old = [found for page in pages for found in page.get("Uploads", ()) if found["Initiated"].timestamp() < before]
        for found in old:
            _abort(self._client, Bucket=self.bucket, Key=found["Key"], UploadId=found["UploadId"])
        return len(old)

    @property
    def filesystem(self) -> Any:
        return self._through.filesystem

    def full(self, path: str = "") -> str:
        return f"{self.bucket}/{self._key(path) if path else self.prefix}".rstrip("/")

    @property
    def _client(self) -> Any:
        return self._through.client

    def _key(self, path: str) -> str:
        return "/".join(part for part in (self.prefix, relative(path)) if part)

    def _folder(self, prefix: str) -> str:
        found = self._key(prefix) if prefix else self.prefix
        return f"{found}/" if found else ""

    def _objects(self, prefix: str) -> Iterator[Any]:
        with _asking(self.location):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._folder(prefix)):
                yield from page.get("Contents", ())


class _Upload(io.RawIOBase):
    """Takes bytes and sends them by parts; only `complete` makes the object. A small one goes in one request."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        super().__init__()
        self._client = client
        self._at = {"Bucket": bucket, "Key": key}
        self._held = bytearray()
        self._parts: list[dict[str, Any]] = []
        self._upload: dict[str, Any] = {}
        self._length = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._length

    def write(self, content: Any) -> int:
        self._held += content
        self._length += len(content)
        while len(self._held) >= PART_BYTES:
            self._send(PART_BYTES)
        return len(content)

    def complete(self) -> None:
        if not self._parts:
            self._client.put_object(**self._at, Body=bytes(self._held))
            return
        if self._held:
            self._send(len(self._held))
        self._client.complete_multipart_upload(**self._at, **self._upload, MultipartUpload={"Parts": self._parts})

    def abort(self) -> None:
        if self._upload:
            _abort(self._client, **self._at, **self._upload)

    def _send(self, length: int) -> None:
        if not self._upload:
            self._upload = {"UploadId": self._client.create_multipart_upload(**self._at)["UploadId"]}
        number, body = len(self._parts) + 1, bytes(self._held[:length])
        sent = self._client.upload_part(**self._at, **self._upload, PartNumber=number, Body=body)
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        del self._held[:length]


@contextmanager
def _whole(client: Any, bucket: str, key: str) -> Iterator[BinaryIO]:
    with _asking(f"{S3_SCHEME}{bucket}/{key}"), _Upload(client, bucket, key) as upload:
        try:
            yield cast("BinaryIO", upload)
            upload.complete()
        except BaseException:
            with suppress(OSError, BotoCoreError, ClientError):  # what is left the cleaner aborts; the first error is the one to tell
                upload.abort()
            raise


def _must_be_gone(answer: Mapping[str, Any]) -> None:
    """S3 answers 200 to a DeleteObjects of which it has done a part. Raises OSError."""
    left = [error for error in answer.get("Errors", ()) if error.get("Code") not in GONE]
    if left:
        raise OSError(f"{left[0].get('Key')}: {left[0].get('Code')}; {len(left)} objects could not be removed")


def _abort(client: Any, **upload: Any) -> None:
    with _asking(str(upload["Key"])), suppress(FileNotFoundError):
        client.abort_multipart_upload(**upload)


@contextmanager
def _asking(what: str) -> Iterator[None]:
    """Turn what S3 refused, or its silence, into an OSError as a local file's would be."""
    try:
        yield
    except ClientError as refused:
        code = refused.response.get("Error", {}).get("Code", "")
        if code in GONE:
            raise FileNotFoundError(f"{what}: {code}") from refused
        raise OSError(f"{what}: {refused}") from refused
    except BotoCoreError as silent:
        raise OSError(f"{what}: {silent}") from silent
