"""Where runs stand, and how that is shown. Reads run directories, and asks `squeue` once."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from conf.uris import is_web
from records import layout
from records.layout import RunOutcome
from records.lock import is_held
from records.remote import remote_run, remote_sweep
from records.run_dir import RunDir
from records.sweep import Member, Sweep
from sweeps.slurm import cluster
from sweeps.slurm.states import is_waiting
from sweeps.slurm.submission import job_of
from tracking import pages
from tracking.mirror import run_link

WATCH_S = 5.0
MAX_ROWS = 200
ORDER = ("running", "queued", "preempted", "failed", "killed", "interrupted", "stopped", "new", "done")
COLOURS = {"running": "green", "preempted": "yellow", "failed": "red", "killed": "red", "done": "dim"}


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Attributes:
      name: done (has reached the budget), running, queued (its job waits), preempted (has run, and its job waits to go
        on), interrupted (can go on), stopped (a search had no more use for it; can go on), failed, killed (says
        running, but nobody runs it), or new.
      env_steps: steps so far, as recorded.
      score: of the last budget that was reached.
      reason: why it failed, or was not begun.
      rate: environment steps per second, when last recorded.
      divergences: task id -> how many training episodes ended because the simulation diverged, of a run that is done.
      job: SLURM's id of the job that has it, while that lives.
    """

    name: Literal["done", "running", "queued", "preempted", "interrupted", "stopped", "failed", "killed", "new"]
    env_steps: int = 0
    score: float | None = None
    reason: str = ""
    rate: float | None = None
    job: str | None = None
    divergences: Mapping[str, int] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether a process or a job executes the run now, or is going to."""
        return self.name in ("running", "queued", "preempted")


def inspect(run_dir: Path, budget: int, queue: cluster.Queue | None = None) -> RunState:
    """Return the state of a run whose budget is `budget` environment steps.

    Where SLURM cannot be asked (`queue` is None), a job that has not said how it ended is taken to live. A run of
    another machine stands where that machine said when the record was brought last.
    """
    record = RunDir(run_dir)
    done = record.done()
    if done is not None and done.env_steps >= budget:
        return RunState("done", done.env_steps, done.score, divergences=done.divergences)
    status = record.status()
    said = status.state if status else None
    steps, rate = record.progress() if said else (0, None)
    job = job_of(run_dir)
    remote = remote_run(run_dir)
    if is_held(run_dir):
        return RunState("running", steps, rate=rate, job=job.id if job and queue and job.id in queue else None)
    if remote is not None and remote.alive:
        return RunState(remote.state, steps, rate=rate, job=remote.job)  # type: ignore[arg-type]
    queue = queue if remote is None else {}  # of that machine, which has said that no job of its own lives
    given_since = job is not None and status is not None and status.time < job.time  # to a job, after it had failed
    failed = said == RunOutcome.FAILED and not given_since
    job_state = None
    if job is not None and job.id is not None and not failed:
        running = said == RunOutcome.RUNNING
        job_state = queue.get(job.id) if queue is not None else "RUNNING" if running else "PENDING"
    if job is not None and job_state is not None:
        name = ("queued" if said is None else "preempted") if is_waiting(job_state) else "running"
        return RunState(name, steps, rate=rate, job=job.id)
    if status is not None and said == RunOutcome.FAILED and (failed or job is None or not job.is_interrupted):
        return RunState("failed", steps, reason=status.reason.partition("\n")[0])
    if status is not None and said == RunOutcome.STOPPED:
        return RunState("stopped", steps, reason=status.reason)
    if said in (RunOutcome.INTERRUPTED, RunOutcome.DONE) or (job is not None and job.is_interrupted):
        return RunState("interrupted", steps, reason=status.reason if status else "")
    if status is None:
        return RunState("new")
    return RunState("killed", steps, reason=f"its job ended without a word; see {job.log}" if job else "")


def has_job(run_dir: Path) -> bool:
    """Return whether a run was ever given to a job of this machine's SLURM."""
    return os.path.exists(run_dir / layout.JOB) and not os.path.exists(run_dir / layout.REMOTE)


def states_of(sweep: Sweep) -> dict[Member, RunState]:
    """Return the state of each member of a sweep."""
    queue = cluster.queue(sweep.owner) if any(has_job(one.run_dir) for one in sweep.members) else {}
    return {member: inspect(member.run_dir, member.env_steps, queue) for member in sweep.members}


def counts(states: Sequence[RunState]) -> str:
    """Return a line that says how many runs are in each state."""
    found = Counter(state.name for state in states)
    return ", ".join(f"{found[name]} {name}" for name in ORDER if found[name])


def table(sweep: Sweep, states: dict[Member, RunState]) -> Group:
    """Return the table of the sweep's runs, those that need attention first, and the counts."""
    shown = Table(title=f"sweep {sweep.id}" if sweep.path.suffix else str(sweep.path.parent))
    parts = {part: index for index, part in enumerate(sweep.parts)}
    named = any(parts)
    if named:
        shown.add_column("part")
    for column in ("run", "varied", "state", "progress", "steps/s", "left", "job", "score"):
        shown.add_column(column, justify="right" if column in ("progress", "steps/s", "left", "score") else "left")
    ordered = sorted(states.items(), key=lambda item: (parts[item[0].part], ORDER.index(item[1].name)))
    for member, state in ordered[:MAX_ROWS]:
        going, left = state.name == "running" and state.rate, seconds_left(member, state)
        shown.add_row(
            *([member.part] if named else []),
            linked(member.run_dir),
            escape(" ".join(f"{key}={value}" for key, value in member.varied.items())),
            f"[{COLOURS[state.name]}]{state.name}[/]" if state.name in COLOURS else state.name,
            f"{min(1.0, state.env_steps / member.env_steps):.0%}",
            f"{state.rate:.1f}" if going else "-",
            "-" if left is None else duration(left),
            state.job or "-",
            "-" if state.score is None else f"{state.score:.3f}",
        )
    lines = []
    if len(ordered) > MAX_ROWS:
        lines.append(f"... and {len(ordered) - MAX_ROWS} more")
    for member, state in ordered:
        if state.name in ("failed", "killed"):
            lines.append(f"{state.name}: {state.reason or 'ended without a word'}; log: {log_of(member.run_dir)}")
    reasons = dict.fromkeys(state.reason for _, state in ordered if state.name == "interrupted" and state.reason)
    lines += [f"not begun: {reason}" for reason in reasons]
    for member, state in ordered:
        lines += [f"diverged: {member.run_dir.name}: {task} {count} times" for task, count in state.divergences.items()]
    lines += elsewhere(sweep)
    lines += decision(sweep, states)
    lines += search_jobs(sweep)
    lines += [f"mlflow: {page}" for page in mlflow_pages(sweep)]
    lines += unmirrored(sweep)
    if named:
        for part in parts:
            lines.append(f"{part}: {counts([state for member, state in states.items() if member.part == part])}")
    return Group(shown, *map(escape, lines), counts(list(states.values())))


def elsewhere(sweep: Sweep) -> list[str]:
    """Return a line about the machine that has a sweep, if that is another one, and how old this view is."""
    remote = remote_sweep(sweep.path) if sweep.path.suffix else None
    if remote is None:
        return []
    age = "never fetched" if remote.fetched is None else f"as of {duration(time.time() - remote.fetched)} ago"
    return [f"on {remote.host}, {age}; python -m sweeps.fetch brings what is new"]


def decision(sweep: Sweep, states: Mapping[Member, RunState]) -> list[str]:
    """Return who leads in a deciding sweep, and what is decided and what is not, a line each."""
    if sweep.decide is None:
        return []
    from sweeps.decide.standing import lines, standing

    return lines(standing(sweep, failed(states)))


def failed(states: Mapping[Member, RunState]) -> set[Path]:
    """Return the directories of the runs that have failed."""
    return {one.run_dir for one, state in states.items() if state.name == "failed"}


def seconds_left(member: Member, state: RunState) -> float | None:
    """Return how long a run that runs still needs at its present rate; None for another."""
    if state.name != "running" or not state.rate:
        return None
    return max(0, member.env_steps - state.env_steps) / state.rate


def search_jobs(sweep: Sweep) -> list[str]:
    """Return a line about the SLURM jobs that share a search, whose trials have no jobs of their own."""
    jobs = cluster.search_jobs(sweep.folder, sweep.owner)
    return [f"jobs of the search: {cluster.in_words(jobs)}"] if jobs else []


def linked(run_dir: Path) -> str:
    """Return the run's name, which is a link to the run's page in MLflow where the terminal can show links."""
    mirrors = RunDir(run_dir).mirrors()
    page = next((page for uri in mirrors if (page := run_link(run_dir, uri))), None)
    name = escape(run_dir.name)
    return name if page is None else f"[link={page}]{name}[/link]"


def mlflow_pages(sweep: Sweep) -> list[str]:
    """Return addresses at each MLflow that has heard of a run of the sweep: of the sweep's runs, and of each parent."""
    found: dict[str, None] = {}
    wanted = {(uri, part) for uri, parts in sweep.parents.items() for part in parts}
    for member in sweep.members:
        for uri, state in RunDir(member.run_dir).mirrors().items():
            if (uri, member.part) in wanted and state.experiment_id is not None:
                wanted.remove((uri, member.part))
                parent = sweep.parents[uri][member.part]
                for page in (
                    pages.sweep_page(state.experiment_id, sweep.id),
                    pages.run_page(state.experiment_id, parent),
                ):
                    found[f"{pages.server_of(uri)}/{page}"] = None
                if not is_web(uri):
                    found[f"(these pages need: mlflow ui --backend-store-uri {uri})"] = None
        if not wanted:
            break
    return list(found)


def unmirrored(sweep: Sweep) -> list[str]:
    """Return a line for each thing that keeps MLflow from having runs of the sweep, with the cure."""
    found = Counter(
        state.problem
        for member in sweep.members
        for state in RunDir(member.run_dir).mirrors().values()
        if state.problem
    )
    return [
        f"warning: MLflow does not get {count} run{'s' if count != 1 else ''}: {problem}"
        for problem, count in found.items()
    ]


def log_of(run_dir: Path) -> Path:
    """Return the path of the run's own log, or of its job's log where the run has none yet."""
    own, job = run_dir / layout.LOG, job_of(run_dir)
    return own if own.exists() or job is None else job.log


def duration(seconds: float) -> str:
    """Write a number of seconds in the unit that suits the number."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def console() -> Console:
    """Return the screen, which is wide where standard output is no terminal."""
    return Console(width=None if Console().is_terminal else 200, soft_wrap=False)


def watch(sweep: Sweep, until_over: bool, every_s: float = WATCH_S) -> dict[Member, RunState]:
    """Show the table until Ctrl-C, or until no run of the sweep is alive; return the last states."""
    states = states_of(sweep)
    screen = console()
    quiet = 0
    with Live(table(sweep, states), console=screen, auto_refresh=False, transient=not screen.is_terminal) as live:
        # A requeue leaves a moment in which a job is neither running nor waiting.
        while not until_over or quiet < 2:
            time.sleep(every_s)
            states = states_of(sweep)
            quiet = 0 if any(state.alive for state in states.values()) else quiet + 1
            if screen.is_terminal:
                live.update(table(sweep, states), refresh=True)
    return states
