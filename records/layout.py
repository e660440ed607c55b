"""What a run directory and a folder of sweeps hold, by name, and how a run's process may end."""

from __future__ import annotations

from enum import IntEnum, StrEnum

VERSION = 2
"""The format of a run directory, as its manifest says."""

CONFIG = "config.json"
"""The resolved configuration, of this or the latest start."""
MANIFEST = "manifest.json"
"""What the run is and what it ran on: {version, identity, identity_values, sizes, starts, assets};
of a run that was started from another's checkpoint also {source}, and {transfer} where
the run took over networks."""
TASKS = "tasks.json"
"""{tasks: specifications}: what the run learns, with the constants that normalise its scores."""
METRICS = "metrics.jsonl"
"""Rows {env_steps, update_steps, name, task, value}; only values that repeat exactly."""
TIMING = "timing.jsonl"
"""Rows of the same form: rates and where the time went."""
SYSTEM = "system.jsonl"
"""Rows {sample, time_ms, name, value}: what the machine did meanwhile; only where the run is mirrored."""
STATUS = "status.json"
"""{state: a RunOutcome, ...}; what was last said, not proof of life."""
DONE = "DONE"
"""{env_steps, score, evaluation: rows}: the budget that has been reached, and the evaluation at it."""
LOCK = "lock"
"""Held by the process that writes the directory; see `records.lock`."""
CHECKPOINTS = "checkpoints"
REPLAY = "replay"
"""The folder of replay's segments in CHECKPOINTS."""
NO_REPLAY = "checkpoints/no-replay.json"
"""{time}: when somebody had the replay of the finished run removed, after which the run cannot be continued."""
STATE = "state.npz"
"""A checkpoint's arrays, but for replay: `checkpoints/step-*/state.npz`."""
TASK_EMBEDDING = "task_embedding"
"""Names the array of STATE that holds the tasks' learned embeddings `[T, D]`, where there are any."""
DURABLE = "durable.json"
"""Bytes of METRICS and TIMING that a checkpoint covers."""
TRACKING = "tracking.json"
"""Which MLflow run mirrors this one, and how much of the files it has."""
SWEPT = "sweeps.json"
"""{sweeps: ids}: the sweeps that contain this run, in the order in which they came to it."""
INTERFERENCE = "interference"
"""Measurements of how the tasks' gradients lie to each other, `step-*.npz`; see `records.interference`."""
REPORT = "report"
VIDEOS = "videos"
"""Recorded evaluation episodes (.npz) until they are filmed, and their films, a folder an evaluation."""
LOG = "log.txt"
"""Standard output and error of a run that a sweep launched."""
CRASHES = "crashes.jsonl"
"""Rows {time, reason}: each time that the run's process died or failed, and what of it."""
JOB = "job.json"
"""{submission, index}: which SLURM job the run was given to last; the submission's file knows the job's id."""
STOP = "stop.json"
"""{by, reason}: written into a running run's directory to end it for good; whoever starts the run again removes it."""
BATCH = "nan_batch.npz"
"""The batch of the last update before a value was not finite, and the returns' magnitudes that scaled it."""
REMOTE = "remote.json"
"""Of a run or a sweep that another machine has: which machine that is, and what was brought from there last; see
`records.remote`."""
SWEEPS = "_sweeps"
"""Folder of sweeps beside the benchmarks' folders: a manifest each (.json), and a folder of submissions and logs."""
CODE = "_code"
"""Folder of snapshots beside the benchmarks' folders: the code that queued runs execute, a folder each."""
SNAPSHOT = "snapshot.json"
"""{id, time, git_commit, git_diff_sha256, folder, editable, left_out, files}: what a snapshot holds and came from."""


class ExitCode(IntEnum):
    """What a command's exit status means."""

    DONE = 0
    FAILED = 1
    BAD_CONFIG = 2
    """The configuration or the command line was refused; nothing was started."""
    STOPPED = 3
    """A search had no more use for the run."""
    INTERRUPTED = 75
    """The same command continues."""


class RunOutcome(StrEnum):
    """What a run's status file says of the run."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The run was told to end; the same command continues it."""
    STOPPED = "stopped"
    """A stop file ended the run; the same command would continue it."""
    CRASHED = "crashed"
    """The run's process died; whoever launched the run starts it again."""
