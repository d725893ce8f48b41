"""Which table lies in which database: batches and their ledger have one of their own, where a second is set."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import Model

DEFAULT = "default"
BATCH = "batch"
TABLES_OF_BATCH = frozenset(
    {
        ("invocation", "batch"),
        ("invocation", "shard"),
        ("invocation", "batchrow"),
        ("invocation", "batchoutbox"),
        ("invocation", "catalogtable"),
        ("invocation", "registration"),
        ("invocation", "batchdownshiftcount"),
        ("quota", "batchledgerentry"),
        ("quota", "batchusageday"),
        ("quota", "batchusagemark"),
    }
)
"""By app and model. A test says that these are the models which the modules of batches and of their ledger define."""


class Router:
    """Sends every read, write and migration to where the table lies; with one database all lie in it.

    A migration's operation that names no model says in its hints whose it is: `hints={"is_batch": True}`.
    """

    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        return _place(model)

    db_for_write = db_for_read

    def allow_relation(self, one: Model, other: Model, **hints: Any) -> bool:
        return _place(one) == _place(other)  # by what they say: a request's user is a stand-in whose class is not the user's

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: Any) -> bool:
        is_batch = hints.get("is_batch") or (app_label, model_name) in TABLES_OF_BATCH
        return db == (settings.BATCH_DATABASE if is_batch else DEFAULT)


def _place(model: Model | type[Model]) -> str:
    told = model._meta  # noqa: SLF001  (Django's own name for it)
    return str(settings.BATCH_DATABASE) if (told.app_label, told.model_name) in TABLES_OF_BATCH else DEFAULT
