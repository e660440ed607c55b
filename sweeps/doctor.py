"""Says what works on this machine, and what to do about the rest: `python -m sweeps.doctor [RUNS]`.

Each check is a process of its own with a limit on its time: a driver that hangs, or a library that ends its process,
spoils one line and no more.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from conf import uris
from conf.passwords import mask
from records.command_line import Parser, exit_status
from records.layout import ExitCode

LIMIT_S = 60.0
LOW_DISK_GB = 5.0


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
      verdict: ok; note (something is missing that runs can do without); or wrong (runs cannot work here).
      text: what works or does not.
      advice: what to do; empty where nothing is to be done.
    """

    verdict: Literal["ok", "note", "wrong"]
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Question:
    """What a check is asked about.

    Attributes:
      runs: the folder of runs.
      uri: where runs are to be mirrored to.
      cache: the folder of the compilation cache; None where there is to be none.
    """

    runs: Path
    uri: str
    cache: Path | None


@dataclass(frozen=True)
class Check:
    """One line of the command.

    Attributes:
      title: what is checked.
      find: looks; runs in a process of its own.
      essential: whether nothing works where `find` hangs or ends its process.
    """

    title: str
    find: Callable[[Question], Finding]
    essential: bool = False


def find_file_system(question: Question) -> Finding:
    """Whether the folder of runs keeps what is written into it."""
    from sweeps.filesystem import FileSystemError, examine, scratch

    advice = "choose a folder on another file system with paths.runs; docs/file-systems.md says what is asked of one"
    try:
        with scratch(question.runs) as folder:
            kind = examine(folder)
            free_gb = shutil.disk_usage(folder).free / 2**30
    except OSError as error:
        return Finding("wrong", f"{question.runs}: {error.strerror or error}", advice)
    except FileSystemError as error:
        return Finding("wrong", f"{question.runs}: {error}", advice)
    how = "flock" if kind == "flock" else "lease files, because flock does not work here"
    text = f"{question.runs}: rename, sync, exclusive creation and locks ({how}) work; {free_gb:,.1f} GiB are free"
    if free_gb < LOW_DISK_GB:
        return Finding("note", text, "make room: a checkpoint with its replay may take several GiB")
    return Finding("ok", text)


def find_slurm(_: Question) -> Finding:
    """Whether SLURM takes jobs from here."""
    from sweeps.slurm import cluster
    from sweeps.slurm.environment import set_aside

    missing = [name for name in ("sbatch", "scontrol", "squeue") if shutil.which(name) is None]
    if len(missing) == 3:
        return Finding("ok", "not installed; sweeps run as processes of this machine")
    if missing:
        return Finding("note", f"{' and '.join(missing)} missing", "load SLURM's module, or use launcher=local")
    if cluster.controller() == "none":
        return Finding("ok", "installed, and configured for no cluster; sweeps run as processes of this machine")
    if cluster.controller() == "silent":
        return Finding("note", "installed, and does not answer (scontrol ping)", "wait for it, or use launcher=local")
    jobs = cluster.queue()
    if jobs is None:
        return Finding("note", "answers, but squeue does not", "wait for it; jobs are left alone meanwhile")
    text = f"answers; {len(jobs)} jobs of yours are in its queue"
    aside = set_aside(os.environ)
    return Finding("ok", f"{text}; set aside when submitting: {', '.join(aside)}" if aside else text)


def find_mlflow(question: Question) -> Finding:
    """Whether runs can be mirrored."""
    from tracking.client import client
    from tracking.problems import explain

    uri = mask(question.uri)
    path = uris.sqlite_path(question.uri)
    advice = "see tracking.uri and docs/mlflow-server.md, or use tracking=off; runs go on without a mirror"
    try:
        if path is not None and not path.exists():
            return new_database(path)
        client(question.uri)
    except Exception as error:
        return Finding("note", explain(error, uri), advice)
    return Finding("ok", f"{uri}: {'can be opened' if path else 'answers'}")


def new_database(path: Path) -> Finding:
    """Whether a SQLite database could be made at a path where there is none; leaves none."""
    import sqlite3

    from sweeps.filesystem import scratch

    with scratch(path.parent) as folder:
        connection = sqlite3.connect(folder / "try.db")
        connection.execute("create table try (value)")
        connection.commit()
        connection.close()
    return Finding("ok", f"{uris.SQLITE}{path}: can be made; the first run does so")


def find_gl(_: Question) -> Finding:
    """Whether films can be rendered."""
    from conf.typed import ConfigError
    from envs.video import working_gl

    try:
        return Finding("ok", f"{working_gl()} renders without a screen")
    except ConfigError as error:
        return Finding("note", str(error))


def find_device(_: Question) -> Finding:
    """Whether JAX computes, and on what."""
    import jax

    named = os.environ.get("JAX_PLATFORMS", "")
    try:
        devices = jax.devices()
        total = float(jax.numpy.ones((8, 8)).sum())
    except (RuntimeError, AssertionError) as error:
        reason = (str(error) or "no such device").splitlines()[0]
        advice = f"unset JAX_PLATFORMS={named}" if named else "see docs/cluster.md; JAX_PLATFORMS=cpu computes without"
        return Finding("wrong", f"JAX cannot compute: {reason}", advice)
    if total != 64:
        return Finding("wrong", f"JAX computes wrongly: 64 ones add up to {total}", "install jax and jaxlib again")
    text = f"JAX {jax.__version__} computes on {len(devices)} x {devices[0].device_kind}"
    if devices[0].platform == "cpu" and has_nvidia_gpu() and not named:
        advice = 'pip install -c constraints.txt -e ".[cuda]", and see that the driver is loaded'
        return Finding("note", f"{text}, although an NVIDIA GPU is here", advice)
    return Finding("ok", text)


def has_nvidia_gpu() -> bool:
    """Whether the kernel shows an NVIDIA GPU."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def find_processor(_: Question) -> Finding:
    """Whether the processor has what compiled libraries use, and how much of it this process may use."""
    import platform

    from agents.memory import available_bytes

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{platform.machine()}, {cores} cores and {available_bytes() / 2**30:,.1f} GiB for this process"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return processor_finding(text, lines)


def processor_finding(text: str, cpuinfo: Sequence[str]) -> Finding:
    """What the processor's features mean for runs.

    Args:
      text: the processor in words.
      cpuinfo: the lines of `/proc/cpuinfo`; only processors of the x86 family list their features as `flags`.
    """
    features = next((set(line.partition(":")[2].split()) for line in cpuinfo if line.startswith("flags")), None)
    if features is None:
        return Finding("ok", text)
    if "avx" not in features:
        advice = "jaxlib's wheels need AVX: use another machine, or a virtual machine that hands the processor on"
        return Finding("wrong", f"{text}; no AVX", advice)
    missing = [name.upper() for name in ("avx2", "fma") if name not in features]
    if missing:
        return Finding("note", f"{text}; no {' and no '.join(missing)}", "updates on this processor are slow")
    return Finding("ok", f"{text}; AVX2 and FMA")


def find_cache(question: Question) -> Finding:
    """Whether compiled programs can be kept for the next start."""
    if question.cache is None:
        return Finding("note", "paths.compilation_cache=null", "every start compiles anew; name a folder to save time")
    import jax

    from sweeps.filesystem import scratch

    advice = "name a folder that can be written with paths.compilation_cache; without, every start compiles anew"
    try:
        with scratch(question.cache) as folder:
            jax.config.update("jax_compilation_cache_dir", str(folder))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
            jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
            jax.jit(lambda x: x * 2 + 1)(jax.numpy.ones(3)).block_until_ready()
            kept = any(folder.iterdir())
    except OSError as error:
        return Finding("note", f"{question.cache}: {error.strerror or error}", advice)
    if not kept:
        return Finding("note", f"{question.cache}: JAX keeps nothing there", advice)
    return Finding("ok", f"{question.cache}: compiled programs are kept")


CHECKS = {
    "files": Check("file system", find_file_system, essential=True),
    "processor": Check("processor", find_processor),
    "device": Check("JAX", find_device, essential=True),
    "cache": Check("compilation cache", find_cache),
    "gl": Check("OpenGL", find_gl),
    "mlflow": Check("MLflow", find_mlflow),
    "slurm": Check("SLURM", find_slurm),
}


def finding_of(command: Sequence[str], limit_s: float, essential: bool) -> Finding:
    """What a check's process found: the last line of its output, as JSON.

    Args:
      command: the process; ended with all that it started where it takes too long.
      limit_s: seconds that the process may take.
      essential: whether nothing works where the process hangs or dies.
    """
    verdict = "wrong" if essential else "note"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, errors = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        end(process)
        return Finding(verdict, f"no answer in {limit_s:g} s", "it hangs: see what it waits for, such as a server")
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        return Finding(verdict, f"the check was ended by {name}", "a library does not suit this machine: reinstall it")
    try:
        return Finding(**json.loads(out.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        last = (errors.strip().splitlines() or [f"status {process.returncode}"])[-1]
        return Finding(verdict, mask(f"the check failed: {last}"), "reinstall the project's requirements")


def end(process: subprocess.Popen[str]) -> None:
    """End a process with all that it started."""
    import psutil

    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.communicate()


def line(title: str, finding: Finding) -> str:
    """The line that says what a check found."""
    advice = f"; {finding.advice}" if finding.advice else ""
    return f"{finding.verdict:5}  {title:17}  {' '.join((finding.text + advice).split())}"


def examine(question: Question) -> int:
    """Make all checks at once, print a line for each, and return the exit status."""

    def look(name: str) -> Finding:
        command = [sys.executable, "-m", "sweeps.doctor", str(question.runs), "--uri", question.uri, "--check", name]
        return finding_of(command, LIMIT_S, CHECKS[name].essential)

    verdicts = []
    with ThreadPoolExecutor(len(CHECKS)) as threads:
        for check, finding in zip(CHECKS.values(), threads.map(look, CHECKS), strict=True):
            print(line(check.title, finding), flush=True)
            verdicts.append(finding.verdict)
    return ExitCode.FAILED if "wrong" in verdicts else ExitCode.DONE


def main(arguments: Sequence[str] | None = None) -> int:
    """Examines this machine, and returns the exit status: 1 where runs cannot work, and otherwise 0."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Examines what the arguments name.

    Raises:
      ConfigError: the address of MLflow is not allowed.
    """
    from conf.compose import compose, resolve_paths

    uris.check_no_passwords(sys.argv[1:] if arguments is None else arguments)
    parser = Parser(
        prog="python -m sweeps.doctor", description="What works on this machine, and what to do about the rest."
    )
    parser.add_argument("runs", nargs="?", type=Path, default=Path("runs"), metavar="RUNS", help="default: runs")
    parser.add_argument("--uri", help="where runs are to be mirrored to; default: as tracking.uri's")
    parser.add_argument("--check", choices=CHECKS, help="make this check alone, and print what was found as JSON")
    parsed = parser.parse_args(arguments)
    config = resolve_paths(compose([f"tracking.uri={parsed.uri}"] if parsed.uri else []))
    cache = config.paths.compilation_cache
    question = Question(parsed.runs.absolute(), config.tracking.uri or "", Path(cache) if cache else None)
    if parsed.check is None:
        return examine(question)
    print(json.dumps(asdict(CHECKS[parsed.check].find(question))))
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
