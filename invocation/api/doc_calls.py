"""The OpenAPI document as values that a page can show: groups of calls, each with its fields, answers and an example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import orjson

from invocation.api.doc_words import marked

Spec = Mapping[str, Any]
DEEPEST = 2
TITLES: Mapping[str, str] = MappingProxyType(
    {
        "endpoints": "Endpoints",
        "chat": "Chat",
        "jobs": "Jobs",
        "callbacks": "Callbacks",
        "dead-letters": "Dead letters",
        "batches": "Batches",
        "schedules": "Schedules",
        "webhooks": "Webhooks",
        "subjects": "Subjects",
        "account": "Account",
        "evals": "Scores",
    }
)
EXAMPLES: Mapping[str, Any] = MappingProxyType(
    {
        "chat": {"endpoint": "chat@1", "input": {"text": "Where should I start with Naoki Urasawa?"}},
        "submit_job": {"endpoint": "personalize@1", "input": {"text": "What is new for me?", "reader": "r-001"}},
        "move_context": {"version": 8},
        "cancel_job": {"reason": "not needed any more"},
        "answer_job": {"answers": {"fraud_check": {"approve": True}}},
        "call_back": {"paid": True},
        "redrive_job": {},
        "redrive_dead_letters": {"filter": {"cause": "provider"}, "rate": 20, "reason": "the provider is back"},
        "discard_dead_letters": {"ids": ["019aa0a0-0000-7000-8000-000000000000"], "reason": "nobody wants it any more"},
        "abort_redrive": {},
        "open_batch": {"endpoint": "enrich@1", "manifest": {"rows": [{"row_id": "1", "title": "monster"}]}},
        "create_schedule": {
            "name": "weekly",
            "endpoint": "retention@1",
            "cron": "0 9 * * 1",
            "timezone": "Europe/Berlin",
            "input": {"reader": "r-001"},
        },
        "replace_schedule": {
            "name": "weekly",
            "endpoint": "retention@1",
            "cron": "0 8 * * 1",
            "timezone": "Europe/Berlin",
            "input": {"reader": "r-001"},
        },
        "change_schedule": {"cron": "30 9 * * 1"},
        "create_webhook": {"url": "https://hooks.example.com/gearbox", "events": ["job.completed", "job.failed"]},
        "change_webhook": {"is_enabled": True},
    }
)


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a table of fields; `name` is dotted where the field is inside another."""

    name: str
    type: str
    note: str
    is_required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One method of one address."""

    id: str
    method: str
    path: str
    summary: str
    paragraphs: Sequence[str]
    parameters: Sequence[Field]
    body: Sequence[Field]
    answers: Sequence[tuple[str, str, Sequence[Field]]]
    problems: Sequence[tuple[str, str]]
    example: str


@dataclass(frozen=True, slots=True)
class Group:
    tag: str
    title: str
    calls: Sequence[Call]


def groups(document: Spec, *, host: str) -> list[Group]:
    """Return the calls by group, in the order of TITLES; `host` stands in the examples."""
    calls: dict[str, list[Call]] = {}
    for path, methods in document["paths"].items():
        for method, spec in methods.items():
            calls.setdefault(spec["tags"][0], []).append(_call(document, path, method, spec, host))
    order = [*TITLES, *sorted(set(calls) - set(TITLES))]
    return [Group(tag, TITLES.get(tag, tag.title()), calls[tag]) for tag in order if tag in calls]


def _call(document: Spec, path: str, method: str, spec: Spec, host: str) -> Call:
    answers = spec["responses"].items()
    return Call(
        id=spec["operationId"],
        method=method.upper(),
        path=path,
        summary=spec["summary"],
        paragraphs=[
            marked(" ".join(part.split())) for part in spec.get("description", "").split("\n\n") if part.rstrip(".") != spec["summary"]
        ],
        parameters=[_parameter(each) for each in spec.get("parameters", ())],
        body=list(_fields(document, _schema(spec.get("requestBody", {})))),
        answers=[
            (status, _told(status, answer), list(_fields(document, _schema(answer))))
            for status, answer in answers
            if not _is_problem(answer)
        ],
        problems=[(status, _told(status, answer)) for status, answer in answers if _is_problem(answer)],
        example=_example(spec["operationId"], method.upper(), path, host),
    )


def _parameter(spec: Spec) -> Field:
    place = f"{spec['schema'].get('type', '')} in the {spec['in']}"
    return Field(spec["name"], place, _note(spec["schema"], spec.get("description", "")), bool(spec.get("required")))


def _fields(document: Spec, schema: Spec, *, inside: str = "", depth: int = 0) -> Iterator[Field]:
    """Yield a schema's properties, those of objects inside it after their own line."""
    schema = _resolved(document, schema)
    for name, each in schema.get("properties", {}).items():
        spec = _resolved(document, each)
        below = _resolved(document, spec.get("items", {})) if spec.get("type") == "array" else spec
        dotted = f"{inside}{name}" + ("[]" if spec.get("type") == "array" else "")
        yield Field(dotted, _type(spec, below), _note(spec, spec.get("description", "")), name in schema.get("required", ()))
        if depth < DEEPEST and below.get("properties"):
            yield from _fields(document, below, inside=f"{dotted}.", depth=depth + 1)


def _resolved(document: Spec, schema: Spec) -> Spec:
    """Follow a reference; words beside it win over the referred shape's own."""
    target = schema.get("$ref") or next((each["$ref"] for each in schema.get("allOf", ()) if "$ref" in each), None)
    if target is None:
        return schema
    found = document["components"]["schemas"][target.rpartition("/")[2]]
    return {**found, "description": schema.get("description", "")}


def _type(spec: Spec, below: Spec) -> str:
    kinds = spec.get("type", "any")
    words = [kinds] if isinstance(kinds, str) else list(kinds)
    shown = [f"list of {below.get('type', 'any')}" if word == "array" else word for word in words]
    told = [spec["format"] if word == "string" and spec.get("format") in {"uuid", "date-time"} else word for word in shown]
    return " or ".join(told)


def _note(schema: Spec, description: str) -> str:
    choices = [str(each) for each in schema.get("enum", ()) if each is not None]
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to"), ("default", "default")) if key in schema]
    told = [description, "One of " + ", ".join(choices) + "." if choices else "", ", ".join(bounds)]
    return marked(" ".join(filter(None, told)))


def _schema(spec: Spec) -> Spec:
    content = spec.get("content", {})
    return next((each.get("schema", {}) for each in content.values()), {})


def _told(status: str, answer: Spec) -> str:
    """Return what an answer means: its own words, or the status's."""
    return marked(answer.get("description", "")) or HTTPStatus(int(status)).phrase


def _is_problem(answer: Spec) -> bool:
    return "application/problem+json" in answer.get("content", {})


def _example(operation: str, method: str, path: str, host: str) -> str:
    lines = [f"curl {'-N ' if path.endswith(('/events', '/chat')) else ''}{'' if method == 'GET' else f'-X {method} '}{host}{path}"]
    lines.append('  -H "Authorization: Bearer $KEY"')
    if operation in EXAMPLES:
        lines.append('  -H "Content-Type: application/json"')
        lines.append(f"  -d '{orjson.dumps(EXAMPLES[operation]).decode()}'")
    return " \\\n".join(lines)
