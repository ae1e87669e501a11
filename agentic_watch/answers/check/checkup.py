"""All checks, in their order."""

from __future__ import annotations

from collections.abc import Sequence

from agentic_watch.answers.check.clock_check import clock
from agentic_watch.answers.check.configuration_check import configuration, metrics_file
from agentic_watch.answers.check.daemon_check import daemon
from agentic_watch.answers.check.finding import Check
from agentic_watch.answers.check.history_check import history
from agentic_watch.answers.check.limits_check import limits
from agentic_watch.answers.check.ownership_check import ownership
from agentic_watch.answers.check.records_check import records
from agentic_watch.answers.check.roots_check import roots_writable
from agentic_watch.answers.check.roots_there import roots_there
from agentic_watch.answers.check.space_check import space
from agentic_watch.answers.check.units_check import unit_files, units_in_force, users
from agentic_watch.answers.check.waiting_check import waiting

ALL: Sequence[Check] = (
    *(configuration, metrics_file, unit_files, units_in_force, users, ownership, roots_there, roots_writable, limits),
    *(space, clock, daemon, history, waiting, records),
)
