"""Films are the recorded episodes, made without a screen."""

import os
import subprocess
import sys

import imageio_ffmpeg
import numpy as np
import pytest

from conf.typed import ConfigError
from envs import registry
from envs.video import main, recorded, usable_gl
from records.decode import DamagedRecordError

SPEC = registry.spec("dmc/cartpole-swingup")


def test_a_wrong_word_is_one_line_with_the_variable_and_what_is_allowed(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "banana")
    with pytest.raises(ConfigError) as caught:
        usable_gl([SPEC])
    assert str(caught.value) == (
        "MUJOCO_GL=banana: no such OpenGL back end; to render, it must be one of egl, osmesa, glfw, "
        "or unset, which takes the first of egl, osmesa that works"
    )


@pytest.mark.parametrize(
    ("task", "mode", "word"),
    [
        ("dmc/cartpole-swingup", "backend='inline'", "banana"),
        pytest.param("dmc/cartpole-swingup", "workers=1", "glfw", marks=pytest.mark.slow),
        pytest.param("metaworld/reach", "workers=1", "banana", marks=pytest.mark.slow),
    ],
)
def test_the_variable_does_not_matter_where_nothing_is_rendered(task, mode, word):
    """In a process that has yet to import a simulator, since simulators look at it then."""
    code = f"""
from envs import registry
from envs.vector import VectorEnv
if __name__ == "__main__":
    with VectorEnv([registry.spec({task!r})], lambda row, episode: 0, {mode}) as env:
        print(env.reset().shape)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"MUJOCO_GL": word}, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stdout) == (0, f"{(1, *registry.spec(task).obs_shape)}\n"), result.stderr


def test_a_missing_opengl_is_one_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "glfw")  # no screen is here
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(ConfigError) as caught:
        usable_gl([SPEC])
    message = str(caught.value)
    assert message.startswith("no OpenGL that renders without a screen (glfw: ")
    assert "apt-get install libosmesa6" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("config", "expected"),
    [(None, "no run here (config.json is missing)"), ("[", "config.json: is no JSON"), ("{}", "config.json: ")],
)
def test_a_folder_that_is_no_run_is_one_line(tmp_path, capsys, config, expected):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    assert main([str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path}")
    assert expected in line


@pytest.mark.parametrize(
    "arrays",
    [
        None,
        {},
        {"seed": np.asarray(1)},
        {"seed": np.asarray("one"), "actions": np.zeros((3, 1), np.float32)},
        {"seed": np.asarray([1, 2]), "actions": np.zeros((3, 1), np.float32)},
        {"seed": np.asarray(1), "actions": np.zeros(3, np.float32)},
        {"seed": np.asarray(1), "actions": np.asarray([["up"]])},
    ],
)
def test_a_damaged_recording_is_named(tmp_path, arrays):
    path = tmp_path / "step-1.npz"
    if arrays is None:
        path.write_bytes(b"PK\3\4 torn")
    else:
        np.savez(path, allow_pickle=False, **{f"{name}:{SPEC.id}": value for name, value in arrays.items()})
    with pytest.raises(DamagedRecordError, match=r"step-1\.npz: "):
        recorded(path, [SPEC])


def gl_or_skip() -> str:
    try:
        return usable_gl([SPEC])
    except ConfigError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.mark.slow
def test_a_film_shows_the_episode_in_real_time(tmp_path):
    path = tmp_path / "film.mp4"
    code = f"""
import numpy as np
from pathlib import Path
from envs import registry
from envs.video import Recording, film
actions = np.sin(np.arange(100, dtype=np.float32))[:, None]
film(registry.spec({SPEC.id!r}), Recording(3, actions), Path({str(path)!r}))
"""
    # dm_control chooses its renderer when it is imported, so in a process of its own.
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"MUJOCO_GL": gl_or_skip()}, check=True, timeout=300)
    frames = imageio_ffmpeg.read_frames(str(path))
    about = next(frames)
    images = [np.frombuffer(frame, np.uint8) for frame in frames]
    assert about["size"] == (320, 240)
    assert len(images) == 26  # 100 steps of 10 ms at 25 frames a second, and the start
    assert about["duration"] == pytest.approx(1.04, abs=0.05)
    assert images[0].std() > 10  # not blank
    assert np.abs(images[0].astype(int) - images[-1]).max() > 50  # something moved
