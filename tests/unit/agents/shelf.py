"""The real catalog as the skills would return it, for agents that are tried without a database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import agents.mangaassist

Row = dict[str, Any]
ROWS: list[Row] = [
    json.loads(line) for line in (Path(agents.mangaassist.__file__).parent / "catalog.jsonl").read_text(encoding="utf-8").splitlines()
]
BY_SLUG = {row["slug"]: row for row in ROWS}


def skills_over(*rows: Row) -> dict[str, Any]:
    """Return stand-ins for search_catalog and read_title that know these rows alone."""

    async def search_catalog(_run: Any, **_wanted: Any) -> Any:
        return list(rows)

    async def read_title(_run: Any, *, slug: str) -> Any:
        return next(row for row in rows if row["slug"] == slug)

    return {"search_catalog": search_catalog, "read_title": read_title}
