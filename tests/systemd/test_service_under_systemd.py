"""The service under a real systemd, from a bare host to its removal. The tests build on each other, in order."""

from __future__ import annotations

import json
import re

import pytest
from test_reference import untold

from systemd.conftest import Lab

pytestmark = pytest.mark.systemd

ROOT = "/srv/agents"
OTHER = "/home/agent/work space 100%"
CONFIG = "/etc/agentic-watch/config.toml"
LIMITS = "/etc/systemd/system/agentic-watch.service.d/50-test.conf"


@pytest.fixture
def lab(booted: Lab) -> Lab:
    """The host, with the program in it but nothing of the service yet, on the first call."""
    if booted.call("test", "-e", "/opt/agentic-watch").returncode:
        booted.sh(
            "groupadd agents; useradd -m -g agents agent; groupadd strangers; install -d -g agents -m 2775 " + ROOT
        )
        booted.sh("/usr/bin/python3 -m venv /opt/agentic-watch")
        booted.sh("/opt/agentic-watch/bin/pip install -q --no-index --find-links /lab agentic-watch")
        booted.sh("ln -s /opt/agentic-watch/bin/agentic-watch /usr/local/bin/")
        booted.say("installed by pip into /opt/agentic-watch")
    return booted


def pid(lab: Lab) -> int:
    """The daemon's process."""
    return int(lab.get("MainPID"))


def rows(lab: Lab) -> list[str]:
    """The workspaces of all rows of the history, read by the operator's own command."""
    return sorted(row["workspace"] for row in map(json.loads, lab.sh("agentic-watch history --json").splitlines()))


def many(lab: Lab) -> int:
    """How many of the workspaces of the long start have a row, a marker and a journal of one line."""
    program = (
        "import glob, sqlite3; db = sqlite3.connect('file:/var/lib/agentic-watch/history.db?mode=ro', uri=True); "
        "rows = {name for name, in db.execute('SELECT workspace FROM dispatch_history')}; "
        f"found = [p for p in glob.glob('{ROOT}/many/*/*/.meta') if open(p + '/journal.jsonl').read().count('\\n') == 1"
        f" and open(p + '/commit.json').read() and p[{len(ROOT) + 1}:-6] in rows]; print(len(found))"
    )
    return int(lab.sh(f'/usr/bin/python3 -c "{program}"'))


def settle(lab: Lab, *settings: str) -> None:
    """An operator's own drop-in."""
    lab.write(LIMITS, "[Service]\nRestartSec=100ms\n" + "".join(f"{setting}\n" for setting in settings))
    lab.sh("systemctl daemon-reload; systemctl restart agentic-watch.service")


def test_an_interpreter_out_of_reach_is_refused(lab: Lab) -> None:
    """Under /root the service would end with 203/EXEC: nothing is installed, and the line says what to do."""
    lab.sh(f"cp -r /opt/agentic-watch /root/venv; agentic-watch config init --root {ROOT}")
    result = lab.call("/root/venv/bin/python3", "-m", "agentic_watch", "service", "install")
    assert result.returncode == 1
    assert re.fullmatch(r"Error: /root/venv/\S+: .*ProtectHome=.*/opt/agentic-watch.*\n", result.stderr)
    assert lab.call("test", "-e", "/etc/systemd/system/agentic-watch.service").returncode
    lab.sh("rm -r /root/venv")


def test_install_leads_to_ready(lab: Lab) -> None:
    """One command: units, user, enabled, started, READY=1, a STATUS text; it warns of a root it cannot write to,
    and the two commands of the warning help. What root committed by hand before is given to the service's user."""
    lab.sh("agentic-watch --once")
    assert lab.sh("stat -c %U /var/lib/agentic-watch/history.db") == "root"
    said = lab.install()
    assert "gave /var/lib/agentic-watch/history.db to agentic-watch" in said
    assert lab.sh("stat -c %U /var/lib/agentic-watch/history.db") == "agentic-watch"
    assert "check: problem: roots: " in said
    assert lab.get("ActiveState") == "active"
    assert lab.get("UnitFileState") == "enabled"
    assert lab.get("StatusText") == f"{ROOT}: inotify, 1 watch; 0 committed, 0 pending, 0 failing"
    assert lab.get("User") == lab.sh(f"stat -c %U /proc/{pid(lab)}") == "agentic-watch"
    lab.say(f"installed and ready: {lab.get('StatusText')}")
    commands = re.findall(r"^  (.*)$", said, re.MULTILINE)
    assert commands == ["usermod -aG agents agentic-watch && systemctl restart agentic-watch"]
    lab.sh("; ".join(commands))
    again = lab.install()
    assert "warning" not in again
    assert "check: no problems" in again
    lab.sh("systemctl restart agentic-watch.service")
    assert lab.call("agentic-watch", "check").returncode == 0
    assert lab.call("agentic-watch", "check", "--quick").returncode == 0


def test_a_second_install_does_nothing(lab: Lab) -> None:
    """Nothing is written, nothing restarted."""
    before = pid(lab)
    said = lab.install()
    assert "wrote" not in said
    assert "starting" not in said
    assert pid(lab) == before


def test_a_dispatch_is_committed_without_privilege(lab: Lab) -> None:
    """Into a root of the agents' group, by a user that is only a member of it: three records, readable by all."""
    lab.finish(f"{ROOT}/org/repo/one")
    took = lab.until(lambda: lab.committed(f"{ROOT}/org/repo/one"), "committed")
    meta = f"{ROOT}/org/repo/one/.meta"
    assert lab.sh(f"stat -c '%U %G %a' {meta}/journal.jsonl {meta}/commit.json").splitlines() == [
        "agentic-watch agents 644",
        "agentic-watch agents 644",
    ]
    assert rows(lab) == ["org/repo/one"]
    assert lab.sh("stat -c '%U %a' /var/lib/agentic-watch") == "agentic-watch 750"
    lab.say(f"committed after {took:.1f} s, as {lab.get('User')} into {lab.sh(f'stat -c %U:%G {meta}')}")


def test_kill_loses_nothing_and_repeats_nothing(lab: Lab) -> None:
    """SIGKILL: systemd starts it again; what finished meanwhile is committed, what was is not committed twice."""
    settle(lab)
    before = pid(lab)
    lab.sh(f"kill -9 {before}")
    lab.finish(f"{ROOT}/org/repo/two")
    lab.until(lambda: pid(lab) not in (0, before), "restarted")
    took = lab.until(lambda: lab.committed(f"{ROOT}/org/repo/two"), "committed")
    lab.until(lambda: lab.get("ActiveState") == "active", "ready again")
    assert rows(lab) == ["org/repo/one", "org/repo/two"]
    assert set(
        lab.sh(f"wc -l <{ROOT}/org/repo/one/.meta/journal.jsonl; wc -l <{ROOT}/org/repo/two/.meta/journal.jsonl")
    ) == set("1\n")
    lab.say(f"kill -9: restarted, nothing lost or twice ({took:.1f} s)")


def test_a_hung_daemon_is_killed_by_the_watchdog(lab: Lab) -> None:
    """SIGSTOP: no WATCHDOG=1 any more, so systemd aborts it, and starts it again."""
    settle(lab, "WatchdogSec=5")
    before = pid(lab)
    lab.sh(f"kill -STOP {before}")
    took = lab.until(lambda: pid(lab) not in (0, before), "restarted by the watchdog")
    lab.until(lambda: lab.get("ActiveState") == "active", "ready again")
    assert any("Watchdog timeout" in str(line["MESSAGE"]) for line in lab.log())
    lab.say(f"SIGSTOP: watchdog (5 s here), restarted after {took:.1f} s")


def test_a_hung_watcher_is_no_watcher(lab: Lab) -> None:
    """The loop turns and every thread lives, but inotify's hangs: no WATCHDOG=1 either, an error, a new start."""
    settle(lab, "WatchdogSec=5")
    before = pid(lab)
    lab.sh(f"/usr/bin/python3 /lab/freeze.py {before} >/run/frozen 2>&1 &")
    lab.until(lambda: "frozen: " in lab.sh("cat /run/frozen || true"), "frozen")
    took = lab.until(lambda: pid(lab) not in (0, before), "restarted by the watchdog")
    lab.until(lambda: lab.get("ActiveState") == "active", "ready again")
    lab.until(lambda: lab.priorities("inotify has not answered for") == {"3"}, "named in the log")
    assert lab.priorities("Fatal Python error: Aborted")  # where each thread stood
    lab.say(f"a hung watcher thread: watchdog (5 s here), restarted after {took:.1f} s")


def test_a_good_configuration_is_reloaded(lab: Lab) -> None:
    """SIGHUP with more of the same: the process stays, the new value is in force."""
    settle(lab)
    before = pid(lab)
    lab.sh(f"printf '[commit]\\nsettle_seconds = 0.1\\n' >>{CONFIG}; systemctl reload agentic-watch.service")
    lab.until(lambda: lab.priorities("configuration reloaded") == {"6"}, "reloaded")
    lab.until(lambda: lab.get("ActiveState") == "active", "ready again")
    assert pid(lab) == before
    lab.say("reloaded a good configuration")


def test_a_bad_configuration_leaves_the_old_one(lab: Lab) -> None:
    """The reload fails, an error in the journal says why, and work goes on; a restart would end for good, with 78."""
    before = pid(lab)
    lab.sh(f"cp {CONFIG} /root/good; echo nonsense >>{CONFIG}")
    assert lab.call("systemctl", "reload", "agentic-watch.service").returncode
    lab.until(lambda: lab.priorities("not valid TOML") == {"3"}, "named in the journal")
    assert lab.get("ActiveState") == "active"
    lab.sh(f"kill -HUP {before}")  # by who does not ask first
    lab.until(lambda: lab.priorities("keeping the current configuration") == {"3"}, "refused")
    lab.finish(f"{ROOT}/org/repo/three")
    lab.until(lambda: lab.committed(f"{ROOT}/org/repo/three"), "committed")
    assert pid(lab) == before
    assert lab.call("systemctl", "restart", "agentic-watch.service").returncode
    assert lab.get("ActiveState") == "failed"
    assert lab.get("ExecMainStatus") == "78"
    assert lab.get("NRestarts") == "0"
    lab.sh(f"cp /root/good {CONFIG}; systemctl restart agentic-watch.service")
    lab.say("a bad configuration: reload kept the old one, a start ended once with 78")


def test_the_nightly_pass_runs_beside_the_daemon(lab: Lab) -> None:
    """The timer waits for the night; its pass finds all committed, and nothing is done twice."""
    listed = lab.sh("systemctl list-timers --no-pager")
    assert "agentic-watch-backfill.timer" in listed
    before = pid(lab)
    lab.sh("systemctl start agentic-watch-backfill.service")
    assert lab.get("Result", "agentic-watch-backfill.service") == "success"
    said = lab.journal("--unit agentic-watch-backfill.service --output cat --identifier agentic-watch")
    assert "3 workspaces: 0 committed, 3 skipped, 0 unfinished, 0 failed" in said
    assert pid(lab) == before
    lab.say(f"backfill beside the daemon: {said.splitlines()[-1]}")


def test_a_broken_workspace_does_not_fail_the_night(lab: Lab) -> None:
    """One status file that is none: the pass ends with 3, which the unit takes for success, and a warning names it."""
    broken = f"{ROOT}/org/repo/broken/.meta"
    lab.sh(f"install -d -o agent -g agents -m 2775 {ROOT}/org/repo/broken {broken}; echo '{{' >{broken}/status.json")
    lab.sh("systemctl start agentic-watch-backfill.service")
    assert lab.get("Result", "agentic-watch-backfill.service") == "success"
    assert lab.get("ExecMainStatus", "agentic-watch-backfill.service") == "3"
    warned = lab.journal("--unit agentic-watch-backfill.service --output cat -p warning")
    assert f"failed: {ROOT}/org/repo/broken: " in warned
    lab.sh(f"rm -r {ROOT}/org/repo/broken")
    lab.say("one broken workspace: the nightly pass succeeds, and names it")


def test_a_history_of_roots_is_found_and_mended(lab: Lab) -> None:
    """Somebody restored it as root: `check` names the file and the command, `check --repair` gives it back."""
    lab.sh("chown root:root /var/lib/agentic-watch/history.db*")
    result = lab.call("agentic-watch", "check", "--quick")
    assert result.returncode == 1
    assert "chown agentic-watch:agentic-watch /var/lib/agentic-watch/history.db" in result.stdout
    assert lab.call("agentic-watch", "check", "--repair").returncode == 0
    lab.finish(f"{ROOT}/org/repo/mended")
    lab.until(lambda: "org/repo/mended" in rows(lab), "a row again")
    lab.say("a history that became root's: found, mended")


def test_check_judges_as_whom_systemd_names(lab: Lab) -> None:
    """An operator's own drop-in has another user: `check` says what that one cannot write, whatever root may."""
    lab.write(LIMITS, "[Service]\nUser=agent\nGroup=strangers\n")
    lab.sh("systemctl daemon-reload")
    code, problems = lab.check("--quick")
    assert code == 1
    assert any("history.db: agent cannot write it" in problem["error"] for problem in problems)
    said = lab.call("agentic-watch", "check").stdout
    assert re.search(r"^ok +users: agent: in agents, strangers$", said, re.MULTILINE), said
    settle(lab)
    assert lab.check("--quick") == (0, [])


def test_a_root_that_comes_later_is_worked_in(lab: Lab) -> None:
    """It was not there when the service started: once it is, dispatches in it are committed, without an operator."""
    lab.sh(f"cp {CONFIG} /root/good; printf '[[roots]]\\npath = \"/srv/later\"\\n' >>{CONFIG}")
    said = lab.install()
    assert "/srv/later: does not exist yet" in said
    lab.sh("install -d -o agent -g agents -m 2775 /srv/later")
    lab.finish("/srv/later/org/repo/five")
    lab.until(lambda: lab.committed("/srv/later/org/repo/five"), "committed")
    lab.until(lambda: lab.get("ActiveState") == "active", "ready")
    lab.sh(f"cp /root/good {CONFIG}")
    lab.install()
    lab.say("a root that came later: worked in")


def test_an_upgrade_keeps_the_account(lab: Lab) -> None:
    """--run-as is said once; the documented upgrade keeps it, and what lies in the state directory is that user's."""
    lab.sh("agentic-watch service install --run-as agent")
    assert "runs as agent, as chosen before" in lab.install()
    assert lab.get("User") == lab.sh(f"stat -c %U /proc/{pid(lab)}") == "agent"
    lab.finish(f"{ROOT}/org/repo/as-agent")
    lab.until(lambda: "org/repo/as-agent" in rows(lab), "a row")
    assert lab.call("agentic-watch", "check").returncode == 0
    lab.sh("agentic-watch service install --run-as agentic-watch")
    assert lab.get("User") == "agentic-watch"
    lab.finish(f"{ROOT}/org/repo/as-before")
    lab.until(lambda: "org/repo/as-before" in rows(lab), "a row")
    lab.say("run as another user: kept by an upgrade, undone by the flag")


def test_changed_roots_change_the_drop_in(lab: Lab) -> None:
    """A root in a home, with spaces and a percent sign in its name: written into the drop-in, bound in, worked in."""
    lab.sh(f"install -d -o agent -g agents -m 2775 '{OTHER}'; chmod 711 /home/agent")
    lab.sh(f"printf '[[roots]]\\npath = \"%s\"\\n' '{OTHER}' >>{CONFIG}")
    lab.install()
    drop_in = lab.sh("cat /etc/systemd/system/agentic-watch.service.d/10-host.conf")
    assert 'BindPaths="-/home/agent/work space 100%%"' in drop_in
    lab.finish(f"{OTHER}/org/repo/four")
    lab.until(lambda: lab.committed(f"{OTHER}/org/repo/four"), "committed")
    inside = f"nsenter --target {pid(lab)} --mount"
    assert lab.sh(f"{inside} ls /home; {inside} ls /home/agent").splitlines() == ["agent", "work space 100%"]
    assert lab.call(*inside.split(), "touch", "/usr/x").returncode
    lab.sh(f"cp /bin/true '{OTHER}/org/true'; chmod 755 '{OTHER}/org/true'")
    assert lab.call(*inside.split(), f"{OTHER}/org/true").returncode == 126
    lab.say("a root in a home: bound in, writable, nothing in it can be executed")


def test_a_full_disk_does_not_end_the_daemon(lab: Lab) -> None:
    """No room for history, instance file or cookie: journals and markers go on, the watchdog stays content,
    and the rows come when there is room again."""
    lab.sh("systemctl stop agentic-watch.service; cp -a /var/lib/agentic-watch /root/state")
    lab.sh(
        "mount -t tmpfs -o size=3m,mode=750,uid=$(id -u agentic-watch),gid=$(id -g agentic-watch) tmpfs "
        "/var/lib/agentic-watch; cp -a /root/state/. /var/lib/agentic-watch/"
    )
    settle(lab, "WatchdogSec=5")
    before = pid(lab)
    lab.sh("head -c 3M /dev/zero >/var/lib/agentic-watch/filler || true")
    lab.finish(f"{ROOT}/org/repo/five")
    lab.until(lambda: lab.committed(f"{ROOT}/org/repo/five"), "committed without a history")
    lab.until(lambda: lab.priorities("rows will be added once the history is available") == {"3"}, "said so")
    began = lab.sh("systemctl show -P WatchdogTimestampMonotonic agentic-watch.service")
    lab.until(lambda: int(lab.get("WatchdogTimestampMonotonic")) > int(began) + 10_000_000, "watchdog content for 10 s")
    lab.sh("rm /var/lib/agentic-watch/filler")
    lab.finish(f"{ROOT}/org/repo/six")
    lab.until(lambda: {"org/repo/five", "org/repo/six"} <= set(rows(lab)), "rows added")
    assert pid(lab) == before
    lab.sh(
        "systemctl stop agentic-watch.service; cp -a /var/lib/agentic-watch/. /root/state/; "
        "umount /var/lib/agentic-watch; cp -a /root/state/. /var/lib/agentic-watch/"
    )
    settle(lab)
    lab.say("a full disk: went on without rows, never killed, rows came later")


def test_a_long_start_is_no_failure(lab: Lab) -> None:
    """6,000 workspaces wait while the start may take 2 s: EXTEND_TIMEOUT_USEC= holds systemd off until all are done."""
    lab.sh("systemctl stop agentic-watch.service")
    lab.sh(f"""setpriv --reuid agent --regid agents --init-groups /usr/bin/python3 -c '
import os
os.umask(2)
for number in range(6000):
    meta = "{ROOT}/many/%02d/%04d/.meta" % (number % 50, number)
    os.makedirs(meta)
    with open(meta + "/status.json", "w") as file:
        file.write("{{\\"status\\": \\"failed\\", \\"updated_at\\": \\"2026-04-15T00:00:00Z\\"}}")
'""")
    settle(lab, "TimeoutStartSec=2")
    assert lab.get("NRestarts") == "0"
    assert many(lab) == 6000
    spent = int(lab.get("ActiveEnterTimestampMonotonic")) - int(lab.get("InactiveExitTimestampMonotonic"))
    settle(lab)
    lab.say(f"6,000 waiting at the start: ready after {spent / 1e6:.1f} s with TimeoutStartSec=2")


def test_a_user_has_a_service_of_its_own(lab: Lab) -> None:
    """--user: the user's manager runs it, its history is where the user's own commands look."""
    lab.sh("systemctl start user@$(id -u agent).service; install -d -o agent /home/agent/own")
    be = "setpriv --reuid agent --regid agents --init-groups "
    be += "env HOME=/home/agent XDG_RUNTIME_DIR=/run/user/$(id -u agent)"
    refused = lab.call("bash", "-c", f"{be} agentic-watch --config {CONFIG} service install --user")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("Error: /var/lib/agentic-watch/history.db: this user cannot write there")
    lab.sh(
        f"{be} agentic-watch --config /home/agent/.config/agentic-watch/config.toml config init --root /home/agent/own"
    )
    lab.sh(f"{be} agentic-watch service install --user")
    assert lab.sh(f"{be} systemctl --user is-active agentic-watch.service") == "active"
    lab.finish("/home/agent/own/org/repo/mine")
    lab.until(lambda: lab.committed("/home/agent/own/org/repo/mine"), "committed")
    shown = json.loads(lab.sh(f"{be} agentic-watch service show --user --json"))
    assert untold("agentic-watch service show --json", shown) == set(), "printed, and not in the reference"
    assert {file["state"] for file in shown["files"]} == {"current"}
    assert shown["service"]["ActiveState"] == shown["timer"]["ActiveState"] == "active"
    assert "org/repo/mine" in lab.sh(f"{be} agentic-watch history --json")
    lab.sh(f"{be} agentic-watch service uninstall --user; systemctl stop user@$(id -u agent).service")
    assert lab.call("test", "-e", "/home/agent/.config/systemd/user/agentic-watch.service").returncode
    lab.say("a user's own service: installed, committed, removed")


def test_a_stop_is_clean(lab: Lab) -> None:
    """SIGTERM while dispatches come: the group in hand is finished, the exit status is 0."""
    for number in range(5):
        lab.finish(f"{ROOT}/late/repo/{number}")
    lab.sh("systemctl stop agentic-watch.service")
    assert lab.get("ActiveState") == "inactive"
    assert lab.get("Result") == "success"
    assert lab.get("ExecMainStatus") == "0"
    assert lab.sh(f"find {ROOT} -name '.commit*' -o -name '*.tmp'") == ""
    lab.sh("systemctl start agentic-watch.service")
    lab.until(lambda: all(lab.committed(f"{ROOT}/late/repo/{number}") for number in range(5)), "committed")
    lab.say("stopped cleanly and started again")


def test_lines_have_their_priorities(lab: Lab) -> None:
    """`journalctl -p warning` shows what an operator must see, and nothing else."""
    assert lab.priorities("ready: ") == {"6"}
    assert lab.priorities("committed (completed") == {"6"}
    assert lab.priorities("not valid TOML") == {"3"}  # a start that ended with 78
    assert {line["SYSLOG_IDENTIFIER"] for line in lab.log() if "UNIT" not in line} == {"agentic-watch"}


def test_a_line_is_found_by_its_workspace(lab: Lab) -> None:
    """`journalctl WORKSPACE=…` finds a commit, with its root, status, run and time as fields of their own."""
    committed = [line for line in lab.log() if "committed (completed" in str(line["MESSAGE"])]
    name = committed[0]["WORKSPACE"]
    found = json.loads(lab.journal(f"--output json WORKSPACE={name}").splitlines()[0])
    assert found["MESSAGE"] == f"{name}: committed (completed, run {found['RUN']})"
    assert (found["ROOT"], found["STATUS"]) == (ROOT, "completed")
    assert found["COMMITTED_AT"].endswith("Z")


def test_uninstall_keeps_the_history(lab: Lab) -> None:
    """Units, timer and user file are gone, the history is not; a second time it does nothing."""
    before = rows(lab)
    lab.sh(f"rm {LIMITS}; agentic-watch service uninstall")
    assert lab.sh("ls /etc/systemd/system | grep agentic || true") == ""
    assert lab.get("LoadState") == "not-found"
    assert rows(lab) == before
    assert "removed" not in lab.sh("agentic-watch service uninstall 2>&1")
    lab.say("uninstalled; the history is still there")
