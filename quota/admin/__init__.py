"""Quota in the admin: who may invoke, how much, at what price, and what was used."""

from quota.admin import callers

__all__ = ["callers"]
