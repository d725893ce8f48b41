"""Celery's entry points: each task takes ids, hands them to this process's engine or calls one service, and returns."""

from invocation.tasks import control, work

__all__ = ["control", "work"]
