"""A password in an address is refused in one line, and one in the environment gets into no file."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from analysis import compare, report
from conf.passwords import has_password, mask
from records import layout
from records.layout import ExitCode
from sweeps import command, sync
from tests.commands import TINY, run
from tests.yaml_copy import yaml_copy

SECRET = "gehe1m"
SERVER = "tracking=server"
SEARCH = "sweep.search.space={agent.tau:{low:0.001,high:0.1}}"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://me:gehe1m@host:5000", "http://***@host:5000"),
        ("HTTPS://me:gehe1m@host/path", "HTTPS://***@host/path"),
        ("http://gehe1m@host", "http://***@host"),
        ("http://:gehe1m@host", "http://***@host"),
        ("http://me:ge/he1m@host", "http://***@host"),
        ("http://me:ge#he1m@host", "http://***@host"),
        ("http://me:ge he1m@host", "http://***@host"),
        ("postgresql://me:gehe1m@host/db", "postgresql://me:***@host/db"),
        ("postgresql+psycopg2://me:ge@he1m@host:5432/db", "postgresql+psycopg2://me:***@host:5432/db"),
        ("postgresql://me:1/gehe1m@host/db", "postgresql://me:***@host/db"),
        ("mysql+pymysql://me:gehe1m@host/db", "mysql+pymysql://me:***@host/db"),
        ("postgresql://host/db?user=me&password=gehe1m&sslmode=require", None),
        ("seed=1 tracking.uri=http://me:gehe1m@host", "seed=1 tracking.uri=http://***@host"),
        ("export PGPASSWORD=gehe1m", "export PGPASSWORD=***"),
        ("ALL,MLFLOW_TRACKING_PASSWORD='gehe1m'", None),
    ],
)
def test_password_is_masked_wherever_it_stands_in_a_text(text: str, masked: str | None):
    assert has_password(text)
    assert "he1m" not in mask(text)
    assert mask(mask(text)) == mask(text)
    if masked is not None:
        assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "http://host:5000",
        "http://host:5000/#/experiments/1?mail=me@host",
        "https://host/some@thing",
        "http://[::1]:5000",
        "postgresql://me@host:5432/db",
        "sqlite:////home/me:you@host/mlflow.db",
        "export MLFLOW_TRACKING_PASSWORD=$(cat ~/.password)",
        'export PGPASSWORD="$SECRET"',
        "agent.tau=0.1",
    ],
)
def test_text_without_a_password_stays_as_it_is(text: str):
    assert mask(text) == text


def train(*arguments: str) -> Callable[[], int]:
    return lambda: command.main([*TINY, *arguments])


REFUSED = {
    "run": (train(SERVER, f"tracking.uri=http://me:{SECRET}@host:5000"), "MLFLOW_TRACKING_PASSWORD"),
    "run, a database": (train(f"tracking.uri=postgresql://me:{SECRET}@host/db"), "PGPASSFILE"),
    "run, another key": (train(f"paths.runs=http://me:{SECRET}@host"), "MLFLOW_TRACKING_PASSWORD"),
    "run, replaced": (train(f"tracking.uri=http://me:{SECRET}@host", "tracking.uri=http://host"), "tracking.uri=http"),
    "run, not understood": (train(f"tracking.url=http://me:{SECRET}@host"), "MLFLOW_TRACKING_PASSWORD"),
    "run, no option": (lambda: command.main([f"--uri=http://me:{SECRET}@host"]), "no such option"),
    "run, shown": (train("--cfg", f"tracking.uri=http://me:{SECRET}@host"), "MLFLOW_TRACKING_PASSWORD"),
    "sweep": (train("-m", "seed=0,1", f"tracking.uri=http://me:{SECRET}@host"), "MLFLOW_TRACKING_PASSWORD"),
    "job's script": (train("-m", "seed=0,1", f"launcher.setup=['PGPASSWORD={SECRET}']"), "launcher.setup"),
    "search": (train("-m", SEARCH, f"sweep.search.storage=postgresql://me:{SECRET}@host/db"), "PGPASSFILE"),
    "search, MySQL": (train("-m", SEARCH, f"sweep.search.storage=mysql://me:{SECRET}@host/db"), "read_default_file"),
    "sync": (lambda: sync.main(["--uri", f"http://me:{SECRET}@host"]), "MLFLOW_TRACKING_PASSWORD"),
    "sync, no option": (lambda: sync.main(["--url", f"http://me:{SECRET}@host"]), "MLFLOW_TRACKING_PASSWORD"),
    "report": (lambda: report.main([f"http://me:{SECRET}@host", "--out", "report"]), "MLFLOW_TRACKING_PASSWORD"),
    "comparison": (lambda: compare.main([f"http://me:{SECRET}@host", "runs"]), "MLFLOW_TRACKING_PASSWORD"),
}


@pytest.mark.parametrize(("call", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_password_in_an_address_is_refused_in_one_line_that_says_where_it_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], call, expected: str
):
    monkeypatch.chdir(tmp_path)
    assert call() == ExitCode.BAD_CONFIG
    said = capfd.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("error: ")
    assert expected in said.err
    assert SECRET not in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [f"uri: http://me:{SECRET}@host", "uri: ${oc.env:MLFLOW_TRACKING_URI}"])
def test_password_in_a_yaml_file_is_refused_and_so_is_one_that_it_takes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRET}@host")
    with yaml_copy(tmp_path, monkeypatch) as copied:
        lines = (copied / "tracking" / "server.yaml").read_text().splitlines()
        mine = [text if line.startswith("uri:") else line for line in lines]
        (copied / "tracking" / "lab.yaml").write_text("\n".join(mine))
        assert command.main([*TINY, "tracking=lab"]) == ExitCode.BAD_CONFIG
    said = capsys.readouterr().err
    assert "tracking.uri=http://***@host" in said
    assert SECRET not in said


@contextlib.contextmanager
def server_that_wants_a_password() -> Iterator[tuple[str, list[str | None]]]:
    """An address that refuses everybody, and what was given to it as authorisation."""
    given: list[str | None] = []

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given.append(self.headers.get("Authorization"))
            self.send_error(401, "Unauthorized")

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", given
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_password_from_the_environment_reaches_the_server_and_is_in_no_file(tmp_path: Path):
    environment = {
        "MLFLOW_TRACKING_USERNAME": "me",
        "MLFLOW_TRACKING_PASSWORD": SECRET,
        "MLFLOW_TRACKING_URI": f"http://me:{SECRET}@127.0.0.1:9",
        "PGPASSWORD": SECRET,
        "ftp_proxy": f"http://me:{SECRET}@127.0.0.1:9",
    }
    short = [*TINY, "train.env_steps=200", "eval.every_steps=100", "eval.max_episode_steps=10"]
    said = []
    with server_that_wants_a_password() as (uri, given):
        where = [SERVER, f"tracking.uri={uri}"]
        for arguments in (
            [*short, "report=true", *where],
            ["-m", *short, *where, "seed=1,2", "launcher=local", "launcher.max_parallel=2"],
            ["-m", *short, *where, SEARCH, "sweep.search.trials=1"],
        ):
            result = run(tmp_path, *arguments, environment=environment)
            assert result.returncode == 0, result.stderr
            said += [result.stdout, result.stderr]
        for module, *arguments in (
            ["sweeps.sync"],
            ["sweeps.status"],
            ["analysis.report", "runs", "--out", "report"],
            ["analysis.report", uri, "--out", "mirrored"],
        ):
            done = subprocess.run(
                [sys.executable, "-m", module, *arguments],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=120,
                env=os.environ | environment,
            )
            said += [done.stdout, done.stderr]
    assert f"Basic {base64.b64encode(f'me:{SECRET}'.encode()).decode()}" in given
    assert not [text for text in said if SECRET in text]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {layout.CONFIG, layout.MANIFEST, "tracking.log", "index.html", "study.log"}
    encoded = base64.b64encode(f"me:{SECRET}".encode())
    holding = [path for path in files if SECRET.encode() in path.read_bytes() or encoded in path.read_bytes()]
    assert holding == []
