"""One picture of all tasks of a benchmark: `python -m envs.gallery benchmark=NAME --out gallery.png`.

Each task is a tile: what its own camera sees after a second of random actions, with its name below.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from conf.compose import compose
from conf.typed import ConfigError
from envs import registry, video
from envs.divergence import DivergedError
from envs.random_actions import random_actions
from envs.seeding import episode_seed, seed_sequence
from envs.spec import TaskSpec
from records.command_line import Parser, exit_status
from records.files import replacing
from records.layout import ExitCode

if TYPE_CHECKING:
    from PIL import Image
    from rich.progress import Progress

TILE = 240  # pixels: the longer side of a task's frame
LABEL = 22  # pixels: the height of the line below it
SHAPE = 16 / 10  # width to height of the whole picture, about


def frame(spec: TaskSpec) -> np.ndarray:
    """What the camera of a task sees, `[H, W, 3]`, after a second of the first training episode, at random actions."""
    env = registry.make(spec, render=True)
    rng = np.random.default_rng(seed_sequence(0, spec.id, "random_actions", 0))
    env.reset(seed=episode_seed(0, spec.id, "train", 0), options={"episode": 0})
    for _ in range(env.metadata["render_fps"]):
        action = random_actions([spec], [rng])[0]
        try:
            _, _, terminated, truncated, _ = env.step(action if spec.action_kind == "continuous" else int(action))
        except DivergedError:
            break
        if terminated or truncated:
            break
    seen = np.array(env.render())
    env.close()
    return seen


def tile(seen: np.ndarray, name: str) -> Image.Image:
    """A frame `[H, W, 3]` made to fit, with its name below."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (TILE, TILE + LABEL), "white")
    scale = TILE / max(seen.shape[:2])
    height, width = (round(scale * side) for side in seen.shape[:2])
    shrunk = Image.fromarray(seen).resize((width, height), Image.Resampling.LANCZOS)
    picture.paste(shrunk, ((TILE - width) // 2, (TILE - height) // 2))
    middle = (TILE / 2, TILE + LABEL / 2)
    ImageDraw.Draw(picture).text(middle, name, fill="black", font=ImageFont.load_default(14), anchor="mm")
    return picture


def sheet(tiles: Sequence[Image.Image]) -> Image.Image:
    """The tiles in rows, on a sheet that is somewhat wider than high."""
    from PIL import Image

    width, height = tiles[0].size
    columns = min(len(tiles), math.ceil(math.sqrt(len(tiles) * SHAPE * height / width)))
    picture = Image.new("RGB", (columns * width, math.ceil(len(tiles) / columns) * height), "white")
    for number, one in enumerate(tiles):
        picture.paste(one, (number % columns * width, number // columns * height))
    return picture


def draw(specs: Sequence[TaskSpec], progress: Progress) -> Image.Image:
    """The gallery of the tasks, in their order."""
    names = [spec.name for spec in specs]
    job = progress.add_task("drawing", total=len(specs))
    tiles = []
    for spec in specs:
        tiles.append(tile(frame(spec), spec.name if names.count(spec.name) == 1 else spec.id))
        progress.advance(job)
    return sheet(tiles)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the gallery that the command line asks for, and return the exit status."""
    parser = Parser(
        prog="python -m envs.gallery",
        description="Draws one picture of a benchmark: a frame of every task after a second of motion.",
        epilog="example: python -m envs.gallery benchmark=metaworld --out metaworld.png",
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for agents.run; benchmark=... above all")
    parser.add_argument(
        "--out", type=Path, default=Path("gallery.png"), metavar="FILE.png", help="default: %(default)s"
    )
    return exit_status(lambda: gallery(parser.parse_args(arguments)))


def gallery(arguments: argparse.Namespace) -> int:
    """Draw and write the gallery, and return the exit status.

    Raises:
      ConfigError: something in the command line is wrong, or nothing here renders.
    """
    out: Path = arguments.out
    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out={out}: must be a file whose name ends in .png")
    if not out.parent.is_dir():
        raise ConfigError(f"--out={out}: there is no folder {out.parent}")
    config = compose(arguments.overrides)
    specs = registry.specs(config.benchmark.task_ids, config.env)
    os.environ["MUJOCO_GL"] = video.usable_gl(specs)

    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        picture = draw(specs, progress)
    with replacing(out) as temporary:
        picture.save(temporary, format="png")
    print(f"{out}: {len(specs)} tasks of {config.benchmark.name}")
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
