"""An MLflow server on PostgreSQL, as docs/mlflow-server.md sets it up, on loopback for the tests that need one."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from tests.commands import free_port, wait_until

RECIPE = Path(__file__).parents[1] / "docs" / "mlflow-server.md"


def block(kind: str) -> list[str]:
    """The lines of the recipe's block of that kind."""
    _, found = RECIPE.read_text().split(f"```{kind}\n")
    return found.partition("```")[0].splitlines()


def binaries() -> Path | None:
    """The folder of PostgreSQL's server; Debian keeps it off the PATH."""
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)]
    on_path = shutil.which("initdb")
    found += [Path(on_path).resolve().parent] if on_path else []
    return next((path for path in found if (path / "initdb").exists()), None)


def missing() -> str | None:
    """Why there can be no server here, if so."""
    return None if binaries() else "not installed: PostgreSQL (Debian: postgresql)"


@dataclass
class Lab:
    """A database and a server on it, which may be killed and started again at the same address.

    Attributes:
      folder: the database's, and `artifacts/`.
      workers: processes of the server.
    """

    folder: Path
    workers: int = 2
    port: int = field(default_factory=free_port)
    database_port: int = field(default_factory=free_port)
    _database: subprocess.Popen | None = None
    _server: subprocess.Popen | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    @property
    def database_uri(self) -> str:
        return self.settings()["MLFLOW_BACKEND_STORE_URI"]

    def settings(self) -> dict[str, str]:
        """The recipe's, at this place."""
        settings = dict(line.split("=", 1) for line in block("properties"))
        uri = settings["MLFLOW_BACKEND_STORE_URI"].replace(":5432/", f":{self.database_port}/")
        return settings | {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_ARTIFACTS_DESTINATION": str(self.artifacts)}

    def command(self) -> list[str]:
        """The recipe's, with loopback, this port and fewer workers."""
        (line,) = [line for line in block("ini") if line.startswith("ExecStart=")]
        command = line.split()
        for option, value in (("--host", "127.0.0.1"), ("--port", str(self.port)), ("--workers", str(self.workers))):
            command[command.index(option) + 1] = value
        return [sys.executable, "-m", "mlflow", *command[1:]]

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Any]:
        uri, password = self.database_uri.replace("+psycopg2", ""), self.settings()["PGPASSWORD"]
        with contextlib.closing(psycopg2.connect(uri, password=password)) as connection, connection.cursor() as cursor:
            yield cursor

    def query(self, statement: str, *values: object) -> list[tuple]:
        """Rows that the database itself answers."""
        with self._cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    @contextlib.contextmanager
    def held_writes(self, table: str) -> Iterator[None]:
        """Let the table be read, and every write to it wait for the end of the block."""
        with self._cursor() as cursor:
            cursor.execute(f"LOCK TABLE {table} IN SHARE MODE")
            yield

    def create(self) -> None:
        """A new database cluster with the role and the database of the recipe."""
        log = self.folder / "initdb.log"
        with log.open("wb") as file:
            subprocess.run(
                [*self._postgres("initdb"), "--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256"],
                user=owner(),
                cwd=self.folder,
                stdout=file,
                stderr=file,
                check=True,
                timeout=60,
            )
        self.start_database()
        socket_of = {"host": str(self.folder), "port": self.database_port, "user": "postgres"}
        with contextlib.closing(psycopg2.connect(dbname="postgres", **socket_of)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in block("sql"):
                    cursor.execute(statement)

    def start_database(self) -> None:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.database_port,
            "unix_socket_directories": self.folder,
            "fsync": "off",  # the machine does not lose power
        }
        self._database = subprocess.Popen(
            [*self._postgres("postgres"), *(f"--{name}={value}" for name, value in options.items())],
            user=owner(),
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "postgres.log").open("ab"),
        )
        where = {"host": str(self.folder), "port": self.database_port, "user": "postgres", "dbname": "postgres"}

        def answers() -> bool:
            with contextlib.suppress(psycopg2.OperationalError):
                psycopg2.connect(**where).close()
                return True
            return False

        wait_until(answers, 60, "PostgreSQL")

    def _postgres(self, name: str) -> list[str]:
        folder = binaries()
        assert folder is not None
        return [str(folder / name), "-D", str(self.folder / "database")]

    def stop_database(self) -> None:
        """At once, as when its machine dies: connections break, and it recovers when it is started again."""
        if self._database is not None:
            self._database.send_signal(signal.SIGQUIT)
            self._database.wait(30)
            self._database = None

    def start_server(self) -> None:
        self._server = subprocess.Popen(
            self.command(),
            env=os.environ | self.settings(),
            cwd=self.folder,
            stdout=(self.folder / "server.log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        server = self._server

        def answers() -> bool:
            assert server.poll() is None, (self.folder / "server.log").read_text()[-2000:]
            with contextlib.suppress(OSError):
                return urllib.request.urlopen(f"{self.uri}/health", timeout=5).status == 200
            return False

        wait_until(answers, 120, "MLflow's server")

    def kill_server(self) -> None:
        """All its processes, with SIGKILL."""
        if self._server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._server = None
            wait_until(lambda: not listens(self.port), 30, "the end of MLflow's server")

    def stop(self) -> None:
        self.kill_server()
        self.stop_database()


def owner() -> str | None:
    """Who runs PostgreSQL, which refuses to be run by root."""
    return "postgres" if os.geteuid() == 0 else None


def listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


@contextlib.contextmanager
def running() -> Iterator[Lab]:
    """A database and a server that live inside the block."""
    # Not below pytest's folder, which only its owner may enter.
    with tempfile.TemporaryDirectory(prefix="mlflow-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if owner() is not None:
            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        lab = Lab(folder)
        try:
            lab.create()
            lab.start_server()
            yield lab
        finally:
            lab.stop()


@contextlib.contextmanager
def between(port: int, answer: Callable[[], bool], at: int = 0) -> Iterator[str]:
    """An address (of port `at`, if given) that passes on to `port`.

    Before each piece of an answer it asks `answer`, which may sleep; False drops the connection.
    """
    listener = socket.create_server(("127.0.0.1", at))

    def pump(source: socket.socket, target: socket.socket, may_pass: Callable[[], bool]) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) and may_pass():
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                for arguments in ((near, far, lambda: True), (far, near, answer)):
                    threading.Thread(target=pump, args=arguments, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
