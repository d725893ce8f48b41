"""Secrets as they are stored: encrypted with keys derived from SECRET_KEY, of which older ones still open."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Any

from django.conf import settings

PURPOSE = b"gearbox webhook secrets 1"


class SealBroken(ValueError):
    """A sealed text was not sealed by a key of ours, or was changed."""


def seal(text: str) -> str:
    return str(_keys().encrypt(text.encode()).decode())


def unseal(sealed: str) -> str:
    """Return the text. Raises SealBroken, as after a change of SECRET_KEY that left the old one out of SECRET_KEY_FALLBACKS."""
    from cryptography.fernet import InvalidToken  # noqa: PLC0415  (most processes never seal)

    try:
        return str(_keys().decrypt(sealed.encode()).decode())
    except InvalidToken:
        raise SealBroken("No key of this installation opens the secret.") from None


def _keys() -> Any:
    return _derived((settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))


@lru_cache(maxsize=4)
def _derived(secret_keys: tuple[str, ...]) -> Any:
    from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    def key(secret: str) -> Fernet:
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode())
        return Fernet(base64.urlsafe_b64encode(derived))

    return MultiFernet([key(secret) for secret in secret_keys])
