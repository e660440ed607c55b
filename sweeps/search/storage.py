"""Opens Optuna's study of a search, and mends its journal where a machine's end has damaged it.

The runs hold every score, and the search's record holds every trial's values: no journal is worth more than they are.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from conf.typed import ConfigError, show
from records.files import open_file, sync_folder, write_atomic
from records.layout import RunOutcome
from records.lock import GONE_S, Lock, holder_of, try_lock
from records.run_dir import RunDir
from records.sweep import Member, read_sweep
from sweeps.driven import is_stopped
from sweeps.search.judge import prepare, rungs, values_of
from sweeps.search.methods import pruner
from sweeps.search.scores import Scores
from sweeps.search.space import Axis, Interval
from sweeps.search.study import FRESH_SEED, OWN_SEED, Search, state_name
from sweeps.status import inspect

if TYPE_CHECKING:
    import optuna
    from optuna import Study
    from optuna.trial import FrozenTrial

JOURNAL = "study.log"
CONNECT_S = 10
MAX_TRIALS = 10**5
"""As many as `sweep.search.trials` allows."""
PAUSE_S = 0.02
SAY_AFTER_S = 2.0


class JournalLock:
    """The right to write a journal, as Optuna asks for it; a process that is killed gives it back."""

    def __init__(self, journal: Path, say_after_s: float = SAY_AFTER_S):
        self._path = journal.with_name(f"{journal.name}.lock")
        self._say_after_s = say_after_s
        self._held: Lock | None = None

    def acquire(self) -> bool:
        """Wait for the right, and say what is waited for where that takes long."""
        begun, said = time.monotonic(), False
        while (held := try_lock(self._path)) is None:
            if not said and time.monotonic() - begun > self._say_after_s:
                said = True
                holder = holder_of(self._path) or "another process"
                print(
                    f"waiting for {self._path}, which {holder} holds; if that process was killed on another machine, "
                    f"its lock is taken over {GONE_S:g} s after its last sign of life",
                    file=sys.stderr,
                    flush=True,
                )
            time.sleep(PAUSE_S)
        self._held = held
        return True

    def release(self) -> None:
        """Give the right back."""
        if self._held is not None:
            self._held.release()
            self._held = None


def open_study(search: Search) -> Study:
    """Optuna's study, made on first use.

    Raises:
      ConfigError: the storage cannot be opened, or a damaged journal is written by other processes.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search.folder.mkdir(parents=True, exist_ok=True)
    url = search.base.sweep.search.storage
    try:
        with search.locked():  # two that make the tables of one database at once would break it
            if url is None:
                mend(search)
            study = optuna.create_study(
                study_name=search.id,
                storage=storage(url, search.folder),
                pruner=pruner(search.base),
                direction="maximize",
                load_if_exists=True,
            )
            prepare(study)
            if url is None and not study.get_trials(deepcopy=False):
                rebuild(search, study)
            return study
    except ConfigError:
        raise
    except Exception as error:
        lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"sweep.search.storage={show(url)}: cannot be opened: {lines[0]}") from None


def storage(url: str | None, folder: Path) -> optuna.storages.BaseStorage:
    """The storage that an address names; without an address, the journal in the search's folder."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    if url is None:
        path = folder / JOURNAL
        return optuna.storages.JournalStorage(JournalFileBackend(str(path), JournalLock(path)))  # type: ignore[arg-type]
    # PostgreSQL without a driver's name would mean one that we do not install.
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", url)
    arguments: dict[str, Any] = {"timeout": 60} if url.startswith("sqlite") else {"connect_timeout": CONNECT_S}
    return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": arguments, "pool_pre_ping": True})


def mend(search: Search) -> None:
    """Cut a journal's last line where that was not written to its end; set a journal aside that is damaged before.

    Raises:
      ConfigError: the journal is damaged, and other processes work on the search.
    """
    path = search.folder / JOURNAL
    if not path.exists():
        return
    lock = JournalLock(path)
    lock.acquire()
    try:
        with open_file(path) as file:
            data = file.read()
        number, reason = first_damage(data)
        if number is None:
            return
        lines = io.BytesIO(data).readlines()
        if number == len(lines):
            kept = keep(path)
            write_atomic(path, b"".join(lines[:-1]).decode())
            warn(f"{path}: line {number}, the last one, is incomplete and was cut; the file as it was: {kept.name}")
            return
        busy = [one for one in search.folder.glob("trial-*.lock") if holder_of(one) is not None]
        if busy:
            raise ConfigError(
                f"{path}: line {number} is damaged ({reason}), and {holder_of(busy[0])} works on the search; stop it "
                f"first (python -m sweeps.cancel {search.id}), then repeat the command, which builds the study again"
            )
        kept = keep(path)
        path.unlink()
        warn(
            f"{path}: line {number} is damaged ({reason}); the study is built again from the runs; "
            f"the file as it was: {kept.name}"
        )
    finally:
        lock.release()


def warn(text: str) -> None:
    """Say on standard error what was found."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def keep(path: Path) -> Path:
    """A copy of a damaged file beside it, which nobody overwrites."""
    kept = next(one for n in range(1, 10**6) if not (one := path.with_name(f"{path.name}.damaged-{n}")).exists())
    shutil.copyfile(path, kept)
    sync_folder(path.parent)
    return kept


def first_damage(data: bytes) -> tuple[int | None, str]:
    """The number of a journal's first line, from 1, that Optuna could not use, and why; None where there is none."""
    operations = []
    for number, line in enumerate(io.BytesIO(data), 1):
        try:
            operations.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            return number, str(error)
        if not line.endswith(b"\n"):
            return number, "no line's end"
    return first_refused(operations)


def first_refused(operations: list[Any]) -> tuple[int | None, str]:
    """The number of the first operation, counted from 1, at which Optuna fails, and why; None where there is none."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import BaseJournalBackend

    at = 0

    class Replayed(BaseJournalBackend):
        def read_logs(self, log_number_from: int) -> Iterator[Any]:
            nonlocal at
            for operation in operations[log_number_from:]:
                at += 1
                yield operation

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            raise NotImplementedError

    try:
        JournalStorage(Replayed())
    except Exception as error:
        return at, f"{type(error).__name__}: {error}".partition("\n")[0]
    return None, ""


def rebuild(search: Search, study: Study) -> None:
    """Add to an empty study the trials that the search's record lists, as their runs stand; say how many, if any."""
    members = read_sweep(search.path).members if search.path.exists() else []
    by_number: dict[int, list[Member]] = defaultdict(list)
    try:
        for member in members:
            if FRESH_SEED not in member.varied:
                by_number[trial_number(member)].append(member)
        trials = [known_trial(search, study, n, by_number.get(n, [])) for n in range(max(by_number, default=-1) + 1)]
    except ValueError as error:
        reason = f"{search.path}: a trial's values cannot be read ({error})"
        raise ConfigError(f"{reason}; put the file back as it was, or move it away to begin the search anew") from None
    for trial in trials:
        study.add_trial(trial)
    if trials:
        found = Counter(map(state_name, trials))
        text = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
        warn(f"{search.id}: {len(trials)} trials are known from their runs: {text}")


def trial_number(member: Member) -> int:
    """The number of the trial that an entry of a search's record is about; raises ValueError where it has none."""
    text = member.varied.get("trial", "")
    if not text.isdecimal() or int(text) >= MAX_TRIALS:
        raise ValueError(f"trial={text}: must be a number below {MAX_TRIALS}")
    return int(text)


def known_trial(search: Search, study: Study, number: int, members: Sequence[Member]) -> FrozenTrial:
    """A trial as its runs' records have it; one that has no runs has failed, and one that has not ended goes on.

    Args:
      search: the search.
      study: Optuna's study, without trials yet.
      number: the trial's.
      members: the trial's runs in the search's record.
    """
    from optuna.trial import TrialState, create_trial

    if not members:
        return create_trial(state=TrialState.FAIL, user_attrs={"reason": "not in the search's record"})
    texts = {key: text for key, text in members[0].varied.items() if key in search.space}
    scores = [Scores(member.run_dir) for member in members]
    reported = values_of(search, scores)
    states = [inspect(member.run_dir, member.env_steps, {}) for member in members]
    failed = [
        f"seed {member.varied[OWN_SEED]}: {state.reason}" if len(members) > 1 else state.reason
        for member, state in zip(members, states, strict=True)
        if state.name == "failed" and (status := RunDir(member.run_dir).status()) and status.state == RunOutcome.FAILED
    ]
    attributes: dict[str, Any] = {}
    value = None
    if failed:
        outcome, attributes = TrialState.FAIL, {"reason": failed[0]}
    elif all(state.name == "done" for state in states):
        outcome, value = TrialState.COMPLETE, fmean(one.final(members[0].env_steps) for one in scores)
    elif any(is_stopped(member.run_dir, search.id) for member in members):
        outcome, value = TrialState.PRUNED, reported[max(reported)] if reported else None
    else:
        outcome = TrialState.RUNNING
    return create_trial(
        state=outcome,
        value=value,
        params={key: value_of(search.space[key], text) for key, text in texts.items()},
        distributions={key: distribution(search.space[key]) for key in texts},
        intermediate_values=reported,
        user_attrs=attributes,
        system_attrs=rungs(study, search.base, number, reported),
    )


def value_of(axis: Axis, text: str) -> Any:
    """The value of an axis that the record shows as `text`."""
    if isinstance(axis, Interval):
        return int(text) if axis.integer else float(text)
    found = [value for value in axis.values if show(value) == text]
    if not found:
        raise ValueError(f"{text} is no value of the space")
    return found[0]


def distribution(axis: Axis) -> optuna.distributions.BaseDistribution:
    """What Optuna draws a value of an axis from."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(axis, Interval):
        return CategoricalDistribution(axis.values)
    if axis.integer:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=int(axis.step or 1))
    return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)
