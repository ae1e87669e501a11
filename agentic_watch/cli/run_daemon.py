"""The daemon, in the foreground."""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import replace

from agentic_watch.answers.check.configuration_check import lacking
from agentic_watch.cli import logs
from agentic_watch.cli.exit_status import EXIT_FAILED, HistoryHeld, Refused
from agentic_watch.cli.global_options import State
from agentic_watch.config import Config, MetricsPlaces, Overrides
from agentic_watch.daemon import instance
from agentic_watch.daemon.health import Health
from agentic_watch.daemon.loop import Daemon, StartAnew
from agentic_watch.daemon.metrics import Metrics
from agentic_watch.daemon.notify import Notifier
from agentic_watch.daemon.retention import Retention
from agentic_watch.host.extras import how_to_add

log = logging.getLogger("agentic_watch.daemon")


def run_daemon(state: State) -> int:
    """Watch and commit until SIGTERM or SIGINT; gives the exit status."""
    config = state.committing()
    logs.set_up(config, state.verbosity, never_block=True)

    def reload() -> Config:
        fresh = state.reload_committing()
        logs.set_level(fresh, state.verbosity)
        _name_lacking(fresh)
        return fresh

    try:
        held = instance.Instance.acquire(config.history)
    except instance.HistoryInUse as error:
        raise HistoryHeld(str(error)) from error
    except OSError as error:
        raise Refused(f"{config.history}: {error.strerror}; make its directory writable, or name another") from error
    _name_lacking(config)
    metrics = _open_metrics(config)
    ended_well = False
    try:
        retention = Retention(_command(state.overrides), time.time())
        Daemon(config, reload, Health(Notifier(os.environ), held), metrics, retention).run()
        ended_well = True
    except instance.HistoryInUse as error:
        raise HistoryHeld(str(error)) from error
    except StartAnew as error:
        log.critical("%s; exiting so that systemd restarts the daemon", error)
        return EXIT_FAILED
    finally:
        metrics.close(clean=ended_well)
        held.release()
    return 0


def _command(overrides: Overrides) -> list[str]:
    """This program, over the same history and roots."""
    given = [("--config", overrides.config), ("--history", overrides.history)]
    given += [("--root", root) for root in overrides.roots]
    options = [text for name, value in given if value is not None for text in (name, value)]
    return [sys.executable, "-m", "agentic_watch", *options]


def _name_lacking(config: Config) -> None:
    """What the configuration asks for and this installation lacks is said, and stops nothing."""
    for text, extra in lacking(config):
        log.error("%s. %s", text, how_to_add(extra))


def _open_metrics(config: Config) -> Metrics:
    """The metrics, or as much of them as there can be: they are no part of recording, which goes on without."""
    metrics = Metrics(config)
    try:
        metrics.open()
    except ModuleNotFoundError:
        return Metrics(replace(config, metrics=MetricsPlaces()))
    except OSError as error:
        log.error("metrics.listen: %s: %s; choose another port. It goes on", config.metrics.listen, error.strerror)
        return Metrics(replace(config, metrics=config.metrics._replace(listen=None)))
    return metrics
