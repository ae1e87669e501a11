"""What it costs to take secrets out of a commit, and out of 8 MiB: `python -m benchmarks.redaction`.

CPU time, the best of many runs, printed as JSON: microseconds for a usual commit (its status and its report), and
megabytes a second of a report of source text and of one that is full of what begins like a secret.
"""

from __future__ import annotations

import json
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentic_watch.workspace import status
from agentic_watch.workspace.redactor import BUILT_IN
from benchmarks import trees

_SIZE = 8 << 20
_HOSTILE = "ghp_ sk-ant- https://a:b eyJ0. AKIA Authorization: Bearer -----BEGIN RSA PRIVATE KEY-----\n"


def best(act: Callable[[], object], calls: int, runs: int) -> float:
    """Seconds of CPU that one call takes, in the best of some runs."""
    found = []
    for _ in range(runs):
        started = time.process_time()
        for _ in range(calls):
            act()
        found.append((time.process_time() - started) / calls)
    return min(found)


def measure() -> dict[str, Any]:
    """All numbers."""
    number = next(number for number in range(1000) if trees.report(number))
    said = status.parse(json.dumps(trees.fields(number)).encode(), "status.json")
    content = trees.report(number)
    library = Path(sysconfig.get_paths()["stdlib"])
    source = "".join(path.read_text("utf-8", "replace") for path in sorted(library.glob("[a-l]*.py")))
    texts = {"source": source, "hostile": _HOSTILE}
    return {
        "status_us": round(1e6 * best(lambda: status.redacted(said, BUILT_IN), 200, 30), 1),
        "report_us": round(1e6 * best(lambda: BUILT_IN.value(content), 200, 30), 1),
        "report_bytes": len(json.dumps(content)),
        **{
            f"{name}_mb_per_s": round(_SIZE / 1e6 / best(lambda text=text: BUILT_IN.text(text), 1, 3), 1)  # type: ignore[misc]
            for name, text in ((name, (text * (_SIZE // len(text) + 1))[:_SIZE]) for name, text in texts.items())
        },
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
