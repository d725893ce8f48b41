"""A Celery application whose broker is set by the test that uses it."""

from __future__ import annotations

from celery import Celery

app = Celery("apart", set_as_current=False)
