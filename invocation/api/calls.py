"""What every call over DRF has in common: a caller with the scope, counted in the tenant's minute."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, cast

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from invocation.api.problems import rate_headers
from invocation.selectors import outstanding
from quota.domain.callers import Caller, Scope
from quota.domain.days import DayStanding
from quota.domain.rates import Rate
from quota.services import days, rates

READS = MappingProxyType({"GET": Scope.READ})
READS_AND_INVOKES = MappingProxyType({"GET": Scope.READ, "POST": Scope.INVOKE})
READS_AND_MANAGES = MappingProxyType(
    {"GET": Scope.READ, "POST": Scope.MANAGE, "PUT": Scope.MANAGE, "PATCH": Scope.MANAGE, "DELETE": Scope.MANAGE}
)


class Call(APIView):
    """An authenticated call. `scopes` says what each method needs."""

    scopes: ClassVar[Mapping[str, Scope]] = READS
    rate: Rate | None = None
    day: DayStanding | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        caller = caller_of(request)
        self.rate = rates.take(caller, now=timezone.now())
        [self.day] = days.standings([caller], now=timezone.now())
        caller.require(self.scopes.get(str(request.method), Scope.READ))

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Response:
        told = super().finalize_response(request, response, *args, **kwargs)
        for name, value in rate_headers(self.rate, self.day).items() if self.rate else ():
            told.headers.setdefault(name, value)
        return told


def caller_of(request: Request) -> Caller:
    return cast(Caller, request.auth)


def must_have_room(caller: Caller) -> None:
    """Refuse new work of a tenant whose day is spent. Raises DaySpent or DayTokensSpent."""
    days.must_have_room(caller, now=timezone.now(), under_way=outstanding.under_way)
