"""One client process: takes acts as lines of JSON and answers each with one; `python -m … client MODULE` names whose acts.

The module has ACTS, functions by name. Only answers go to standard output; what else is written there goes where errors go.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module


def main(module: str) -> None:
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        acts = import_module(module).ACTS
        print(json.dumps("ready"), file=answers, flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            print(json.dumps(acts[asked.pop("act")](**asked)), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
