"""The few checks that make the probe for monitoring: at most 0.3 s, whatever the host holds."""

from __future__ import annotations

from collections.abc import Sequence

from agentic_watch.answers.check.daemon_check import alive
from agentic_watch.answers.check.finding import Check
from agentic_watch.answers.check.ownership_check import ownership
from agentic_watch.answers.check.roots_check import roots_open
from agentic_watch.answers.check.roots_there import roots_there
from agentic_watch.answers.check.waiting_check import waiting

QUICK: Sequence[Check] = (alive, ownership, roots_there, roots_open, waiting)
