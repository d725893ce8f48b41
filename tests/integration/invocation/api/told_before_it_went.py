"""A Celery application whose broker fails once it has the message: a worker has taken the first of its turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from celery import Celery
from kombu.exceptions import OperationalError

from invocation.services import turns


class ToldBeforeItWent(Celery):  # type: ignore[misc]
    def send_task(self, *_: Any, args: Sequence[Any], **__: Any) -> Any:
        [ids] = args
        turns.claim([UUID(ids[0])], owner=uuid4())
        raise OperationalError("the answer was lost")


app = ToldBeforeItWent("told before it went", broker="memory://", set_as_current=False)
