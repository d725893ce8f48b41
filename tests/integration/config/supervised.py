"""Run as a program by the supervisor's tests: supervises the Python programs that its arguments describe.

Arguments: home, then JSON `{name: {"code": ..., "grace_s": ..., "niceness": ...}}`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import timedelta
from pathlib import Path

from config.supervisor.console import Console, Paint
from config.supervisor.program import Program
from config.supervisor.supervisor import Supervisor


def program(name: str, terms: dict[str, str]) -> Program:
    argv = (terms["path"],) if "path" in terms else (sys.executable, "-u", "-c", terms["code"])
    grace = timedelta(seconds=float(terms.get("grace_s", 10)))
    niceness = int(terms.get("niceness", 0))
    return Program(name=name, argv=argv, cwd=Path.cwd(), env=dict(os.environ), grace=grace, niceness=niceness)


async def main(home: Path, described: dict[str, dict[str, str]]) -> None:
    console = Console(sys.stdout, names=described, paint=Paint.suited(sys.stdout, os.environ))
    await Supervisor([program(*item) for item in described.items()], home=home, console=console).run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
