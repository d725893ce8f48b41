"""Every refusal of quota: a fact with a stable code, and when it is worth asking again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from quota.domain.rates import Rate
from quota.domain.resources import Resource


class QuotaError(Exception):
    """The base of every refusal. Nothing was reserved, charged or changed, unless a docstring says otherwise."""

    code = "quota_error"
    retryable = False

    def __init__(self, sentence: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.retry_after = retry_after


class BadKey(QuotaError):
    """The key is missing, malformed, unknown or expired, or its tenant is closed. One answer for all: it tells nothing."""

    code = "bad_key"


class KeyRevoked(QuotaError):
    """The key was genuine and has been revoked."""

    code = "key_revoked"


class ScopeMissing(QuotaError):
    """The key may not do this."""

    code = "scope_missing"


class ClassNotAllowed(QuotaError):
    """The key may not use so high a priority class."""

    code = "class_not_allowed"


class UnknownPlan(QuotaError):
    """No plan has this name."""

    code = "unknown_plan"


class UnknownKey(QuotaError):
    """No key has this prefix."""

    code = "unknown_key"


class RateExceeded(QuotaError):
    """The tenant made all the requests of its minute. `rate` fills the RateLimit headers."""

    code = "rate_exceeded"
    retryable = True

    def __init__(self, rate: Rate) -> None:
        sentence = f"This tenant's plan allows {rate.limit} requests a minute."
        super().__init__(sentence, retry_after=timedelta(seconds=rate.reset_s))
        self.rate = rate


class QuotaExceeded(QuotaError):
    """The model's quota would be free only after more time than the caller would wait."""

    code = "quota_exceeded"
    retryable = True


class CanNeverFit(QuotaError):
    """The call is larger than its class may ever reserve at once: waiting cannot help."""

    code = "can_never_fit"


class LargerThanDay(CanNeverFit):
    """The call is larger than all that its tenant's plan allows a day: no day is long enough. `limit` is the plan's."""

    code = "larger_than_day"

    def __init__(self, *, what: Resource, limit: Decimal | int, found: Decimal | int) -> None:
        unit = _UNITS[what]
        super().__init__(f"This could take {found} {unit}; this tenant's plan allows {limit} {unit} a day (UTC).")
        self.facts: Mapping[str, Any] = {"limit": _told(limit), "found": _told(found)}


class ModelUnavailable(QuotaError):
    """The provider failed the model's last calls: until `retry_after` none but a probe is let through. No call was made."""

    code = "model_unavailable"
    retryable = True


class QuotaStoreUnavailable(QuotaError):
    """The quota store did not answer within the time that the caller would wait."""

    code = "quota_store_unavailable"
    retryable = True


class BudgetSpent(QuotaError):
    """The call could take more than the budget still holds of `what`. The call was not made."""

    code = "budget_spent"

    def __init__(self, sentence: str, *, what: Resource) -> None:
        super().__init__(sentence)
        self.what = what


class DaySpent(QuotaError):
    """The tenant's money of the day is spent, or less is left than the call could cost. The call was not made.

    `limit` and `used` are of the day, which ends at midnight UTC.
    """

    code = "daily_budget_spent"
    retryable = True
    what = Resource.MONEY
    unit = "USD"

    def __init__(self, *, limit: Decimal | int, used: Decimal | int, retry_after: timedelta) -> None:
        sentence = f"This tenant's plan allows {limit} {self.unit} a day (UTC); {used} are used or set aside."
        super().__init__(sentence, retry_after=retry_after)
        self.facts: Mapping[str, Any] = {"limit": _told(limit), "used": _told(used)}


class DayTokensSpent(DaySpent):
    """The tenant's tokens of the day are spent, or fewer are left than the call could use. The call was not made."""

    code = "daily_tokens_spent"
    what = Resource.TOKENS
    unit = "tokens"


class UnknownPrice(QuotaError):
    """No price is known for the model, so no budget could bound it."""

    code = "unknown_price"


class PriceRefused(QuotaError):
    """The price cannot be set so. `field` names what is wrong; nothing was changed."""

    code = "price_refused"

    def __init__(self, sentence: str, *, field: str) -> None:
        super().__init__(sentence)
        self.field = field


class PriceInEffect(QuotaError):
    """Calls may have been paid by this price: it stays. Nothing was changed."""

    code = "price_in_effect"


class ReportInvalid(QuotaError):
    """The provider's report cannot be read. `line` and `field` say where; nothing was imported."""

    code = "report_invalid"

    def __init__(self, sentence: str, *, line: int, field: str) -> None:
        super().__init__(sentence)
        self.line = line
        self.field = field


_UNITS: Mapping[Resource, str] = MappingProxyType({Resource.MONEY: "USD", Resource.TOKENS: "tokens"})


def _told(amount: Decimal | int) -> int | str:
    """Return an amount as JSON: money is a string, as everywhere."""
    return amount if isinstance(amount, int) else str(amount)
