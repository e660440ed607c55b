"""Weighs a run's parts beside the plan: one full replay, two updates, a checkpoint, and its restoring in a new process.

    python -m perf.memory benchmark=metaworld model=m train.replay_capacity=100000 train.env_steps=100000
    python -m perf.memory benchmark=dmc_dogs model=xxl agent.batch_size=8 train.replay_capacity=5000

Environments are left out: they have processes of their own. The plan and what the compiler says of an update come
first, and nothing begins where less memory is available than the plan needs. Should the machine run out of memory all
the same, this process is the first to go.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from agents.learner import sharding
from agents.memory import available_bytes
from agents.sizes import ACTOR_COPIES, CRITIC_COPIES, DEVICE_OVERHEAD_BYTES, FLOAT_BYTES, RunSize, run_size
from agents.training.checkpoint import StoredArrays, write_arrays
from agents.training.state import from_arrays, to_arrays
from conf.typed import ConfigError
from perf.setting import Setting

GIB = 2**30
STATE = "state.npz"


def parts(size: RunSize) -> dict[str, int]:
    """Return what each part of a run takes by the plan, in bytes, for a run on one device."""
    critic, actor = (FLOAT_BYTES * params for params in (size.critic_params, size.actor_params))
    learner = CRITIC_COPIES * critic + ACTOR_COPIES * actor
    return {
        "parameters": critic + actor,
        "target": critic,
        "Adam's moments": 2 * (critic + actor),
        "gradients": critic + actor,
        "activations": size.device_bytes - learner - DEVICE_OVERHEAD_BYTES,
        "program": DEVICE_OVERHEAD_BYTES,
        "replay": size.replay_bytes,
    }


def held_bytes(line: str = "VmHWM") -> int:
    """Return the most memory that this process has held since it began, as Linux says; with VmRSS, what it holds now.

    (`getrusage` counts what the process was before it became this program, too.)
    """
    (found,) = re.findall(rf"^{line}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found) * 1024


def trained(setting: Setting, folder: Path) -> dict[str, float]:
    """Fill replay, do two calls of updates and write a checkpoint; return what that took."""
    imported = held_bytes("VmRSS")
    replay, state = setting.full_replay(), setting.state()
    begun, rng = time.perf_counter(), np.random.default_rng(0)
    for _ in range(2):
        batches = replay.sample(rng, 1, setting.config.batch_size)
        state, metrics = setting.learner.update(setting.settings, state, batches, setting.return_scale())
        assert all(np.isfinite(value) for value in jax.device_get(metrics).values())
    updated, peak = time.perf_counter() - begun, held_bytes()
    begun = time.perf_counter()
    write_arrays(folder / STATE, to_arrays(state))
    return {
        "imported_bytes": imported,
        "peak_bytes": peak,
        "peak_with_checkpoint_bytes": held_bytes(),
        "compile_and_updates_s": updated,
        "checkpoint_bytes": (folder / STATE).stat().st_size,
        "checkpoint_s": time.perf_counter() - begun,
    }


def restored(setting: Setting, folder: Path) -> dict[str, float]:
    """Restore the checkpoint and do an update from there; return what that took."""
    shapes = setting.shapes()
    imported, begun = held_bytes("VmRSS"), time.perf_counter()
    state: Any = from_arrays(shapes, StoredArrays(folder / STATE), put=sharding.put)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    seconds, peak = time.perf_counter() - begun, held_bytes()
    state, metrics = setting.learner.update(setting.settings, state, setting.batches(1), setting.return_scale())
    assert all(np.isfinite(value) for value in jax.device_get(metrics).values())
    return {
        "state_bytes": held,
        "restore_peak_beside_imports_bytes": peak - imported,
        "restore_s": seconds,
        "peak_with_update_bytes": held_bytes(),
    }


PHASES = {"train": trained, "restore": restored}


def in_process(phase: str, folder: Path, overrides: Sequence[str]) -> Mapping[str, float]:
    """Return what a phase reports from a process of its own, whose peak is its own too.

    Raises:
      CalledProcessError: the phase failed.
    """
    command = [sys.executable, "-m", "perf.memory", "--phase", phase, "--folder", str(folder), *overrides]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def compiled_bytes(setting: Setting) -> tuple[int, int]:
    """Return what the compiler says that one update holds: its state and batch, and what it needs beside them."""
    form = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), setting.batches(1))
    lowered = jax.jit(setting.learner.update, static_argnums=0, donate_argnums=1).lower(
        setting.settings, setting.shapes(), form, setting.return_scale()
    )
    found: Any = lowered.compile().memory_analysis()
    return found.argument_size_in_bytes, found.temp_size_in_bytes


def show(name: str, count: float) -> None:
    """Print bytes in GiB."""
    print(f"  {name:36s} {count / GIB:8.2f} GiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="of a run with continuous actions")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help="where the checkpoint goes; by default a temporary folder")
    arguments = parser.parse_args()
    try:
        setting = Setting.of(arguments.overrides)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    if arguments.phase is not None:
        with suppress(OSError):  # no Linux
            Path("/proc/self/oom_score_adj").write_text("1000")
        print(json.dumps(PHASES[arguments.phase](setting, Path(arguments.folder))))
        return

    size = run_size(setting.config, setting.specs)
    plan = parts(size)
    print(
        f"{size.critic_params:,} critic parameters, a batch of {setting.config.batch_size}, {len(setting.specs)} tasks"
    )
    print("planned")
    for name, count in plan.items():
        show(name, count)
    planned = sum(plan.values())
    show("all", planned)
    show("checkpoint on disk, without replay", 4 * plan["parameters"] - FLOAT_BYTES * size.actor_params)
    state, beside = compiled_bytes(setting)
    print("by the compiler")
    show("state and batch", state)
    show("beside them", beside)
    if planned > (available := available_bytes()):
        sys.exit(f"error: the plan needs {planned / GIB:.1f} GiB, {available / GIB:.1f} GiB are available")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for phase in PHASES:
            print(phase)
            found = in_process(phase, Path(folder), arguments.overrides)
            for name, value in found.items():
                if name.endswith("_bytes"):
                    show(name.removesuffix("_bytes"), value)
                else:
                    print(f"  {name.removesuffix('_s'):36s} {value:8.1f} s")
            if phase == "train":
                print(f"  measured / planned                   {found['peak_bytes'] / planned:8.2f}")


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
