"""How Gearbox logs: one logfmt line an event, ids bound by whoever has them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _hidden(*modules: str) -> Iterator[None]:
    """Let imports that are optional to others fail meanwhile, unless they were made before."""
    hidden = [module for module in modules if module not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is the import system's own word for "not there"
    try:
        yield
    finally:
        for module in hidden:
            del sys.modules[module]


# structlog loads these if it finds them, for tracebacks and loggers that we do not use: 10 MB in each of ten processes.
with _hidden("rich", "twisted"):
    import structlog


def configure() -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        cache_logger_on_first_use=True,
    )
