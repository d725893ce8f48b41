"""One living process of a program: started on the leash in a session of its own, read line by line, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from config.supervisor.console import Console
from config.supervisor.leashed import leashed
from config.supervisor.leftovers import MARK
from config.supervisor.program import Program

LONGEST_LINE = 16_384
READ_SIZE = 65_536
LAST_WORDS_S = 1.0


@dataclass(frozen=True, slots=True)
class Output:
    """The reading end of a pipe of our own: asyncio's would keep a process "running" while a child of it holds it."""

    stream: asyncio.StreamReader
    transport: asyncio.ReadTransport

    @classmethod
    async def open(cls) -> tuple[Output, int]:
        """Return the output and the descriptor to write to, which the caller closes."""
        reading, writing = os.pipe()
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", buffering=0)
        )
        return cls(stream, transport), writing

    def close(self) -> None:
        self.transport.close()


class Running:
    """A process and what reads its output; its pid is also its group's."""

    def __init__(self, program: Program, process: asyncio.subprocess.Process, output: Output, console: Console) -> None:
        self.program = program
        self.pid = process.pid
        self._process = process
        self._output = output
        self._console = console
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, program: Program, *, home: Path, console: Console) -> Running:
        """Start it; the kernel kills it when the calling thread ends. Call from a thread that lives on."""
        output, writing = await Output.open()
        try:
            process = await asyncio.create_subprocess_exec(
                *leashed(program.argv, death_signal=signal.SIGKILL, cwd=str(program.cwd), nice=program.niceness),
                env={**program.env, MARK: str(home)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
            )
        finally:
            os.close(writing)
        return cls(program, process, output, console)

    async def ended(self) -> int:
        """Wait for its end and return its exit code, negative for a signal."""
        return await self._process.wait()

    async def stop(self, rush: asyncio.Event) -> None:
        """Ask it to stop; after its grace, or at once in a rush, nothing is asked any more."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        hurry = asyncio.create_task(rush.wait())
        end = asyncio.create_task(self.ended())
        await asyncio.wait({hurry, end}, timeout=self.program.grace.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        self.kill()
        await end

    def kill(self) -> None:
        """Kill the whole group, also what its leader left behind."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def close(self) -> None:
        """Kill what is left of the group and read its last words."""
        self.kill()
        await asyncio.wait({self._reading}, timeout=LAST_WORDS_S)
        self._reading.cancel()
        self._output.close()

    async def _read(self) -> None:
        rest = b""
        while piece := await self._output.stream.read(READ_SIZE):
            *lines, rest = (rest + piece).split(b"\n")
            for line in (*lines, *_overlong(rest)):
                self._show(line)
            rest = rest if len(rest) <= LONGEST_LINE else b""
        if rest:
            self._show(rest)

    def _show(self, line: bytes) -> None:
        self._console.line(self.program, line.decode(errors="replace").rstrip("\r"))


def _overlong(rest: bytes) -> Iterator[bytes]:
    """A program that never ends its line is shown in pieces."""
    if len(rest) > LONGEST_LINE:
        yield rest
