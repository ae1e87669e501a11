"""What the daemon tells Prometheus: by a file, at an address, and on the command line."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_support import Service
from prometheus_client.parser import text_string_to_metric_families
from support import Host, environment, free_port, make, patched, run, wait_for

MONITORING = Path(__file__).parent.parent / "docs" / "monitoring"
WITHOUT_VALUE = {"agentic_watch_push_pending", "agentic_watch_push_oldest_seconds"}


def _values(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Each sample's value by its name and labels."""
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}


def _of(text: str, name: str, **labels: str) -> float | None:
    return _values(text).get((f"agentic_watch_{name}", tuple(sorted(labels.items()))))


@pytest.fixture
def service(host: Host) -> Iterator[Service]:
    """A daemon that writes a textfile and listens."""
    service = Service(host)
    service.configure()
    with service.config_file.open("a") as file:
        file.write(f'\n[metrics]\ntextfile = "{_textfile(host)}"\nlisten = "127.0.0.1:{free_port()}"\n')
    with service:
        yield service


def _textfile(host: Host) -> Path:
    return host.base / "agentic-watch.prom"


def _listen(service: Service) -> str:
    (line,) = (line for line in service.config_file.read_text().splitlines() if line.startswith("listen"))
    return line.split('"')[1]


def _scraped(service: Service) -> str:
    with urllib.request.urlopen(f"http://{_listen(service)}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def test_commits_and_failures_are_counted_everywhere_alike(service: Service, host: Host) -> None:
    """The file, the address and the command tell of the commit by status and of the failure by class."""
    done = make(host.root, "org/repo/done")
    broken = make(host.root, "org/repo/broken")
    (broken.meta / "status.json").write_text("{")
    service.wait_committed(done)
    file = _textfile(host)
    service.wait(lambda: _of(file.read_text(), "workspaces", state="failing") == 1)
    command = ["--config", str(service.config_file), "metrics"]
    service.wait(lambda: _of(run(command, host.base).stdout, "commit_failures_total", cause="malformed") is not None)
    for text in (file.read_text(), _scraped(service), run(command, host.base).stdout):
        assert _of(text, "commits_total", status="completed") == 1
        failures = _of(text, "commit_failures_total", cause="malformed")
        assert failures is not None
        assert failures >= 1
        assert _of(text, "commit_latency_seconds_count") == 1
        assert _of(text, "history_usable") == 1
        assert _of(text, "ready") == 1
        assert _of(text, "watches") == service.watches()


def test_the_size_and_the_oldest_dispatch_of_the_history_are_told(host: Host) -> None:
    """What a dispatch without a time says is no time."""
    make(host.root, "org/repo/1", updated_at="2026-04-14T11:17:08.5+02:00")
    make(host.root, "org/repo/2", updated_at="2026-04-15T11:17:08Z")
    make(host.root, "org/repo/3", updated_at="0001-01-01T00:00:00Z")
    with Service(host) as service:
        service.wait(lambda: service.state().committed == 3)
        told = run([*host.arguments(), "metrics"], host.base).stdout
    assert _of(told, "history_oldest_timestamp_seconds") == 1776158228.5
    size = _of(told, "history_bytes")
    assert size is not None
    assert size >= 4096


def test_every_metric_has_its_help_and_type_from_the_start(service: Service) -> None:
    """HELP and TYPE stand before a first commit too, and no sample has a time or a label that an agent chooses."""
    text = _scraped(service)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families.keys() >= WITHOUT_VALUE | {"agentic_watch_commits", "agentic_watch_commit_latency_seconds"}
    assert all(family.documentation and family.type != "unknown" for family in families.values())
    samples = [line.rpartition("}")[2].split() for line in text.splitlines() if not line.startswith("#")]
    assert all(len(words) <= 2 for words in samples)
    labels = {label for _, found in _values(text) for label, _ in found}
    assert labels <= {"version", "state", "status", "cause", "kind", "le", "target"}


def test_a_status_of_an_agents_own_makes_no_series(host: Host) -> None:
    """What only this configuration calls finished is counted as other: an agent cannot make up labels."""
    service = Service(host)
    service.configure()
    text = service.config_file.read_text().replace("[commit]", '[commit]\nfinished = ["completed", "evil{}"]')
    service.config_file.write_text(f'{text}\n[metrics]\ntextfile = "{_textfile(host)}"\n')
    with service:
        service.wait_committed(make(host.root, status="evil{}"))
        service.wait(lambda: _of(_textfile(host).read_text(), "commits_total", status="other") == 1)


def test_the_textfile_is_for_everybody_and_goes_with_a_clean_stop(service: Service, host: Host) -> None:
    """Mode 0644, and after SIGTERM neither the file nor a half one beside it is left."""
    file = _textfile(host)
    service.wait(file.exists)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert service.stop() == 0
    assert list(file.parent.glob("*.prom*")) == []


def test_what_a_target_lacks_is_told(host: Host) -> None:
    """A push target that nobody serves has all commits waiting, under the name that the operator gave it."""
    service = Service(host)
    service.configure()
    with service.config_file.open("a") as file:
        file.write('[[push]]\nname = "lead"\nkind = "http"\nurl = "http://127.0.0.1:9"\ntoken_file = "/dev/null"\n')
    with service:
        service.wait_committed(make(host.root))
        text = run(["--config", str(service.config_file), "metrics"], host.base).stdout
    assert _of(text, "push_pending", target="lead") == 1
    oldest = _of(text, "push_oldest_seconds", target="lead")
    assert oldest is not None
    assert oldest >= 0


def test_without_places_nothing_is_told(host: Host) -> None:
    """No file is written, and the command still prints what the daemon last said."""
    service = Service(host)
    with service:
        service.wait_committed(make(host.root))
        result = run([*host.arguments(), "metrics"], host.base)
        assert result.returncode == 0
        assert _of(result.stdout, "build_info", version=service.state().version) == 1
    assert list(host.base.rglob("*.prom")) == []


def test_without_a_daemon_the_command_says_so(host: Host) -> None:
    """One line, and exit status 1."""
    result = run([*host.arguments(), "metrics"], host.base)
    assert result.returncode == 1
    assert "no daemon has written its state" in result.stderr


@pytest.mark.parametrize("listen", ["9477", "127.0.0.1:0", "127.0.0.1:9464", "example.org:80", "127.0.0.1:70000"])
def test_an_impossible_address_is_named(host: Host, listen: str) -> None:
    """The key path, the value and an example; exit status 78."""
    service = Service(host)
    service.configure()
    with service.config_file.open("a") as file:
        file.write(f'\n[metrics]\nlisten = "{listen}"\n')
    result = run(["--config", str(service.config_file), "--once"], host.base)
    assert result.returncode == 78
    assert "metrics.listen" in result.stderr


def test_a_taken_address_stops_no_recording(host: Host) -> None:
    """One error line; the daemon commits, and the textfile is written all the same."""
    service = Service(host)
    service.configure()
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f'listen = "127.0.0.1:{taken.getsockname()[1]}"'
        with service.config_file.open("a") as file:
            file.write(f'\n[metrics]\ntextfile = "{_textfile(host)}"\n{listen}\n')
        with service:
            service.wait_committed(make(host.root))
            service.wait(_textfile(host).exists)
            assert len(service.lines(" ERROR ")) == len(service.lines("metrics.listen")) == 1


def test_without_its_extra_metrics_stop_no_recording(host: Host) -> None:
    """Nothing of prometheus_client is installed: one error line at the start and at a reload, a warning of `config
    check`, a problem of `check`; all is committed."""
    service = Service(host, environ=_without_prometheus(host))
    service.configure()
    with service.config_file.open("a") as file:
        file.write(f'\n[metrics]\ntextfile = "{_textfile(host)}"\n')
    with service:
        service.wait_committed(make(host.root))
        assert len(service.lines(" ERROR ")) == len(service.lines("prometheus_client, which is not installed")) == 1
        service.signal(signal.SIGHUP)
        service.wait_log("configuration reloaded")
        assert len(service.lines("prometheus_client, which is not installed")) == 2
        for command, code in ((("config", "check"), 0), (("check",), 1)):
            result = subprocess.run(
                [sys.executable, "-m", "agentic_watch", "--config", str(service.config_file), *command],
                env={**environment(host.base), **_without_prometheus(host)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == code
            assert "[metrics] needs prometheus_client" in result.stdout + result.stderr
    assert not _textfile(host).exists()


def _without_prometheus(host: Host) -> dict[str, str]:
    """An environment in which Python finds no module of that name."""
    code = (
        "import importlib.machinery as m, sys\n"
        "find = m.PathFinder.find_spec\n"
        "m.PathFinder.find_spec = classmethod(lambda cls, name, *more: "
        "None if name == 'prometheus_client' else find(name, *more))\n"
    )
    return patched(host.base, code)


def test_the_dashboard_for_grafana_asks_only_for_metrics_that_there_are(service: Service) -> None:
    """Classic JSON without an id, a fixed uid, and no name that the daemon does not tell."""
    document: dict[str, Any] = json.loads((MONITORING / "grafana.json").read_text())
    assert (document["id"], document["uid"]) == (None, "agentic-watch")
    told = _scraped(service)
    for panel in document["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            names = {word for word in _words(target["expr"]) if word.startswith("agentic_watch_")}
            assert names
            for name in names:
                base = name.removesuffix("_bucket")
                assert f"# TYPE {base} " in told, name


def _words(text: str) -> list[str]:
    return "".join(character if character.isalnum() or character == "_" else " " for character in text).split()


def test_connections_that_say_nothing_take_no_threads(service: Service) -> None:
    """However many there are; in a few seconds they are ended, and scrapes are served again."""
    host, _, port = _listen(service).rpartition(":")
    before = len(os.listdir(f"/proc/{service.pid}/task"))
    with contextlib.ExitStack() as silent:
        for _ in range(50):
            silent.enter_context(socket.create_connection((host, int(port)), timeout=10))
        wait_for(lambda: len(os.listdir(f"/proc/{service.pid}/task")) <= before + 8)
        wait_for(lambda: _answers(service))
    wait_for(lambda: len(os.listdir(f"/proc/{service.pid}/task")) <= before)


def _answers(service: Service) -> bool:
    try:
        return "agentic_watch_ready" in _scraped(service)
    except OSError:
        return False


@pytest.mark.monitoring
def test_each_alert_fires_when_it_must() -> None:
    """promtool takes the rules, and its test of them passes."""
    promtool = shutil.which("promtool")
    assert promtool, "install Debian's package prometheus"
    subprocess.run([promtool, "check", "rules", str(MONITORING / "alerts.yml")], check=True, capture_output=True)
    tested = subprocess.run(
        [promtool, "test", "rules", "alerts.test.yml"], cwd=MONITORING, check=False, capture_output=True, text=True
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    checked = subprocess.run([promtool, "check", "metrics"], input=b"", check=False, capture_output=True)
    assert checked.returncode == 0


@pytest.mark.monitoring
def test_promtool_finds_nothing_to_mend_in_the_names(service: Service) -> None:
    """The names follow the conventions, says Prometheus' own linter."""
    promtool = shutil.which("promtool")
    assert promtool, "install Debian's package prometheus"
    linted = subprocess.run(
        [promtool, "check", "metrics"], input=_scraped(service), check=False, capture_output=True, text=True
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.monitoring
def test_node_exporter_and_prometheus_take_them(service: Service, host: Host, tmp_path: Path) -> None:
    """A real node_exporter reads the textfile, a real Prometheus scrapes both, and a query finds the commit."""
    service.wait_committed(make(host.root))
    file = _textfile(host)
    service.wait(lambda: _of(file.read_text(), "commits_total", status="completed") == 1)
    exporter, prometheus = free_port(), free_port()
    configuration = tmp_path / "prometheus.yml"
    targets = [f"127.0.0.1:{exporter}", _listen(service)]
    jobs = [{"job_name": "all", "scrape_interval": "1s", "static_configs": [{"targets": targets}]}]
    configuration.write_text(json.dumps({"scrape_configs": jobs, "rule_files": [str(MONITORING / "alerts.yml")]}))
    with contextlib.ExitStack() as running:
        running.enter_context(
            _started(
                "prometheus-node-exporter",
                f"--collector.textfile.directory={host.base}",
                "--collector.disable-defaults",
                "--collector.textfile",
                f"--web.listen-address=127.0.0.1:{exporter}",
            )
        )
        running.enter_context(
            _started(
                "prometheus",
                f"--config.file={configuration}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{prometheus}",
            )
        )
        ask = f"http://127.0.0.1:{prometheus}/api/v1/query?query=agentic_watch_commits_total"
        wait_for(lambda: len(_results(ask)) == len(targets), 60)
        assert {float(result["value"][1]) for result in _results(ask)} == {1.0}
        assert {result["metric"]["status"] for result in _results(ask)} == {"completed"}
        assert {result["metric"]["instance"] for result in _results(ask)} == set(targets)


def _results(address: str) -> list[dict[str, Any]]:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
            return found
    except OSError:
        return []  # not up yet


@contextlib.contextmanager
def _started(program: str, *options: str) -> Iterator[None]:
    found = shutil.which(program)
    assert found, f"install Debian's package {program}"
    process = subprocess.Popen([found, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)
