"""Films recorded episodes by repeating them in environments that render, in a process beside the run.

    python -m envs.video RUN_DIR     # film what was recorded and not yet filmed, and stop

A recording is `videos/<name>.npz` in a run directory: seeds and actions of one episode a task. Its films are
`videos/<name>/<suite>-<task>.mp4`; then it is deleted. Training neither waits for this process nor needs OpenGL.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from conf.schema import RunConfig
from conf.typed import ConfigError
from envs import registry
from envs.divergence import DivergedError
from envs.spec import TaskSpec
from records import layout, sidecar
from records.command_line import Parser, exit_status
from records.decode import DamagedRecordError
from records.files import open_file, write_atomic
from records.layout import ExitCode
from records.run_dir import RunDir, warn_once

POLL_S = 2.0
MAX_FPS = 30
PROBE_S = 60
BACKENDS = ("egl", "osmesa")
"""What renders without a screen, in the order in which it is tried."""
ALLOWED = (*BACKENDS, "glfw")
"""Words that MUJOCO_GL may hold where something is to be rendered; glfw needs a screen."""
NOTHING = ("disabled", "disable", "off", "false", "0")
"""Words by which MUJOCO_GL says that nothing is rendered; they choose no back end."""
PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='.1'/></worldbody></mujoco>")
mujoco.Renderer(model, 16, 16).render()
"""


class Recording(NamedTuple):
    """One episode: its reset seed and its actions `[L, A]`."""

    seed: int
    actions: np.ndarray


class Filmer:
    """The process that films a run's recordings; it ends by itself when the run's process does."""

    def __init__(self, run_dir: Path, gl: str):
        self.folder = run_dir / layout.VIDEOS
        self.folder.mkdir(exist_ok=True)
        self._process = sidecar.start("envs.video", run_dir, self.folder / "log.txt", {"MUJOCO_GL": gl})

    def record(self, env_steps: int, episodes: Mapping[str, Recording]) -> None:
        """Leave the episodes of an evaluation, by task id, to be filmed."""
        arrays = {}
        for task_id, episode in episodes.items():
            arrays |= {f"seed:{task_id}": np.asarray(episode.seed), f"actions:{task_id}": episode.actions}
        path = self.folder / f"step-{env_steps:09d}.npz"
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        temporary.rename(path)

    def finish(self) -> bool:
        """Wait until everything is filmed; whether it was."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait() == 0


def usable_gl(specs: Sequence[TaskSpec]) -> str:
    """The OpenGL back end that renders these tasks (`working_gl`); "disabled" where no task needs any.

    Raises:
      ConfigError: none works, or MUJOCO_GL holds a word that is none.
    """
    return working_gl() if any(registry.suite_module(spec.id).NEEDS_GL for spec in specs) else "disabled"


def working_gl() -> str:
    """The OpenGL back end that MUJOCO_GL names, or the first that renders without a screen, once it has drawn a frame.

    Raises:
      ConfigError: none does, or MUJOCO_GL holds a word that is none.
    """
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen and chosen not in (*ALLOWED, *NOTHING):
        raise ConfigError(
            f"MUJOCO_GL={os.environ['MUJOCO_GL']}: no such OpenGL back end; to render, it must be one of "
            f"{', '.join(ALLOWED)}, or unset, which takes the first of {', '.join(BACKENDS)} that works"
        )
    tried = {}
    for gl in BACKENDS if not chosen or chosen in NOTHING else (chosen,):
        command = [sys.executable, "-c", PROBE]
        try:
            result = subprocess.run(
                command, env=os.environ | {"MUJOCO_GL": gl}, capture_output=True, text=True, timeout=PROBE_S
            )
        except subprocess.TimeoutExpired:
            tried[gl] = f"no answer in {PROBE_S} s"
            continue
        if result.returncode == 0:
            return gl
        tried[gl] = (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]
    reasons = "; ".join(f"{gl}: {reason}" for gl, reason in tried.items())
    raise ConfigError(
        f"no OpenGL that renders without a screen ({reasons}); install one (on Debian: apt-get install libosmesa6)"
    )


def film(spec: TaskSpec, episode: Recording, path: Path) -> None:
    """Repeat the episode and write it as an mp4 in real time, at most `MAX_FPS` frames a second."""
    import imageio_ffmpeg

    env = registry.make(spec, render=True)
    env.reset(seed=episode.seed, options={"episode": 0})
    fps = env.metadata["render_fps"]
    stride = -(-fps // MAX_FPS)
    frame = np.asarray(env.render())
    writer = imageio_ffmpeg.write_frames(
        str(path), (frame.shape[1], frame.shape[0]), fps=fps / stride, macro_block_size=2, ffmpeg_log_level="error"
    )
    writer.send(None)
    writer.send(np.ascontiguousarray(frame))
    for number, action in enumerate(episode.actions, 1):
        try:
            env.step(action[: spec.action_dim] if spec.action_kind == "continuous" else int(action))
        except DivergedError:  # at which the episode ended
            break
        if number % stride == 0:
            writer.send(np.ascontiguousarray(env.render()))
    writer.close()
    env.close()


def film_all(run_dir: Path, config: RunConfig) -> bool:
    """Film every recording of a run directory; whether all could be read. A damaged one is named and left as it is."""
    specs = registry.specs(config.benchmark.task_ids, config.env)
    all_read = True
    for source in sorted((run_dir / layout.VIDEOS).glob("*.npz")):
        try:
            episodes = recorded(source, specs)
        except DamagedRecordError as error:
            all_read = False
            warn_once(str(error))
            continue
        folder = source.with_suffix("")
        folder.mkdir(exist_ok=True)
        for spec, episode in zip(specs, episodes, strict=True):
            path = folder / f"{spec.id.replace('/', '-')}.mp4"
            if not path.exists():
                unfinished = path.with_name(f".{path.name}")
                film(spec, episode, unfinished)
                unfinished.rename(path)
        source.unlink()
        write_atomic(folder / "index.html", index_page(folder.name, sorted(path.name for path in folder.glob("*.mp4"))))
    return all_read


def recorded(path: Path, specs: Sequence[TaskSpec]) -> list[Recording]:
    """The episode of each task that a recording holds.

    Raises:
      DamagedRecordError: the file cannot be read, lacks a task, or holds something else.
    """
    try:
        with open_file(path) as file, np.load(file, allow_pickle=False) as arrays:
            found = [Recording(int(arrays[f"seed:{spec.id}"]), arrays[f"actions:{spec.id}"]) for spec in specs]
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DamagedRecordError(path, f"no recording of the run's tasks ({error})") from None
    for spec, (_, actions) in zip(specs, found, strict=True):
        dimensions, kinds = (2, "f") if spec.action_kind == "continuous" else (1, "iu")
        if actions.ndim != dimensions or actions.dtype.kind not in kinds:
            raise DamagedRecordError(path, f"the actions of {spec.id} are {actions.dtype}, {actions.ndim} dimensions")
    return found


def index_page(title: str, names: Sequence[str]) -> str:
    """All films of an evaluation side by side."""
    figures = [
        f'<figure><video src="{name}" width="320" controls loop muted autoplay></video>'
        f"<figcaption>{name.removesuffix('.mp4')}</figcaption></figure>"
        for name in names
    ]
    style = "body{font-family:sans-serif;display:flex;flex-wrap:wrap}h1{width:100%}figure{margin:8px}"
    return f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{style}</style><h1>{title}</h1>" + "".join(
        figures
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Films what a command line names, and returns the exit status."""
    return exit_status(lambda: run(arguments))


def run(arguments: Sequence[str] | None) -> int:
    """Films the recordings of the run that the arguments name; 1 if some could not be read.

    Raises:
      ConfigError: there is no run, its configuration cannot be read, or nothing here renders.
    """
    parser = Parser(prog="python -m envs.video", description="Film the recorded episodes of a run.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument("--follow", action="store_true", help="go on until standard input closes")
    parsed = parser.parse_args(arguments)
    run_dir: Path = parsed.run_dir.resolve()
    config = RunDir(run_dir).existing_config()
    if parsed.follow:
        follow(run_dir, config)
    else:
        os.environ["MUJOCO_GL"] = usable_gl(registry.specs(config.benchmark.task_ids, config.env))
    return ExitCode.DONE if film_all(run_dir, config) else ExitCode.FAILED


def follow(run_dir: Path, config: RunConfig) -> None:
    """Film recordings as they come until standard input closes."""
    import signal

    for number in (signal.SIGTERM, signal.SIGUSR2):  # they are for the run; its end closes standard input
        signal.signal(number, signal.SIG_IGN)
    while not select.select([sys.stdin], [], [], POLL_S)[0]:
        film_all(run_dir, config)


if __name__ == "__main__":
    sys.exit(main())
