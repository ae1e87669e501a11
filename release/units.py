"""The units of the Debian package: units.py CONFIGURATION PROGRAM TREE writes them below TREE.

They are, to the byte, what `service install` wants for that configuration and the interpreter of PROGRAM: an
administrator's `service install` then writes to /etc only what another configuration wants otherwise, and `check` and
`service show` find the packaged files as they should be.
"""

from __future__ import annotations

import sys
from pathlib import Path

from agentic_watch.config import Overrides
from agentic_watch.config.load import parse
from agentic_watch.config.paths import ETC_FILE
from agentic_watch.service import units


def main() -> None:
    """Write each file where a package brings it."""
    configuration, program, tree = map(Path, sys.argv[1:])
    interpreter = program.read_text("utf-8").splitlines()[0].removeprefix("#!")
    config = parse(configuration.read_text("utf-8"), ETC_FILE, Overrides(), {"STATE_DIRECTORY": units.STATE})
    host = units.Host(
        command=(interpreter, "-P", "-m", "agentic_watch"),
        options=(f"--config={ETC_FILE}",),
        roots=tuple(root.path for root in config.roots),
        history=config.history,
        account=(units.USER, units.USER),
    )
    for path, text in units.render(host).items():
        file = tree / units.packaged_at(path).lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
