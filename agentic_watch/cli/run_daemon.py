"""The daemon, in the foreground."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable

from agentic_watch.cli import logs
from agentic_watch.cli.exit_status import EXIT_FAILED, HistoryHeld, Refused
from agentic_watch.cli.global_options import State
from agentic_watch.config import Config, MetricsPlaces, Overrides
from agentic_watch.daemon.health import Health
from agentic_watch.daemon.loop import Daemon, RestartNeeded
from agentic_watch.daemon.nightly_prune import NightlyPrune
from agentic_watch.daemon.single_instance import HistoryInUse, Instance
from agentic_watch.daemon.systemd_notify import Notifier
from agentic_watch.history.store import History
from agentic_watch.host.extras import how_to_add

log = logging.getLogger("agentic_watch.daemon")


def run_daemon(state: State) -> int:
    """Watch and commit until SIGTERM or SIGINT; returns the exit status."""
    config = state.committing()
    logs.set_up(config, state.verbosity, never_block=True)

    def reload() -> Config:
        fresh = state.reload_committing()
        logs.set_level(fresh, state.verbosity)
        _name_lacking(fresh)
        return fresh

    try:
        held = Instance.acquire(config.history)
    except HistoryInUse as error:
        raise HistoryHeld(str(error)) from error
    except OSError as error:
        raise Refused(f"{config.history}: {error.strerror}; make its directory writable, or choose another") from error
    _name_lacking(config)
    try:
        with contextlib.ExitStack() as ending:
            health = Health(Notifier(os.environ), held)
            tell = _metrics(config, health, ending)
            Daemon(config, reload, health, tell, NightlyPrune(_command(state.overrides), time.time())).run()
    except HistoryInUse as error:
        raise HistoryHeld(str(error)) from error
    except RestartNeeded as error:
        log.critical("%s; exiting so that systemd restarts the daemon", error)
        return EXIT_FAILED
    finally:
        held.release()
    return 0


def _command(overrides: Overrides) -> list[str]:
    """The command line of this program with the same history and roots."""
    given = [("--config", overrides.config), ("--history", overrides.history)]
    given += [("--root", root) for root in overrides.roots]
    options = [text for name, value in given if value is not None for text in (name, value)]
    return [sys.executable, "-m", "agentic_watch", *options]


def _name_lacking(config: Config) -> None:
    """Log features that are configured but not installed; they do not stop the daemon."""
    if not config.push and config.metrics == MetricsPlaces():
        return
    from agentic_watch.answers.check.configuration_check import lacking  # late: it imports fleet/

    for text, extra in lacking(config):
        log.error("%s. %s", text, how_to_add(extra))


def _metrics(config: Config, health: Health, ending: contextlib.ExitStack) -> Callable[[History], None]:
    """The function that exports metrics, as far as possible: errors never stop recording.

    Metrics are closed with `ending`.
    """
    if config.metrics == MetricsPlaces():
        return lambda _: None
    try:
        from agentic_watch.daemon.metrics import Metrics  # late: an extra, with a web server
    except ModuleNotFoundError:
        return lambda _: None
    metrics = ending.enter_context(Metrics(config, health))
    if (listen := config.metrics.listen) is not None:
        try:
            metrics.listen(listen)
        except OSError as error:
            log.error("metrics.listen: %s: %s; choose another port. Continuing without it", listen, error.strerror)
    return metrics.tell
