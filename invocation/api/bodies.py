"""Reading what a call brought: one JSON object, its fields known, each refusal naming the field."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import orjson
from django.http import HttpRequest
from rest_framework import serializers
from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.request import Request

from invocation.domain.errors import InputInvalid

S = TypeVar("S", bound="Shape")
KEY_LENGTH = 255


class Shape(serializers.Serializer[Any]):
    """The fields of a body or of a query; one that is not declared is refused by its name."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise serializers.ValidationError({"": f"One JSON object is wanted, not a {type(data).__name__}."})
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            raise serializers.ValidationError({unknown[0]: f"There is no such field; there are {', '.join(self.fields)}."})
        return super().to_internal_value(data)


def body(request: Request | HttpRequest, shape: type[Shape]) -> dict[str, Any]:
    """Return the call's fields. Raises ParseError, UnsupportedMediaType or InputInvalid, which names the field."""
    return check(shape, read(request))


def query(request: Request | HttpRequest, shape: type[Shape]) -> dict[str, Any]:
    """Return the query's fields; of one that came twice the last counts. Raises InputInvalid."""
    return check(shape, request.GET.dict())


def read(request: Request | HttpRequest) -> Any:
    """Return the body as JSON; an empty one is an empty object. Raises ParseError or UnsupportedMediaType."""
    raw = request.body
    if not raw:
        return {}
    media_type = str(request.content_type).partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType(media_type)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as broken:
        raise ParseError(f"The body is not JSON: {broken}.") from None
    if b"\\u0000" in raw:
        _refuse_nul(value, "")
    return value


def check(shape: type[Shape], value: Any) -> dict[str, Any]:
    """Return the fields of a value. Raises InputInvalid, naming the first that is wrong by its JSON pointer."""
    try:
        return dict(_shared(shape).run_validation(value))
    except serializers.ValidationError as refusal:
        pointer, sentence = _first(refusal.detail, "")
    raise InputInvalid(f"{pointer or '/'}: {sentence}", field=pointer or "/", found=_short(_at(value, pointer)))


@cache
def _shared(shape: type[S]) -> S:
    """Return one of each shape: to read a value changes nothing of it, and to make one copies every field."""
    return shape()


def idempotency_key(request: Request | HttpRequest) -> str | None:
    """Return the Idempotency-Key, quoted as the IETF draft has it or bare. Raises InputInvalid."""
    given = request.headers.get("Idempotency-Key")
    return None if given is None else unquoted_key(given)


def unquoted_key(given: str) -> str:
    """Return the key that an Idempotency-Key header holds. Raises InputInvalid."""
    key = given[1:-1] if len(given) > 1 and given[0] == given[-1] == '"' else given
    if not key or len(key) > KEY_LENGTH or not key.isprintable() or not key.isascii():
        raise InputInvalid(
            f"Idempotency-Key is 1 to {KEY_LENGTH} printable ASCII characters.", field="Idempotency-Key", found=_short(given)
        )
    return key


def _first(errors: Any, pointer: str) -> tuple[str, str]:
    """Return the pointer and the sentence of the first error of a serializer's tree."""
    if isinstance(errors, Mapping):
        key, below = next((key, below) for key, below in errors.items() if below)
        own = key in {"", "non_field_errors"}
        return _first(below, pointer if own else f"{pointer}/{key}")
    if isinstance(errors, list):
        index, below = next((index, below) for index, below in enumerate(errors) if below)
        return _first(below, pointer if isinstance(below, str) else f"{pointer}/{index}")
    return pointer, str(errors)


def _at(value: Any, pointer: str) -> Any:
    for part in filter(None, pointer.split("/")):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal():
            value = value[int(part)]
    return value


def _short(found: Any) -> Any:
    return found if len(repr(found)) <= 200 else repr(found)[:200] + "…"


def _refuse_nul(value: Any, pointer: str) -> None:
    """PostgreSQL keeps no U+0000, so it is refused here, where it can be named."""
    if isinstance(value, str) and "\0" in value:
        raise InputInvalid(f"{pointer or '/'}: a string must not hold U+0000.", field=pointer or "/")
    if isinstance(value, Mapping):
        for key, below in value.items():
            _refuse_nul(key, pointer)
            _refuse_nul(below, f"{pointer}/{key}")
    if isinstance(value, list):
        for index, below in enumerate(value):
            _refuse_nul(below, f"{pointer}/{index}")
