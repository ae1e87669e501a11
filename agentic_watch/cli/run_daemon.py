"""The daemon, in the foreground."""

from __future__ import annotations

import logging
import os

from agentic_watch.cli import logs
from agentic_watch.cli.exit_status import EXIT_FAILED, Held, Misconfigured, Refused
from agentic_watch.cli.extras import missing_extra
from agentic_watch.cli.global_options import State
from agentic_watch.config import Config
from agentic_watch.daemon import instance
from agentic_watch.daemon.health import Health
from agentic_watch.daemon.loop import Daemon, StartAnew
from agentic_watch.daemon.metrics import Metrics
from agentic_watch.daemon.notify import Notifier

log = logging.getLogger("agentic_watch.daemon")


def run_daemon(state: State) -> int:
    """Watch and commit until SIGTERM or SIGINT; gives the exit status."""
    config = state.committing()
    logs.set_up(config, state.verbosity, never_block=True)

    def reload() -> Config:
        fresh = state.reload_committing()
        logs.set_level(fresh, state.verbosity)
        return fresh

    try:
        held = instance.Instance.acquire(config.history)
    except instance.Held as error:
        raise Held(str(error)) from error
    except OSError as error:
        raise Refused(f"{config.history}: {error.strerror}; make its directory writable, or name another") from error
    metrics = Metrics(config)
    ended_well = False
    try:
        _open_metrics(metrics)
        Daemon(config, reload, Health(Notifier(os.environ), held), metrics).run()
        ended_well = True
    except instance.Held as error:
        raise Held(str(error)) from error
    except StartAnew as error:
        log.critical("%s; exiting so that systemd restarts the daemon", error)
        return EXIT_FAILED
    finally:
        metrics.close(clean=ended_well)
        held.release()
    return 0


def _open_metrics(metrics: Metrics) -> None:
    try:
        metrics.open()
    except ModuleNotFoundError as error:
        raise Misconfigured(f"[metrics]: {missing_extra(error.name, 'metrics')}") from error
    except OSError as error:
        raise Misconfigured(f"metrics.listen: {error.strerror}; choose another port") from error
