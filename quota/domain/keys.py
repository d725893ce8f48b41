"""API keys as text: `gbx_<prefix>_<secret>`; only the prefix and a digest of the secret are ever stored."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

from quota.domain.errors import BadKey

_FORM = re.compile(r"gbx_([a-z0-9]{8})_([A-Za-z0-9_-]{43})")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class RawKey:
    """A key as its owner holds it. The secret has 256 bits, so one plain hash protects it."""

    prefix: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        return f"gbx_{self.prefix}_{self.secret}"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def opens(self, digest: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.digest, digest)


def generate() -> RawKey:
    return RawKey("".join(secrets.choice(_LETTERS) for _ in range(8)), secrets.token_urlsafe(32))


def split(text: str) -> RawKey:
    """Read a key from its text. Raises BadKey."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise BadKey("An API key has the form gbx_<prefix>_<secret>.")
    return RawKey(found[1], found[2])
