"""A process beside a run, which follows its directory and lets the run go first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from records.files import append_to

NICENESS = 10


def start(
    module: str, run_dir: Path, log: Path, environment: Mapping[str, str] | None = None, *, listen: bool = False
) -> subprocess.Popen:
    """Start `python -m MODULE RUN_DIR --follow`, with low priority and its output in `log`.

    The process learns from its standard input, which closes when the run ends in whatever way, that nothing follows.

    Args:
      module: the module to run.
      run_dir: the run's directory.
      log: the file that takes the process's output, at its end.
      environment: variables beside those of this process.
      listen: whether the caller reads the process's standard output; otherwise the log has that too.
    """
    with append_to(log) as file:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(run_dir), "--follow"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if listen else file,
            stderr=file,
            env=os.environ | (environment or {}),
            # A Ctrl-C is for the run. Yet the same session: Linux weighs priorities within one.
            process_group=0,
        )
    os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
    return process
