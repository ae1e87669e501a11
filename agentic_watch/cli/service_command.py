"""`agentic-watch service`: installs the systemd service for this host."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict

import click

from agentic_watch.answers.answer_shape import SCHEMA
from agentic_watch.answers.check.check_and_repair import ALL
from agentic_watch.answers.check.check_result import checked, is_well, subject
from agentic_watch.cli import messages
from agentic_watch.cli.check_command import say_findings
from agentic_watch.cli.exit_status import Refused
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, print_json
from agentic_watch.fleet import host_identity
from agentic_watch.fleet.host_identity import NoHostId
from agentic_watch.history.history_file import refuse_foreign
from agentic_watch.service import install_plan, service_user, units
from agentic_watch.service import systemd as systemd
from agentic_watch.service.install_plan import Deployment
from agentic_watch.service.service_user import Account
from agentic_watch.service.systemd import Manager, ManagerError, NoSystemd

_RUN_AS = click.option(
    "--run-as", metavar="USER", help=f"User of the system service (default: as installed, else {units.USER})."
)
_USER = click.option("--user", "for_user", is_flag=True, help="The calling user's own service, not the system's.")


@click.group("service")
def command() -> None:
    """Install, remove or show the systemd service."""


@command.command()
@_USER
@_RUN_AS
@click.option("--dry-run", is_flag=True, help="Print what would be written; change nothing.")
@click.pass_obj
def install(state: State, for_user: bool, run_as: str | None, dry_run: bool) -> None:
    """Write the units for this host and its configuration, enable and start them, and wait until they are ready.

    Run it again after changing the roots, the user or the interpreter; it changes only what is out of date.

    \b
    Examples:
      agentic-watch service install
      agentic-watch service install --user
    """
    with _refusing():
        deployment = _plan(state, for_user, run_as)
        obstacle = install_plan.obstacle(deployment)
        if dry_run:
            _print(deployment, obstacle)
            return
        if obstacle is not None:
            raise Refused(obstacle)
        manager = _manager(for_user)
        changed = systemd.install(deployment.files, manager, _say)
        _mind_pusher(deployment, manager)
        _check_account(deployment)
        if deployment.host.account not in (None, (units.USER, units.USER)) and run_as is None:
            _say(f"runs as {deployment.host.account[0]}, as chosen before (--run-as {units.USER} undoes it)")
        systemd.start(deployment.files, manager, _say, changed=changed)
        if for_user and not service_user.lingers(os.getuid()):
            _say("it stops when you log out; to keep it running: loginctl enable-linger")
        _say(f"{units.SERVICE}: {manager.properties(units.SERVICE, 'StatusText')['StatusText'] or 'started'}")
        _quote_check(deployment)


@command.command()
@_USER
def uninstall(for_user: bool) -> None:
    """Stop the service and remove its units. The history, the configuration and the user stay.

    \b
    Examples:
      agentic-watch service uninstall
      agentic-watch service uninstall --user
    """
    with _refusing():
        account = None if for_user else (units.USER, units.USER)
        directory = install_plan.unit_directory(for_user)
        paths = [*units.push_paths(directory), *units.paths(account, directory)]
        systemd.uninstall(paths, _manager(for_user), _say)
        if not for_user:
            _say(f"kept: {units.STATE} (the history), /etc/agentic-watch (the configuration), the user {units.USER}")


@command.command()
@_USER
@_RUN_AS
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def show(state: State, for_user: bool, run_as: str | None, as_json: bool) -> None:
    """Show whether each unit is up to date for this host and its configuration, and the state of the service.

    \b
    Examples:
      agentic-watch service show
      agentic-watch service show --json
    """
    with _refusing():
        deployment = _plan(state, for_user, run_as)
        manager = Manager(for_user)
        manager.require()
        files = systemd.standings(deployment.files)
        names = ("ActiveState", "SubState", "UnitFileState", "MainPID", "StatusText", "NRestarts")
        service = manager.properties(units.SERVICE, *names)
        timer = manager.properties(units.TIMER, "ActiveState", "NextElapseUSecRealtime")
    if as_json:
        print_json({"schema": SCHEMA, "files": [asdict(file) for file in files], "service": service, "timer": timer})
        return
    for file in files:
        click.echo(f"{file.state:<8} {clean(file.path)}")
    click.echo(
        f"service  {service['ActiveState']} ({service['SubState']}), {service['UnitFileState'] or 'not installed'}"
    )
    if service["StatusText"]:
        click.echo(f"status   {clean(service['StatusText'])}")
    if timer["NextElapseUSecRealtime"]:
        click.echo(f"backfill {timer['NextElapseUSecRealtime']}")


def _quote_check(deployment: Deployment) -> None:
    """Print the problems that `agentic-watch check` finds now."""
    findings = list(checked(subject(deployment.config), ALL))
    say_findings(findings)
    if is_well(findings):
        _say("check: no problems")


def _plan(state: State, for_user: bool, run_as: str | None) -> Deployment:
    if for_user and run_as is not None:
        raise click.UsageError("--run-as and --user exclude each other: a user's service runs as that user")
    deployment = install_plan.plan(state.overrides, for_user=for_user, run_as=run_as)
    with contextlib.suppress(OSError):  # without permission the service reports it
        refuse_foreign(deployment.config.history)
    return deployment


def _print(deployment: Deployment, obstacle: str | None) -> None:
    for path, text in deployment.files.items():
        click.echo(f"# {clean(path)}\n{text}")
    if obstacle is not None:
        _say(f"warning: would be refused: {obstacle}")


def _manager(for_user: bool) -> Manager:
    manager = Manager(for_user)
    manager.require()
    if not for_user and os.geteuid() != 0:
        raise Refused("only root can install or remove the system's service; use sudo, or --user for your own")
    return manager


def _check_account(deployment: Deployment) -> None:
    if deployment.host.account is None:
        return
    account = Account.of(deployment.host.account[0])
    if (why := install_plan.unreadable(deployment, account)) is not None:
        raise Refused(why)
    history = deployment.config.history
    for path in service_user.give(history, service_user.foreign(history, account), account):
        _say(f"gave {path} to {account.name}")
    for doubt in install_plan.doubts(deployment, account):
        _say(f"warning: {doubt}")


def _mind_pusher(deployment: Deployment, manager: Manager) -> None:
    """Create the host id, which the pusher cannot write; remove the pusher's unit when there is nothing to push."""
    paths = units.push_paths(deployment.host.unit_directory)
    if paths[0] in deployment.files:
        host_identity.host_id(deployment.config.history)
    else:
        systemd.uninstall(paths, manager, _say)


def _say(line: str) -> None:
    messages.tell(messages.INFO, line)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except (NoSystemd, ManagerError, NoHostId, systemd.Masked, service_user.NoSuchAccount) as error:
        raise Refused(str(error)) from error
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error
