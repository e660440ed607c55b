"""What one GPU gives, in one table and at most eight minutes: `python -m perf.gpu`; `--tiny` shows it on a CPU.

Updates at several widths and precisions, beside a naive loop, with the share of the speed of plain products and with
the memory that was planned; seeds that learn together; whole runs. Each part has a process of its own, since a process
keeps the memory of its GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from records import layout
from records import metrics as names

HOUR_S, GIB = 3600, 2**30
PRECISIONS = {"float32": ("float32", "highest"), "tf32": ("float32", "tensorfloat32"), "bf16": ("bfloat16", "default")}
"""Name -> the type of a product's factors (`agent.precision`), and how JAX is to multiply them."""
Row = tuple[str, str, str, str]
"""What was measured, of what, the value, and what the value is to be seen beside."""


@dataclass(frozen=True)
class Scale:
    """How large everything is: as on a data-centre GPU, or so small that a CPU is done in seconds."""

    widths: tuple[int, ...]
    product: int
    seconds: float
    """How long a timing takes at least."""
    together: tuple[int, ...]
    together_width: int
    updates: tuple[str, ...]
    """The overrides of what is updated."""
    loops: tuple[tuple[str, ...], ...]
    """The overrides of each whole run."""


LOOP = ["train.env_steps=400", "train.random_steps=100", "train.log_every_steps=100"]
TINY_LOOP = ["benchmark.max_tasks=2", "train.env_steps=60", "train.random_steps=20", "train.log_every_steps=20"]
TINY_LOOP += ["model.width=16", "model.depth=1", "model.actor_width=16", "agent.batch_size=32"]
QUICK_EVALUATION = ["eval.every_steps=1000000", "eval.episodes=1", "eval.max_episode_steps=1", "tracking=off"]
FULL = Scale(
    widths=(512, 1024, 2048, 4096, 11264),
    product=8192,
    seconds=1.0,
    together=(1, 4, 8),
    together_width=512,
    updates=("benchmark=metaworld",),
    loops=tuple((f"benchmark={name}", "model=xl", *LOOP) for name in ("metaworld", "dmc_dogs")),
)
TINY = Scale(
    widths=(8,),
    product=256,
    seconds=0.01,
    together=(1, 2),
    together_width=8,
    updates=(
        "benchmark=metaworld",
        "agent.batch_size=32",
        "model.depth=0",
        "model.actor_width=8",
        "model.actor_depth=0",
    ),
    loops=(("benchmark=quickstart", *TINY_LOOP),),
)


def seconds_of(call: Callable[[], Any], at_least_s: float) -> float:
    """Return the seconds of a call that is dispatched again and again, after one call that compiles."""
    import jax

    jax.block_until_ready(call())
    begun, calls, result = time.perf_counter(), 1, None
    jax.block_until_ready(call())
    calls = max(1, int(at_least_s / max(1e-6, time.perf_counter() - begun)))
    begun = time.perf_counter()
    for _ in range(calls):
        result = call()
    jax.block_until_ready(result)
    return (time.perf_counter() - begun) / calls


def peaks(scale: Scale) -> dict[str, float]:
    """Return the operations per second of a plain square product, by precision."""
    import jax
    import jax.numpy as jnp

    found = {}
    for name, (kind, precision) in PRECISIONS.items():
        one = jnp.ones((scale.product, scale.product), kind)
        product = jax.jit(partial(jnp.matmul, precision=precision))
        found[name] = 2 * scale.product**3 / seconds_of(partial(product, one, one), scale.seconds)
    return found


def updates(scale: Scale) -> Iterator[Row]:
    """Yield a row for each precision's products, and for the update of each width in each precision."""
    import jax

    from agents.sizes import run_size
    from perf.setting import Setting

    device, peak = jax.devices()[0], peaks(scale)
    for name, speed in peak.items():
        yield "product", f"{scale.product:,} {name}", f"{speed / 1e12:.3g} TFLOP/s", device.device_kind
    for width in scale.widths:  # upwards, as memory is counted by its peak
        setting = Setting.of([*scale.updates, f"model.width={width}"])
        size = run_size(setting.config, setting.specs)
        try:
            for name, seconds, how in at_width(setting, scale.seconds):
                speed = size.update_flops / seconds
                beside = f"{speed / 1e12:.3g} TFLOP/s, {speed / peak[name]:.0%} of the product's{how}"
                if name == "float32" and not how and (stats := device.memory_stats()):
                    beside += f"; {stats['peak_bytes_in_use'] / GIB:.1f} GiB, planned {size.device_bytes / GIB:.1f}"
                yield "update", f"width {width} {name}", f"{seconds * 1e3:.2f} ms", beside
        except jax.errors.JaxRuntimeError as error:
            yield "update", f"width {width}", "does not fit", str(error).partition("\n")[0][:60]


def at_width(setting: Any, at_least_s: float) -> Iterator[tuple[str, float, str]]:
    """Yield each precision, its seconds an update, and what a naive loop takes in comparison where that is measured.

    The naive loop calls for each update by itself, keeps the old state until the new one is there, and reads
    the metrics.
    """
    import jax

    learner, scale = setting.learner, setting.return_scale()
    state, batches = setting.state(), setting.batches()
    count = len(batches.reward)
    single = [jax.tree.map(lambda leaf, at=at: leaf[at : at + 1], batches) for at in range(count)]
    plain = jax.jit(learner.update.__wrapped__, static_argnums=0)

    def together(settings: Any) -> Any:
        nonlocal state
        state, metrics = learner.update(settings, state, batches, scale)
        return metrics

    def naive() -> Any:
        nonlocal state
        for one in single:
            state, metrics = plain(setting.settings, state, one, scale)
            jax.device_get(metrics)
        return state

    for name, (kind, precision) in PRECISIONS.items():
        with jax.default_matmul_precision(precision):
            settings = dataclasses.replace(setting.settings, precision=kind)
            yield name, seconds_of(partial(together, settings), at_least_s) / count, ""
    with jax.default_matmul_precision(PRECISIONS["float32"][1]):
        yield "float32", seconds_of(naive, at_least_s) / count, ", naive"


def seeds(scale: Scale) -> Iterator[Row]:
    """Yield a row for each number of seeds that learn together."""
    import jax

    from agents.training.team import Lesson, Team
    from perf.setting import Setting

    setting = Setting.of([*scale.updates, f"model.width={scale.together_width}"])
    lesson, alone = Lesson(setting.batches(), setting.return_scale()), 0.0
    for count in scale.together:
        team = Team(setting.learner, setting.settings, count)
        lessons = {team.join(setting.state()): lesson for _ in range(count)}

        def learn(team: Team = team, lessons: Any = lessons) -> Any:
            team.learn(lessons)
            return [seat.metrics for seat in lessons]

        seconds = seconds_of(learn, scale.seconds) / len(lesson.batch.obs)
        alone = alone or seconds
        gain = f"{alone * count / seconds:.2f} times as fast as one after another"
        yield "seeds", f"{count} at width {scale.together_width}", f"{seconds * 1e3:.2f} ms", gain
    jax.clear_caches()


def loops(scale: Scale) -> Iterator[Row]:
    """Yield a row for each whole run, by the command that people give."""
    from conf.compose import compose

    for overrides in scale.loops:
        config = compose(list(overrides))
        budget = compose([overrides[0]]).train.env_steps
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "agents.run", *overrides, *QUICK_EVALUATION, f"paths.runs={folder}"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            (timing,) = Path(folder).glob(f"*/*/{layout.TIMING}")
            rows = [json.loads(line) for line in timing.read_text().splitlines()]
        rate = [row["value"] for row in rows if row["name"] == names.ENV_STEPS_PER_S][-1]
        what = f"{config.benchmark.name} width {config.model.width}"
        hours = f"{budget / rate / HOUR_S:.1f} h for {budget:,} steps, without evaluation"
        yield "run", what, f"{rate:.1f} env steps/s", hours


PARTS = {"updates": updates, "seeds": seeds, "loops": loops}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="sizes for a CPU, which show that everything works")
    parser.add_argument("--part", choices=PARTS, help="one part alone")
    arguments = parser.parse_args()
    scale = TINY if arguments.tiny else FULL
    if arguments.part is not None:
        for row in PARTS[arguments.part](scale):
            show(row)
        return
    begun = time.monotonic()
    for part in PARTS:
        command = [sys.executable, "-m", "perf.gpu", "--part", part, *(["--tiny"] if arguments.tiny else [])]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    show(("all", "", f"{time.monotonic() - begun:.0f} s", ""))


def show(row: Sequence[str]) -> None:
    """Print a row of the table."""
    print("  ".join(text.ljust(width) for text, width in zip(row, (8, 24, 18, 0), strict=True)).rstrip(), flush=True)


if __name__ == "__main__":
    main()
