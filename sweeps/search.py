"""Hyper-parameter search with Optuna: `python -m agents.run -m +sweep=search`, or `python -m sweeps.search STUDY`.

A trial is an ordinary run, whose directory follows from its values. Runs know nothing of Optuna: they write their
evaluations, which are read here, and obey a stop file, which is written here. Any number of processes may work on one
study, here or as SLURM jobs. Each holds a lock for every trial that it looks after; a trial that is begun and whose
lock nobody holds belonged to a process that died, and whoever finds it first goes on with the same run.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.table import Table

from agents.record import write_config
from agents.sizes import available_bytes, check_memory
from conf import record
from conf.compose import Composed, resolve_paths
from conf.files import write_json
from conf.schema import RunConfig
from conf.typed import ConfigError, show
from envs import registry
from sweeps import manifest, slurm, space
from sweeps.launch import parent_run
from sweeps.manifest import Member
from sweeps.plan import check_fit, plan, use_slurm
from sweeps.pool import Patience, Pool, on_signals
from sweeps.space import Interval, Space
from sweeps.status import console, inspect

if TYPE_CHECKING:
    import optuna

POLL_S = 0.5
CLAIM_EVERY_S = 2.0
MAX_ROWS = 40
JOURNAL = "study.log"
CONNECT_S = 10
COLOURS = {"running": "green", "failed": "red", "pruned": "yellow", "complete": "bold"}


@dataclass(frozen=True)
class Search:
    """What a study's manifest says.

    Attributes:
      path: the manifest; its folder, of the same name, holds the journal, the locks and the plots.
      overrides: the command line, without options.
      base: the configuration before a trial's values.
      space: what a trial's values are drawn from.
    """

    path: Path
    overrides: tuple[str, ...]
    base: RunConfig
    space: Space

    @property
    def id(self) -> str:
        return self.path.stem

    @property
    def folder(self) -> Path:
        return self.path.with_suffix("")

    def trial(self, params: dict[str, Any]) -> RunConfig:
        """The configuration of the trial with these values."""
        config = space.compose_one([*self.overrides, *space.overrides_of(params)])
        return dataclasses.replace(config, tracking=self.base.tracking, paths=self.base.paths, sweep=self.base.sweep)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """The right to begin trials and to write the manifest."""
        return manifest.locked(self.path)


def compose(overrides: Sequence[str], folder: Path) -> Search:
    """The search that a command line describes, as seen from `folder`. Its name follows from its runs and its space.

    Raises:
      ConfigError: a key has several values, the space is none, or the tasks have no scores to compare trials by.
    """
    base = resolve_paths(space.compose_one(overrides), folder)
    fixed = {text.partition("=")[0].lstrip("+") for text in overrides}
    axes = space.read(base.sweep.search.space, fixed)
    for spec in registry.specs(base.benchmark.task_ids, base.env):
        if spec.norm_low is None:
            raise ConfigError(f"benchmark.tasks: {spec.id} has no constants that make its returns comparable scores")
    values = {"base": record.identity(base), "env_steps": base.train.env_steps}
    values["space"] = {key: dataclasses.asdict(axis) for key, axis in sorted(axes.items())}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{base.benchmark.name}-{base.sweep.name or 'search'}-{digest}.json"
    return Search(Path(base.paths.runs) / record.SWEEPS / name, tuple(overrides), base, axes)


def load(path: Path) -> Search:
    """The search of a manifest; its runs folder may have been moved.

    Raises:
      ConfigError: the manifest is of no search, or the yaml files have changed since it was written.
    """
    body = record.read_json(path) or {}
    if "overrides" not in body:
        raise ConfigError(f"{path.stem}: is a sweep whose values are fixed, no search")
    runs = path.parents[1]
    search = compose(body["overrides"], Path(body["folder"]))
    if search.id != path.stem:
        raise ConfigError(f"{path.stem}: its command now means {search.id}; have files in conf/ changed since?")
    paths = dataclasses.replace(search.base.paths, runs=str(runs))
    return dataclasses.replace(search, path=path, base=dataclasses.replace(search.base, paths=paths))


def open_study(search: Search) -> optuna.Study:
    """Optuna's study, made on first use.

    Raises:
      ConfigError: the storage cannot be opened.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search.folder.mkdir(parents=True, exist_ok=True)
    url = search.base.sweep.search.storage
    try:
        with search.locked():  # two that make the tables of one database at once would break it
            return optuna.create_study(
                study_name=search.id,
                storage=storage(url, search.folder),
                pruner=pruner(search.base),
                direction="maximize",
                load_if_exists=True,
            )
    except Exception as error:
        shown = "null" if url is None else re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)
        lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"sweep.search.storage={shown}: cannot be opened: {lines[0]}") from None


def storage(url: str | None, folder: Path) -> optuna.storages.BaseStorage:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    if url is None:
        return optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    # PostgreSQL without a driver's name would mean one that we do not install.
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", url)
    arguments: dict[str, Any] = {"timeout": 60} if url.startswith("sqlite") else {"connect_timeout": CONNECT_S}
    return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": arguments, "pool_pre_ping": True})


def pruner(config: RunConfig) -> optuna.pruners.BasePruner:
    """Steps are environment steps."""
    import optuna

    settings = config.sweep.search
    grace = settings.grace_steps or config.eval.every_steps
    if settings.pruner == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(grace, settings.reduction_factor)
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner(settings.startup_trials, n_warmup_steps=grace)
    return optuna.pruners.NopPruner()


def sampler(config: RunConfig, number: int) -> optuna.samplers.BaseSampler:
    """For one trial: what it draws depends on the seed, its number and what the study holds, not on who asks."""
    import numpy as np
    import optuna

    settings = config.sweep.search
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    if settings.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(n_startup_trials=settings.startup_trials, seed=seed)


def suggest(trial: optuna.Trial, key: str, axis: space.Axis) -> Any:
    """The trial's value, drawn unless it has one."""
    if not isinstance(axis, Interval):
        return trial.suggest_categorical(key, axis.values)
    if axis.integer:
        return trial.suggest_int(key, int(axis.low), int(axis.high), step=int(axis.step or 1), log=axis.log)
    return trial.suggest_float(key, axis.low, axis.high, step=axis.step, log=axis.log)


def reopen(study: optuna.Study, number: int) -> optuna.Trial:
    """A trial that was begun, to go on with. Optuna offers no public way; a test keeps watch over this one."""
    import optuna

    return optuna.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


class Scores:
    """Interquartile mean over a run's tasks of their normalised scores at each evaluation, read as they are written."""

    def __init__(self, run_dir: Path):
        self._run_dir = run_dir
        self._position = 0
        self._tasks: list[float] = []
        self.at: dict[int, float] = {}

    def read(self) -> dict[int, float]:
        """All so far, by environment steps."""
        path = self._run_dir / record.METRICS
        if not path.exists():
            return self.at
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < self._position:  # cut back to a checkpoint
                self._position, self._tasks = 0, []
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._position += len(line)
                if b'"eval/score"' in line:
                    self._insert(json.loads(line))
        return self.at

    def _insert(self, row: dict[str, Any]) -> None:
        if row["task"] is not None:
            self._tasks.append(row["value"])
        else:  # the mean over tasks closes an evaluation
            self.at[row["env_steps"]] = interquartile_mean(self._tasks)
            self._tasks = []

    def final(self, budget: int) -> float:
        """At the budget, which may lie off the grid of evaluations; a longer run's later ones do not count."""
        done = record.read_json(self._run_dir / record.DONE) or {}
        if done.get("env_steps") == budget:
            rows = done["evaluation"]
            return interquartile_mean([row["value"] for row in rows if row["name"] == "eval/score" and row["task"]])
        at = self.read()
        return at[max(steps for steps in at if steps <= budget)]


def interquartile_mean(values: Sequence[float]) -> float:
    from scipy.stats import trim_mean

    return float(trim_mean(values, 0.25))


@dataclass
class Claimed:
    """A trial that this process looks after, until it closes `lock`."""

    trial: optuna.Trial
    config: RunConfig
    run_dir: Path
    lock: int
    reported: set[int]
    begun: bool = False
    scores: Scores = field(init=False)

    def __post_init__(self) -> None:
        self.scores = Scores(self.run_dir)


class Worker:
    """Looks after up to `parallel` trials at once."""

    def __init__(self, search: Search, study: optuna.Study, parallel: int, new_session: bool):
        launcher = search.base.launcher
        patience = Patience(launcher.max_crashes, launcher.backoff_s, time.time())
        self.search, self.study = search, study
        self.pool = Pool([], parallel, patience, new_session)
        self.claimed: dict[int, Claimed] = {}
        self._parallel = parallel
        self._settings = search.base.sweep.search
        self._next_claim = 0.0

    def poll(self) -> None:
        """Collect what has ended, prune, and give free slots to further trials at once."""
        self.pool.poll()
        for number, one in list(self.claimed.items()):
            if self._follow(number, one):
                os.close(one.lock)
                del self.claimed[number]
                self._next_claim = 0.0
        if self.pool.stopping or time.monotonic() < self._next_claim:
            return
        while len(self.claimed) < self._parallel and self._claim():
            pass
        self._next_claim = time.monotonic() + CLAIM_EVERY_S
        self.pool.poll()

    def _claim(self) -> bool:
        """Take on a trial whose process died, or a new one; whether there was any."""
        import optuna

        with self.search.locked():
            trials = self.study.get_trials(deepcopy=False)
            for frozen in trials:
                if frozen.state == optuna.trial.TrialState.RUNNING and frozen.number not in self.claimed:
                    descriptor = self._try_lock(frozen.number)
                    if descriptor is not None:
                        self._take(frozen.number, descriptor)
                        return True
            if len(trials) >= self._settings.trials:
                return False
            number = len(trials)
            descriptor = self._try_lock(number)
            assert descriptor is not None, f"trial {number} is locked and does not exist"
            self.study.ask()
            self._take(number, descriptor)
            return True

    def _try_lock(self, number: int) -> int | None:
        descriptor = os.open(self.search.folder / f"trial-{number:04d}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def _take(self, number: int, descriptor: int) -> None:
        """Draw what the trial lacks of values (all of a new one's), and put its run into the manifest."""
        self.study.sampler = sampler(self.search.base, number)
        trial = reopen(self.study, number)
        params = {key: suggest(trial, key, axis) for key, axis in self.search.space.items()}
        try:
            config = self.search.trial(params)
        except ConfigError as error:  # each value is allowed, but not these together
            self._fail(trial, str(error))
            os.close(descriptor)
            return
        run_dir = record.run_dir(config)
        reported = set(self.study.get_trials(deepcopy=False)[number].intermediate_values)
        manifest.join(run_dir, self.search.id)
        self.claimed[number] = Claimed(trial, config, run_dir, descriptor, reported)
        varied = {"trial": str(number)} | {key: show(value) for key, value in params.items()}
        add_member(self.search, Member(run_dir, config.train.env_steps, varied))

    def _follow(self, number: int, one: Claimed) -> bool:
        """Report a trial's new scores, stop it if they are low, start its run if it has to; whether it has ended."""
        import optuna

        states = optuna.trial.TrialState
        budget = one.config.train.env_steps
        self._report(number, one)
        if self.pool.has(one.run_dir):
            return False
        state = inspect(one.run_dir, budget, {})
        stop = record.read_json(one.run_dir / record.STOP) or {}
        if state.name == "running":  # of a process that died, or another trial's with the same values
            one.begun = True
            return False
        if state.name == "done":
            self._tell(number, states.COMPLETE, one.scores.final(budget))
        elif stop.get("by") == self.search.id:
            self._tell(number, states.PRUNED)
        elif state.name == "failed" and one.begun:
            self._fail(one.trial, state.reason)
        elif self.pool.stopping:
            return False
        else:
            one.begun = True
            one.run_dir.mkdir(parents=True, exist_ok=True)
            write_config(one.run_dir, one.config)
            self.pool.add(one.run_dir)
            return False
        return True

    def _report(self, number: int, one: Claimed) -> None:
        for steps, score in sorted(one.scores.read().items()):
            if 0 < steps <= one.config.train.env_steps and steps not in one.reported:
                one.reported.add(steps)
                one.trial.report(score, steps)
                if steps < one.config.train.env_steps and one.trial.should_prune():
                    reason = f"trial {number} pruned at {steps:,} steps: score {score:.3f}"
                    write_json(one.run_dir / record.STOP, {"by": self.search.id, "reason": reason})

    def _fail(self, trial: optuna.Trial, reason: str) -> None:
        import optuna

        trial.set_user_attr("reason", reason)
        self._tell(trial.number, optuna.trial.TrialState.FAIL)

    def _tell(self, number: int, state: optuna.trial.TrialState, value: float | None = None) -> None:
        self.study.tell(number, value, state, skip_if_finished=True)

    def run(self, wait: bool) -> bool:
        """Work until every trial has ended (or, without `wait`, none is left to begin) or a signal comes.

        Returns:
          Whether every trial has ended.
        """
        with on_signals(self.pool.stop, signal.SIGINT, signal.SIGTERM, signal.SIGUSR2), View(self) as view:
            try:
                while True:
                    self.poll()
                    over = view.show()
                    if self.pool.stopping and not self.pool.poll():
                        return over
                    if over or not (wait or self.claimed or self.pool.stopping):
                        return over
                    time.sleep(POLL_S)
            except BaseException:
                # The storage went away, say: what runs checkpoints, and the next command goes on from there.
                self.pool.stop()
                while self.pool.poll():
                    time.sleep(POLL_S)
                raise
            finally:
                for one in self.claimed.values():
                    os.close(one.lock)


def add_member(search: Search, member: Member) -> None:
    """Put a trial's run into the manifest, once. The caller has the search locked."""
    sweep = manifest.read(search.path)
    if all(known.varied["trial"] != member.varied["trial"] for known in sweep.members):
        body = record.read_json(search.path) or {}
        details = {key: body[key] for key in ("command", "time", "overrides", "folder")}
        manifest.write(search.path, [*sweep.members, member], sweep.parents, **details)


def write_manifest(search: Search, parent: str | None) -> Search:
    """Write the manifest, or only what this command changes of it; the search with its runs' MLflow parent."""
    uri = search.base.tracking.uri
    with search.locked():
        known = manifest.read(search.path) if search.path.exists() else None
        parents = (known.parents if known else {}) | ({uri: parent} if parent and uri else {})
        details = {"command": shlex.join(sys.argv), "time": time.time()}
        details |= {"overrides": list(search.overrides), "folder": str(Path.cwd())}
        manifest.write(search.path, known.members if known else [], parents, **details)
    return with_parent(search, parents)


def with_parent(search: Search, parents: dict[str, str]) -> Search:
    tracking = dataclasses.replace(search.base.tracking, parent_run=parents.get(search.base.tracking.uri or ""))
    return dataclasses.replace(search, base=dataclasses.replace(search.base, tracking=tracking))


def launch(overrides: Sequence[str]) -> int:
    """Begin or continue the search of a command line, here or in SLURM jobs.

    Returns:
      0 if all trials have ended or the jobs are submitted, 75 if interrupted (resumable), 1 if no trial completed.
    Raises:
      ConfigError: before anything is started.
    """
    search = compose(overrides, Path.cwd())
    config = search.base
    planned = plan([Composed(resolve_paths(one), {}) for one in space.check(search.space, overrides)])
    check_fit(planned)
    parallel = config.launcher.max_parallel or 1
    if not use_slurm(config):
        largest = max((one.size for one in planned), key=lambda size: size.replay_bytes)
        check_memory([largest] * parallel, available_bytes())
    if not config.resume and search.path.exists():
        raise ConfigError(f"resume=false: {search.path} is a search already; leave resume=true to continue it")
    if config.plan or config.launcher.dry_run:
        print_search(search)
        return record.EXIT_DONE
    if config.launcher.name == "inline":
        raise ConfigError("launcher=inline: a search needs processes of their own; allowed: local, slurm, auto")
    if use_slurm(config):
        return submit(search)
    study = open_study(search)
    return work(write_manifest(search, parent_run(config, search.path)), study, parallel, here=True)


def submit(search: Search) -> int:
    """Submit `launcher.max_parallel` jobs that share the search."""
    open_study(search)
    search = write_manifest(search, parent_run(search.base, search.path))
    command = [sys.executable, "-m", "sweeps.search", search.id, "--runs", str(search.path.parents[1]), "--job"]
    array = slurm.submit_workers(search.base.launcher, search.folder, search.id, command)
    print(f"search {search.id}: submitted {search.base.launcher.max_parallel or 1} jobs as job array {array}")
    print(f"watch:  python -m sweeps.search {search.id} --show")
    print(f"cancel: scancel {array}")
    return record.EXIT_DONE


def work(search: Search, study: optuna.Study, parallel: int, here: bool) -> int:
    """Work on a study until it is over; `here` is a terminal's command, which waits for other workers' trials."""
    worker = Worker(search, study, parallel, new_session=here)
    if worker.run(wait=here):
        return finish(search, study)
    if not worker.pool.stopping:
        print("no trial is left to begin; other workers look after the last ones", file=sys.stderr)
        return record.EXIT_DONE
    print("interrupted; the same command continues", file=sys.stderr)
    return record.EXIT_INTERRUPTED


def finish(search: Search, study: optuna.Study) -> int:
    """Show the result, draw Optuna's plots, and close the MLflow parent; the exit status."""
    console().print(table(search, study), highlight=False)
    plots = draw(study, search.folder / "plots")
    send_parent(search, study, plots)
    print(f"plots: {plots}")
    best = best_trial(study)
    if best is None:
        reasons = [trial.user_attrs.get("reason", "") for trial in study.get_trials(deepcopy=False)]
        print(f"no trial completed; the last failed: {reasons[-1]}", file=sys.stderr)
        return record.EXIT_FAILED
    print(f"best: trial {best.number}, score {best.value:.3f}; its run again, or with a larger budget or other seeds:")
    print(best_command(search, best))
    return record.EXIT_DONE


def best_trial(study: optuna.Study) -> optuna.trial.FrozenTrial | None:
    import optuna

    complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    return max(complete, key=lambda trial: trial.value, default=None)  # type: ignore[arg-type,return-value]


def best_command(search: Search, best: optuna.trial.FrozenTrial) -> str:
    kept = [text for text in search.overrides if not text.lstrip("+").startswith(("sweep=", "sweep.", "launcher"))]
    return shlex.join(["python", "-m", "agents.run", *kept, *space.overrides_of(best.params)])


def draw(study: optuna.Study, folder: Path) -> Path:
    """Optuna's own plots as PNG files; those for which there are too few trials are left out."""
    import warnings

    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    import optuna
    from optuna.visualization import matplotlib as plots

    folder.mkdir(parents=True, exist_ok=True)
    complete = len(study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE]))
    drawings = {
        "history": (plots.plot_optimization_history, 1),
        "importance": (plots.plot_param_importances, 2),
        "slice": (plots.plot_slice, 1),
        "intermediate": (plots.plot_intermediate_values, 1),
    }
    for name, (plot, least) in drawings.items():
        if complete >= least:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna marks these plots as experimental
                axes = plot(study)
            figure = np.ravel(axes)[0].figure
            figure.savefig(folder / f"{name}.png", dpi=120, bbox_inches="tight")
            plt.close(figure)
    return folder


def send_parent(search: Search, study: optuna.Study, plots: Path) -> None:
    """Trials' scores, the best values and the plots for the search's MLflow run; a warning where MLflow is away."""
    uri, parent = search.base.tracking.uri, search.base.tracking.parent_run
    if not search.base.tracking.on or uri is None or parent is None:
        return
    from agents import tracking

    scores = [
        (trial.number, trial.value, int(trial.datetime_complete.timestamp() * 1000))
        for trial in study.get_trials(deepcopy=False)
        if trial.value is not None and trial.datetime_complete is not None
    ]
    best = best_trial(study)
    tags = {"trials": str(len(study.get_trials(deepcopy=False)))}
    if best is not None:
        tags |= {
            "best.trial": str(best.number),
            "best.score": f"{best.value:.4f}",
            "best.command": best_command(search, best),
        }
    try:
        tracking.send_parent(uri, parent, "trial/score", scores, tags, plots)
        tracking.close_parent(uri, parent, failed=best is None)
    except Exception as error:
        print(f"warning: MLflow run {parent} of the search lacks its result at {uri}: {error}", file=sys.stderr)


def state_name(trial: optuna.trial.FrozenTrial) -> str:
    return {"COMPLETE": "complete", "FAIL": "failed", "WAITING": "waiting"}.get(
        trial.state.name, trial.state.name.lower()
    )


def score_of(trial: optuna.trial.FrozenTrial) -> float | None:
    """The value of a trial that ended, or the latest evaluation's of one that did not."""
    if trial.value is not None:
        return trial.value
    return trial.intermediate_values[trial.last_step] if trial.last_step is not None else None


def table(search: Search, study: optuna.Study) -> Table:
    """Trial, values, score, state; the newest where there are many, and the best in any case."""
    trials = study.get_trials(deepcopy=False)
    best = best_trial(study)
    shown = Table(title=f"search {search.id}: {len(trials)} of {search.base.sweep.search.trials} trials begun")
    for column in ("trial", *(key.rpartition(".")[2] for key in search.space), "steps", "score", "state"):
        shown.add_column(column, justify="left" if column == "state" else "right")
    for trial in trials:
        is_best = best is not None and trial.number == best.number
        if trial.number < len(trials) - MAX_ROWS and not is_best:
            continue
        score, name = score_of(trial), state_name(trial)
        values = [trial.params.get(key) for key in search.space]
        shown.add_row(
            str(trial.number),
            *(f"{value:.4g}" if isinstance(value, float) else show(value) for value in values),
            "-" if trial.last_step is None else f"{trial.last_step:,}",
            "-" if score is None else f"{score:.3f}",
            f"[{COLOURS.get(name, 'default')}]{name}{' (best)' if is_best else ''}[/]",
        )
    return shown


class View:
    """The live table on a terminal; elsewhere a line when a trial begins and when it ends."""

    def __init__(self, worker: Worker):
        self._worker = worker
        self._screen = console()
        self._live = Live(console=self._screen, auto_refresh=False, transient=True)
        self._said: dict[int, str] = {}

    def __enter__(self) -> View:
        if self._screen.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._screen.is_terminal:
            self._live.stop()

    def show(self) -> bool:
        """Show where the trials stand; whether all have ended."""
        study, search = self._worker.study, self._worker.search
        trials = study.get_trials(deepcopy=False)
        if self._screen.is_terminal:
            self._live.update(table(search, study), refresh=True)
        else:
            for trial in trials:
                name = state_name(trial)
                if self._said.get(trial.number) != name:
                    self._said[trial.number] = name
                    score = score_of(trial)
                    text = f", score {score:.3f} at {trial.last_step:,} steps" if score is not None else ""
                    values = " ".join(space.overrides_of(trial.params))
                    print(f"trial {trial.number} {name}{text}: {values}", file=sys.stderr, flush=True)
        return len(trials) >= search.base.sweep.search.trials and all(one.state.is_finished() for one in trials)


def print_search(search: Search) -> None:
    """The space and the settings, on standard output."""
    settings = search.base.sweep.search
    shown = Table(title=f"search {search.id}")
    shown.add_column("key")
    shown.add_column("values")
    for key, axis in search.space.items():
        shown.add_row(key, str(axis))
    console().print(shown)
    known = len(manifest.read(search.path).members) if search.path.exists() else 0
    print(
        f"{settings.trials} trials of {search.base.train.env_steps:,} steps, {known} begun already; "
        f"sampler {settings.sampler}, pruner {settings.pruner}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sweeps.search", description="Works on a search that a command has begun, beside other workers."
    )
    parser.add_argument("study", metavar="STUDY", help="the search's id, or the id's beginning or end")
    manifest.add_runs(parser)
    parser.add_argument("--show", action="store_true", help="print the trials so far and the best, and stop")
    parser.add_argument("--job", metavar="INDEX", help="be a SLURM job: do not wait for other workers' last trials")
    parsed = parser.parse_args(arguments)
    try:
        sweep = manifest.find(parsed.runs, parsed.study)
        search = with_parent(load(sweep.path), sweep.parents)
        study = open_study(search)
        if parsed.show:
            console().print(table(search, study), highlight=False)
            best = best_trial(study)
            if best is not None:
                print(best_command(search, best))
            return record.EXIT_DONE
        launcher = search.base.launcher
        parallel = launcher.runs_per_gpu if parsed.job else launcher.max_parallel or 1
        return work(search, study, parallel, here=parsed.job is None)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return record.EXIT_BAD_CONFIG


if __name__ == "__main__":
    sys.exit(main())
