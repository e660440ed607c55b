"""What a run will leave on disk: its record, its checkpoints and its replay, roughly."""

from __future__ import annotations

from agents.sizes import FLOAT_BYTES, RunSize
from conf.schema import RunConfig
from sweeps.usage import Space

RECORD_FILES = 14
"""The files beside metrics' and timing's rows, a sweep's and a mirror's included."""
REPORT = Space(21, 500_000)
"""The run's own page, figures and tables."""
CRITIC_COPIES, ACTOR_COPIES = 4, 3
"""Arrays of a checkpoint for each parameter: itself, two Adam moments, and a critic's target."""
CHECKPOINTS = 2
"""The newest ones, beside those that are kept for good."""
LOG_ROWS, TASK_ROWS, EVAL_ROWS = 30, 3, 3
"""Rows of a moment at which the learner is recorded, of a task then, and of a task's evaluation."""
ROW_BYTES = 90


def record_space(config: RunConfig, size: RunSize, seconds: float) -> Space:
    """Return about how many files and bytes a finished run leaves, without films.

    Args:
      config: the run's configuration.
      size: the run's size.
      seconds: how long the run takes, which says how many checkpoints come between evaluations.
    """
    budget, keep, tasks = config.train.env_steps, config.checkpoint, len(config.benchmark.task_ids)
    kept = len({step for step in keep.keep if step <= budget}) + (budget // keep.keep_every if keep.keep_every else 0)
    checkpoints = CHECKPOINTS + kept
    state = FLOAT_BYTES * (CRITIC_COPIES * size.critic_params + ACTOR_COPIES * size.actor_params)
    evaluations = budget // config.eval.every_steps + 2
    capacity = min(budget, config.train.replay_capacity)
    apart = min(config.eval.every_steps, budget * 60 * keep.every_min / max(seconds, 1.0))  # steps between checkpoints
    held = min(budget, capacity * (1 + kept) + min(capacity, apart))  # steps whose transitions some checkpoint has
    replay = (size.replay_bytes + size.replay_file_bytes) * held / capacity
    segments = max(CHECKPOINTS, held / apart)
    rows = budget // config.train.log_every_steps * (LOG_ROWS + TASK_ROWS * tasks) + evaluations * EVAL_ROWS * tasks
    record = Space(RECORD_FILES + 2, ROW_BYTES * rows)
    drawn = REPORT if config.report else Space()
    return record + drawn + Space(2 * checkpoints + round(segments), checkpoints * state + round(replay))
