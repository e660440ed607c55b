"""Films are the recorded episodes, made without a screen."""

import os
import subprocess
import sys

import imageio_ffmpeg
import numpy as np
import pytest

from conf.typed import ConfigError
from envs import registry
from envs.video import usable_gl

SPEC = registry.spec("dmc/cartpole-swingup")


def test_a_missing_opengl_is_one_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    with pytest.raises(ConfigError) as caught:
        usable_gl([SPEC])
    message = str(caught.value)
    assert message.startswith("eval.video=true: no OpenGL that renders without a screen (nonsense: ")
    assert "apt-get install libosmesa6" in message
    assert "\n" not in message


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
