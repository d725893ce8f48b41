"""A Celery application whose broker nobody can reach."""

from __future__ import annotations

from celery import Celery

app = Celery("cut off", broker="redis://127.0.0.1:1/1", set_as_current=False)
