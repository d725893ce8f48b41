"""The event loop of a web process: uvloop's where it can be had, under Twisted's reactor."""

from __future__ import annotations

import asyncio
import importlib.util
import sys

from twisted.internet import asyncioreactor


def install() -> None:
    """Put Twisted's reactor on a new loop, unless one is there already; daphne keeps a reactor on asyncio that it finds."""
    if "twisted.internet.reactor" not in sys.modules:
        asyncioreactor.install(new_loop())


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop of uvloop's, which costs a tenth less; one of asyncio's where uvloop is not installed."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415  (what is not there cannot be imported above)

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
