"""A process that takes what is due and sends it, and is killed by -9 before it settles."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import datetime
from typing import Any

import django


def die(tried: Any, *, now: datetime) -> None:
    if tried:
        os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    from invocation.services import deliveries, sending

    deliveries.settle = die
    sending.wake()
    await sending.sender().rest()


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    django.setup()
    asyncio.run(main())
