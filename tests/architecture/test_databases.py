"""Batches can lie in a database of their own: no key, no statement and no transaction spans theirs and the other's tables."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from django.apps import apps
from django.db.models import Model

from config.databases import TABLES_OF_BATCH, Router
from tests.architecture.sources import APPS, ROOT, nodes, trees

MODULES_OF_BATCH = {"invocation.models.batches", "quota.models.batch_ledger"}
OURS = {model._meta.label_lower: model for model in apps.get_models() if model._meta.app_label in APPS}
BATCH = {label: model for label, model in OURS.items() if model.__module__ in MODULES_OF_BATCH}
NAMES_OF_BATCH = {model.__name__ for model in BATCH.values()}
BATCH_TABLE = re.compile(rf"\b({'|'.join(model._meta.db_table for model in BATCH.values())})\b")
OTHER_TABLE = re.compile(rf"\b({'|'.join(model._meta.db_table for label, model in OURS.items() if label not in BATCH)})\b")
OPENS = "atomic"


def test_the_router_knows_the_tables_of_batches_and_their_ledger() -> None:
    assert {f"{app}.{model}" for app, model in TABLES_OF_BATCH} == set(BATCH)


@pytest.mark.parametrize("model", OURS.values(), ids=OURS)
def test_no_key_runs_between_the_databases(model: type[Model]) -> None:
    ours = model in BATCH.values()
    others = [field.name for field in model._meta.get_fields() if field.related_model and (field.related_model in BATCH.values()) != ours]

    assert others == []


def test_no_statement_names_tables_of_both() -> None:
    words = ((place, node.value) for place, node in nodes(ast.Constant) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    found = [place for place, text in words if BATCH_TABLE.search(text) and OTHER_TABLE.search(text)]

    assert found == []


def names_a_database(call: ast.Call | ast.Attribute) -> bool:
    return isinstance(call, ast.Call) and any(word.arg == "using" for word in call.keywords)


def locks_batches(tree: ast.AST) -> bool:
    """Say whether a file takes part in writing batches: it names one of their tables and opens transactions."""
    return any(isinstance(node, ast.Name) and node.id in NAMES_OF_BATCH for node in ast.walk(tree))


def test_a_service_of_batches_says_in_which_database_its_transaction_is() -> None:
    found = []
    for name, tree in trees().items():
        if "/services/" not in name or not locks_batches(tree):
            continue
        calls = {node.func: node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        opened = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == OPENS]
        found += [f"{name}:{node.lineno}" for node in opened if not names_a_database(calls.get(node, node)) and name not in OF_OTHERS]

    assert found == []


OF_OTHERS = {
    "invocation/services/holds.py": "holds lie in the default database; batches are read after it",
    "invocation/services/outbox.py": "the receipt and the outbox lie in the default database, inside a transaction of the batches'",
    "invocation/services/rescue.py": "jobs alone are moved in it",
}


def migrations() -> list[Path]:
    return [path for app in APPS for path in sorted((ROOT / app).glob("migrations/0*.py"))]


@pytest.mark.parametrize("path", migrations(), ids=lambda path: f"{path.parent.parent.name}/{path.stem}")
def test_a_migrations_statement_on_batches_says_so_and_no_other_does(path: Path) -> None:
    module = importlib.import_module(f"{path.parent.parent.name}.migrations.{path.stem}")
    for operation in module.Migration.operations:
        if hasattr(operation, "sql"):
            is_theirs = bool(BATCH_TABLE.search(str(operation.sql)))
            assert bool(operation.hints.get("is_batch")) == is_theirs, operation


def test_a_table_is_migrated_in_one_database_alone(settings: object) -> None:
    settings.BATCH_DATABASE = "batch"  # type: ignore[attr-defined]
    found = Router()
    for label, model in OURS.items():
        allowed = [alias for alias in ("default", "batch") if found.allow_migrate(alias, *label.split("."))]
        assert allowed == [found.db_for_write(model)] == ["batch" if label in BATCH else "default"]
    assert [found.allow_migrate(alias, "quota", is_batch=True) for alias in ("default", "batch")] == [False, True]
    assert [found.allow_migrate(alias, "quota") for alias in ("default", "batch")] == [True, False]
