"""A gallery is one picture of all tasks of a benchmark."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from envs import gallery


def test_every_task_has_a_labelled_tile_in_the_benchmarks_order(tmp_path):
    path = tmp_path / "catch.png"
    command = [sys.executable, "-m", "envs.gallery", "benchmark=catch", "--out", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == f"{path}: 2 tasks of catch\n"
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (gallery.TILE + gallery.LABEL, 2 * gallery.TILE, 3)
    for first in (0, gallery.TILE):
        assert (pixels[: gallery.TILE, first : first + gallery.TILE] == 255).any()  # the ball
        label = pixels[gallery.TILE :, first : first + gallery.TILE]
        assert 0.01 < (label < 128).mean() < 0.3  # letters on white


def test_frames_of_any_shape_fill_a_row_before_the_next():
    shapes = [(10, 20), (480, 480), (300, 100), (1, 1), (240, 240)]
    frames = [np.full((*shape, 3), 10 * number, np.uint8) for number, shape in enumerate(shapes, 1)]
    pixels = np.asarray(gallery.sheet([gallery.tile(frame, "") for frame in frames]))
    height, width = gallery.TILE + gallery.LABEL, gallery.TILE
    assert pixels.shape == (2 * height, 3 * width, 3)
    middles = pixels[gallery.TILE // 2 :: height, width // 2 :: width, 0]
    assert middles.tolist() == [[10, 20, 30], [40, 50, 255]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "gallery.jpg"], "--out=gallery.jpg: must be a file whose name ends in .png"),
        (["--out", "none/gallery.png"], "--out=none/gallery.png: there is no folder none"),
        (["benchmark=nothing"], "benchmark=nothing: "),
        (["--size", "3"], "--size: no such option"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, capsys):
    assert gallery.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
