"""Checking AWS's Signature Version 4, written from its description and not with the signer that it checks."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from agents.gateways.simulated_provider.connection import HttpRequest

ALGORITHM = "AWS4-HMAC-SHA256"
_AUTHORIZATION = re.compile(
    ALGORITHM + r" Credential=(?P<id>[^/]+)/(?P<scope>\d{8}/[\w-]+/bedrock/aws4_request), ?"
    r"SignedHeaders=(?P<headers>[\w;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a request is not trusted: AWS's word for it, and a sentence."""

    kind: str
    sentence: str


def flaw(http: HttpRequest, *, key: str) -> Flaw | None:
    """Return what is wrong with a request's proof, or None. The key is the access key's id, its secret, and the Bedrock API key."""
    given = http.headers.get("authorization", "")
    if given.startswith("Bearer "):
        return None if _same(given.removeprefix("Bearer "), key) else Flaw("AccessDeniedException", "The API key is not valid.")
    found = _AUTHORIZATION.fullmatch(given)
    if not found:
        return Flaw("MissingAuthenticationTokenException", "Missing Authentication Token")
    if not _same(found["id"], key):
        return Flaw("UnrecognizedClientException", "The security token included in the request is invalid.")
    if not _same(found["signature"], _signature(http, found, secret=key)):
        return Flaw("InvalidSignatureException", "The request signature we calculated does not match the signature you provided.")
    return None


def _signature(http: HttpRequest, found: Mapping[str, str] | re.Match[str], *, secret: str) -> str:
    told = "\n".join((ALGORITHM, http.headers.get("x-amz-date", ""), found["scope"], _digest(_canonical(http, found["headers"]))))
    key = f"AWS4{secret}".encode()
    for part in found["scope"].split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, told.encode(), "sha256").hex()


def _canonical(http: HttpRequest, names: str) -> bytes:
    """Write the request as it is signed; the path as it came is quoted once more, as for every service but S3."""
    headers = "".join(f"{name}:{' '.join(http.headers.get(name, '').split())}\n" for name in names.split(";"))
    return "\n".join((http.method, quote(http.path, safe="/-_.~"), "", headers, names, _digest(http.body))).encode()


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
