"""Commands and files over ssh and rsync: a connection that is cut is made again, and any other failure is one line."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from conf.typed import ConfigError

SSH = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15"]
PAUSES_S = (1.0, 2.0, 4.0, 8.0)
"""Seconds between the tries of something that a connection was too short for."""
CUT = 255
"""The exit status of ssh where ssh itself failed, and not what it was to execute."""
RSYNC_CUT = (10, 12, 30, 35, CUT)
"""Those of rsync where the connection or the other side's rsync ended early, or was silent."""
RSYNC_VANISHED = 24
"""That of rsync where files were removed while it read the folder, which is no failure."""
NO_PROGRAM = 127
HOPELESS = (
    "Could not resolve",
    "Connection refused",
    "Host key verification failed",
    "No route to host",
    "Permission denied",
    "REMOTE HOST IDENTIFICATION HAS CHANGED",
    "Too many authentication failures",
)
"""What ssh says where another try would fail too."""


class LostConnectionError(RuntimeError):
    """The connection was cut at every try; the message is one line that names the host."""


@dataclass(frozen=True)
class Answer:
    """What a command over there came to: its exit status and what it printed."""

    status: int
    output: str
    errors: str


def check_programs() -> None:
    """Refuse to begin where a program is missing on this machine.

    Raises:
      ConfigError: names the program.
    """
    for name in ("ssh", "rsync"):
        if shutil.which(name) is None:
            raise ConfigError(f"launcher=ssh-slurm: {name} is not installed on this machine")


def execute(host: str, script: str, given: str = "") -> Answer:
    """Execute a shell script on another machine, again where the connection is cut, so that it may run twice.

    Args:
      host: the machine, as ssh calls it.
      script: the script, of POSIX's shell.
      given: what the script reads from standard input.
    Raises:
      ConfigError: the machine cannot be reached.
      LostConnectionError: the connection was cut at every try.
    """
    result = _persist(host, [*SSH, "--", host, shlex.join(["sh", "-c", script])], (CUT,), given)
    return Answer(result.returncode, result.stdout, result.stderr)


def transfer(host: str, options: Sequence[str], source: str, target: str, listed: Iterable[str] = ()) -> None:
    """Bring one of two folders to the state of the other, again where the connection is cut.

    A file is written beside its place and renamed, and what a cut left of it is used by the next try.

    Args:
      host: the machine that one of the folders is on.
      options: rsync's, besides those that hold for all transfers.
      source, target: the folders, as rsync names them.
      listed: paths below the source, which alone are brought; none: everything is.
    Raises:
      ConfigError: the machine cannot be reached, or a file cannot be read or written.
      LostConnectionError: the connection was cut at every try.
    """
    paths = list(listed)
    command = ["rsync", "-rtzs", "--timeout=60", "--partial-dir=.part", "-e", shlex.join(SSH), *options]
    command += ["--files-from=-"] if paths else []
    result = _persist(host, [*command, source, target], RSYNC_CUT, "".join(f"{path}\n" for path in paths))
    if result.returncode not in (0, RSYNC_VANISHED):
        raise ConfigError(f"{host}: rsync of {source} to {target} failed: {last_line(result.stderr)}")


def _persist(host: str, command: Sequence[str], cut: Sequence[int], given: str) -> subprocess.CompletedProcess[str]:
    said = ""
    for pause in (*PAUSES_S, None):
        result = subprocess.run(command, input=given, capture_output=True, text=True, errors="replace")
        if result.returncode not in cut:
            return result
        said = last_line(result.stderr)
        if (word := next((word for word in HOPELESS if word in result.stderr), None)) is not None:
            line = next(line for line in result.stderr.splitlines() if word in line)
            raise ConfigError(f"launcher.host={host}: cannot be reached: {line.strip()}")
        if "command not found" in result.stderr or f"error: {NO_PROGRAM}" in result.stderr:
            raise ConfigError(f"launcher.host={host}: {said}")
        if pause is not None:
            print(f"{host}: the connection was cut ({said}); next try in {pause:g} s", file=sys.stderr, flush=True)
            time.sleep(pause)
    raise LostConnectionError(
        f"{host}: the connection was cut {len(PAUSES_S) + 1} times in turn ({said}); the same command goes on"
    )


def last_line(text: str) -> str:
    """Return the last line of what a program complained of, without its trailing summary of rsync's."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("rsync error:")] or lines
    return telling[-1] if telling else "without a word"
