"""Runs' directories as training leaves them, without the training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from agents.sizes import run_size
from conf import identity
from conf.compose import compose, resolve_paths
from envs import registry
from records.layout import RunOutcome
from records.metrics import EVAL_NAMES, EVAL_SCORE, eval_name
from records.rows import Row
from records.run_record import RunRecord, write_config, write_manifest, write_status
from tests.commands import TINY


def fabricated_run(folder: Path, *overrides: str, steps: int) -> Path:
    """Write the directory of a run that has trained for so many steps, with three rows a step and an evaluation.

    Args:
      folder: the folder of runs.
      overrides: the run's configuration beside `TINY`; a sweep of such runs is drawn.
      steps: environment steps. The evaluation's score follows from the seed: `seed / 10 + 0.1`.
    """
    config = resolve_paths(
        compose([*TINY, "report=true", *overrides, f"paths.runs={folder}", f"train.env_steps={steps}"])
    )
    specs = registry.specs(config.benchmark.task_ids, config.env)
    run_dir = identity.run_dir(config)
    run_dir.mkdir(parents=True)
    write_config(run_dir, config)
    tasks = [dataclasses.asdict(spec) for spec in specs]
    write_manifest(run_dir, config, tasks, vars(run_size(config, specs)), "1 x cpu", "flock", {})
    written = RunRecord(run_dir)
    for step in range(1, steps + 1):
        written.metrics.append([Row(step, step, "critic/loss", None, config.seed + step / 7)])
        written.metrics.append([Row(step, step, "train/return", spec.id, -step / 3) for spec in specs])
        written.timing.append([Row(step, step, "rate/env_steps_per_s", None, step * 1.1)])
    score = config.seed / 10 + 0.1
    rows = []
    for spec in specs:
        assert spec.norm_low is not None
        assert spec.norm_high is not None
        raw = spec.norm_low + score * (spec.norm_high - spec.norm_low)
        values = dict.fromkeys(EVAL_NAMES, 0.0) | {eval_name(spec.score_metric): raw, EVAL_SCORE: score}
        rows += [Row(steps, steps, name, spec.id, value) for name, value in values.items()]
    written.metrics.append([*rows, Row(steps, steps, EVAL_SCORE, None, score)])
    written.durable(written.positions())
    written.done(steps, score, rows)
    write_status(run_dir, RunOutcome.DONE)
    written.close()
    return run_dir
