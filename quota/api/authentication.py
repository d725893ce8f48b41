"""Recognises the caller of a request by its bearer key: for DRF, and for views and sockets outside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from quota.domain.callers import Caller
from quota.domain.errors import BadKey, KeyRevoked
from quota.services import keys

CHALLENGE = 'Bearer realm="gearbox"'


@dataclass(frozen=True, slots=True)
class TenantUser:
    """What DRF takes for a user: a tenant, through one of its keys."""

    caller: Caller
    is_authenticated: bool = True
    is_active: bool = True

    def __str__(self) -> str:
        return self.caller.tenant_name


def caller_from_header(value: str | None) -> Caller:
    """Return whose key an Authorization header holds. Raises BadKey, KeyRevoked. May ask the database."""
    scheme, _, key = (value or "").strip().partition(" ")
    if scheme.lower() != "bearer":
        raise BadKey("Send your API key as `Authorization: Bearer KEY`.")
    return keys.authenticate(key.strip(), now=timezone.now())


class BearerKey(BaseAuthentication):
    """Gives `request.user` a TenantUser and `request.auth` the Caller; 401 with a challenge otherwise."""

    def authenticate(self, request: Request) -> tuple[TenantUser, Caller] | None:
        header = request.headers.get("Authorization")
        if not header:
            return None
        try:
            caller = caller_from_header(header)
        except (BadKey, KeyRevoked) as refusal:
            raise AuthenticationFailed(refusal.sentence, code=refusal.code) from refusal
        return TenantUser(caller), caller

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class BearerKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describes the key to OpenAPI."""

    target_class = "quota.api.authentication.BearerKey"
    name = "bearerKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key, as `manage.py keys create` prints it."}
