"""Quota in the admin: who may invoke, how much, at what price, and what was used."""

from quota.admin import callers, changes, ledger, prices, reconciling

__all__ = ["callers", "changes", "ledger", "prices", "reconciling"]
