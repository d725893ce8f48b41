"""Keeps programs running until it is told to stop, then leaves no process behind."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from config.supervisor.console import Console
from config.supervisor.ending import AT_ONCE
from config.supervisor.leftovers import end_leftovers
from config.supervisor.program import Program, pause_before_restart
from config.supervisor.roster import Roster, forget
from config.supervisor.running import Running

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """Runs programs in the main thread's event loop; a second stop signal kills without grace."""

    def __init__(self, programs: Sequence[Program], *, home: Path, console: Console, stagger: timedelta = timedelta()) -> None:
        self._programs = programs
        self._home = home
        self._console = console
        self._stagger = stagger
        self._roster = Roster.ours()
        self._stopping = asyncio.Event()
        self._rush = asyncio.Event()

    async def run(self) -> None:
        """Return when every program is gone after `stop` or a stop signal. A program that dies is restarted."""
        loop = asyncio.get_running_loop()
        for signum in STOP_SIGNALS:
            loop.add_signal_handler(signum, self.stop)
        try:
            await self._keep_all()
        finally:
            for signum in STOP_SIGNALS:
                loop.remove_signal_handler(signum)
            end_leftovers(self._home, by=AT_ONCE)
            forget(self._home)

    def stop(self) -> None:
        """Ask everything to stop; asked again, stop at once."""
        if self._stopping.is_set():
            self._rush.set()
        else:
            self._console.say("stopping (again: at once)")
        self._stopping.set()

    async def _keep_all(self) -> None:
        self._roster.write(self._home)
        async with asyncio.TaskGroup() as group:
            for place, program in enumerate(self._programs):
                group.create_task(self._keep(program, delay=place * self._stagger))

    async def _keep(self, program: Program, *, delay: timedelta) -> None:
        pause: timedelta | None = None
        await self._wait(delay)
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._run_once(program)
            if self._stopping.is_set():
                return
            pause = pause_before_restart(pause, ran=timedelta(seconds=time.monotonic() - began))
            self._console.say(f"{program.name} ended with code {code}; again in {pause.total_seconds():.1f} s")
            await self._wait(pause)

    async def _run_once(self, program: Program) -> int:
        running = await Running.start(program, home=self._home, console=self._console)
        try:
            self._roster = self._roster.with_started(program.name, running.pid)
            self._roster.write(self._home)
            return await self._until_ended(running)
        finally:
            await running.close()

    async def _until_ended(self, running: Running) -> int:
        ended = asyncio.create_task(running.ended())
        told = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if not ended.done():
            await running.stop(self._rush)
        return await ended

    async def _wait(self, pause: timedelta) -> None:
        """Pause, but not past the order to stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), timeout=pause.total_seconds())
