"""Times the learner's update: `python perf/update.py --precision bfloat16`.

Prints for each size the milliseconds an update takes, the rate of its products and their share of the rate that one
large product reaches in the same process and precision, beside a naive update in float32: layers and gradients as Flax
has them, one-hot projection, one dispatch an update. The two take turns, so that the median of their ratios is fair
whatever else the machine does; milliseconds are the least of all turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from unittest.mock import patch

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from agents.learner import brc, layers, losses, networks
from agents.learner.types import Batch, settings_of
from agents.sizes import run_size
from conf.compose import compose
from conf.schema import RunConfig
from envs.spec import TaskSpec

OBS, ACTION = 24, 6
PEAK_SIZE, PEAK_REPEATS = 2048, 5
TURN_S = 0.1
"""How long a turn takes at least."""
SIZES = ("64/128/3", "256/256/1", "320/1024/50")
LONGEST = 15
"""Operations of a trace that are printed."""


class FlaxDense(nn.Module):
    """Flax's own dense layer in the place of `agents.learner.layers.Dense`, whatever the precision."""

    features: int
    precision: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.zeros, (x.shape[-1], self.features))
        return x @ kernel + self.param("bias", nn.initializers.zeros, (self.features,))


@dataclass(frozen=True, kw_only=True)
class NaiveSettings(brc.Settings):
    """Settings of the naive update, which are another class so that the update is compiled by itself."""


@dataclass(frozen=True)
class Case:
    """One size that is timed.

    Attributes:
      width: of critic and actor.
      batch: transitions in an update.
      tasks: how many there are.
      updates: in one call.
    """

    width: int
    batch: int
    tasks: int
    updates: int

    @cached_property
    def specs(self) -> list[TaskSpec]:
        """The tasks."""
        made = lambda n: TaskSpec(f"timed/{n}", (OBS,), ACTION, 1000, "return", 0.0, 1000.0, None, "made up")  # noqa: E731
        return [made(number) for number in range(self.tasks)]

    def config(self, precision: str) -> RunConfig:
        """Return the configuration of a run of this size."""
        tasks = ",".join(spec.id for spec in self.specs)
        sizes = [f"model.width={self.width}", f"model.actor_width={self.width}", f"agent.batch_size={self.batch}"]
        return compose([f"benchmark.available=[{tasks}]", *sizes, f"agent.precision={precision}"])

    def batches(self) -> Batch:
        """Return random batches `[U, B, ...]`."""
        rng, shape = np.random.default_rng(0), (self.updates, self.batch)
        normal = lambda *tail: rng.normal(size=(*shape, *tail)).astype(np.float32)  # noqa: E731
        return Batch(
            obs=normal(OBS),
            action=np.tanh(normal(ACTION)),
            reward=normal(),
            next_obs=normal(OBS),
            discount=np.full(shape, 0.99, np.float32),
            task_ids=rng.integers(self.tasks, size=shape).astype(np.int32),
        )


class Timed:
    """Updates of one kind, whose state goes on from call to call.

    Args:
      settings: of the learner.
      calls: batches `[U, B, ...]` of the calls that belong together.
    """

    def __init__(self, settings: brc.Settings, calls: list[Batch]):
        self.settings, self.calls = settings, calls
        self.state = brc.init(settings, jax.random.key(0))
        self.scale = np.ones(settings.num_tasks, np.float32)
        self.updates = sum(len(batches.reward) for batches in calls)
        self()  # compiles

    def __call__(self) -> None:
        metrics = {}
        for batches in self.calls:
            self.state, metrics = brc.update(self.settings, self.state, batches, self.scale)
        jax.block_until_ready((self.state, metrics))

    def milliseconds(self) -> float:
        """Return what an update takes, over a turn."""
        begun, rounds = time.perf_counter(), 0
        while time.perf_counter() - begun < TURN_S:
            self()
            rounds += 1
        return (time.perf_counter() - begun) / rounds / self.updates * 1e3


def naive(config: RunConfig, specs: list[TaskSpec], together: Batch) -> Timed:
    """Return the naive update: Flax's layers, one-hot projection, one dispatch an update.

    Args:
      config: of the run; its precision is of no effect.
      specs: the tasks.
      together: `[U, B, ...]`.
    """
    single = [jax.tree.map(lambda values, n=n: values[n : n + 1], together) for n in range(len(together.reward))]
    with (
        patch.object(networks, "Dense", FlaxDense),
        patch.object(networks, "LayerNorm", nn.LayerNorm),
        patch.object(losses, "spread_by_scatter", losses.spread_by_sum),
    ):
        return Timed(settings_of(NaiveSettings, config, specs), single)


def peak_flops(precision: str) -> float:
    """Return the floating-point operations a second of one large product in this precision."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(PEAK_SIZE, PEAK_SIZE)), jnp.float32)
    product: Callable[..., jax.Array] = jax.jit(layers.bfloat16_product if precision == "bfloat16" else jnp.matmul)
    jax.block_until_ready(product(x, x))
    seconds = []
    for _ in range(PEAK_REPEATS):
        begun = time.perf_counter()
        jax.block_until_ready(product(x, x))
        seconds.append(time.perf_counter() - begun)
    return 2 * PEAK_SIZE**3 / min(seconds)


def trace(ours: Timed, folder: Path) -> None:
    """Write a profile of one call, which TensorBoard or Perfetto shows, and print the operations that took longest."""
    with jax.profiler.trace(str(folder)):
        ours()
    newest = max(folder.rglob("*.xplane.pb"), key=lambda file: file.stat().st_mtime)
    spent: Counter[str] = Counter()
    for plane in jax.profiler.ProfileData.from_file(str(newest)).planes:
        for line in plane.lines:
            for event in line.events:
                if event.name[:1].islower() and not event.name.startswith("end: "):  # functions of Python begin with $
                    spent[event.name] += event.duration_ns
    for name, nanoseconds in spent.most_common(LONGEST):
        print(f"    {nanoseconds / ours.updates / 1e3:9.1f} us an update  {name}")


def main() -> None:
    """Time every size that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="WIDTH/BATCH/TASKS")
    parser.add_argument("--updates", type=int, default=2, help="updates in a call")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--turns", type=int, default=15, help="turns of each way")
    parser.add_argument("--trace", type=Path, metavar="FOLDER", help="write a profile of one call of each size here")
    arguments = parser.parse_args()
    peak = peak_flops(arguments.precision)
    device = f"{len(jax.devices())} x {jax.devices()[0].device_kind}"
    print(f"{device}, {arguments.precision}: a large product at {peak / 1e9:.0f} GFLOP/s")
    for text in arguments.sizes:
        try:
            width, batch, tasks = map(int, text.split("/"))
        except ValueError:
            parser.error(f"--sizes {text}: must be three whole numbers, such as {SIZES[0]}")
        case = Case(width, batch, tasks, arguments.updates)
        config, together = case.config(arguments.precision), case.batches()
        ours = Timed(brc.settings(config, case.specs), [together])
        plain = naive(config, case.specs, together)
        turns = [(plain.milliseconds(), ours.milliseconds()) for _ in range(arguments.turns)]
        plain_ms, ours_ms = (min(times) for times in zip(*turns, strict=True))
        ratio = statistics.median(one / other for one, other in turns)
        rate = run_size(config, case.specs).update_flops / ours_ms * 1e3
        print(
            f"{text:12s} {ours_ms:8.2f} ms an update  {rate / 1e9:6.1f} GFLOP/s  {rate / peak:4.0%} of that"
            f"  naive {plain_ms:8.2f} ms  naive / ours {ratio:.2f}",
            flush=True,
        )
        if arguments.trace is not None:
            trace(ours, arguments.trace / text.replace("/", "-"))


if __name__ == "__main__":
    main()
