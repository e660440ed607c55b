"""Atari games from pixels, stepped by ale-py's own vector environment, which does the preprocessing in C++.

An agent step holds its action for four frames; the maximum of the last two is shown in grey, 84 x 84, and the newest
four such frames are an observation. ale-py is GPL-2.0 and therefore an extra.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re

import gymnasium
import numpy as np

from conf.schema import AtariConfig
from conf.typed import ConfigError, build
from envs.spec import TaskSpec

PRELOAD = ("ale_py",)
NEEDS_GL = False
FRAME_SKIP, STACK, SIZE = 4, 4, 84
MAX_EPISODE_STEPS = 27_000  # 108,000 frames
FULL_ACTIONS = 18
FRAME_ZOOM = 4  # of a film's frame
SOURCE = (
    "random and human scores: the common table of 57 games; "
    "random_return: mean of 10 episodes, all 18 actions, sticky, `python -m envs.random_return`"
)

# name: (actions of its own, random score, human score, random_return)
_GAMES: dict[str, tuple[int, float | None, float | None, float]] = {
    "Alien": (18, 227.8, 7127.7, 163.0),
    "Amidar": (10, 5.8, 1719.5, 2.1),
    "Assault": (7, 222.4, 742.0, 277.2),
    "Asterix": (9, 210.0, 8503.3, 220.0),
    "Atlantis": (4, 12850.0, 29028.1, 20340.0),
    "BankHeist": (18, 14.2, 753.1, 15.0),
    "BattleZone": (18, 2360.0, 37187.5, 3200.0),
    "BeamRider": (9, 363.9, 16926.5, 479.6),
    "Boxing": (18, 0.1, 12.1, 1.9),
    "Breakout": (4, 1.7, 30.5, 1.3),
    "Carnival": (6, None, None, 772.0),
    "Centipede": (18, 2090.9, 12017.0, 2248.0),
    "ChopperCommand": (18, 811.0, 7387.8, 740.0),
    "CrazyClimber": (9, 10780.5, 35829.4, 7720.0),
    "DemonAttack": (6, 152.1, 1971.0, 172.0),
    "DoubleDunk": (18, -18.6, -16.4, -15.4),
    "Enduro": (9, 0.0, 860.5, 0.4),
    "FishingDerby": (18, -91.7, -38.7, -91.6),
    "Freeway": (3, 0.0, 29.6, 0.0),
    "Frostbite": (18, 65.2, 4334.7, 60.0),
    "Gopher": (8, 257.6, 2412.5, 384.0),
    "Gravitar": (18, 173.0, 3351.4, 210.0),
    "Hero": (18, 1027.0, 30826.4, 1173.5),
    "IceHockey": (18, -11.2, 0.9, -10.3),
    "Jamesbond": (18, 29.0, 302.8, 35.0),
    "Kangaroo": (18, 52.0, 3035.0, 100.0),
    "Krull": (18, 1598.0, 2665.5, 1657.0),
    "KungFuMaster": (14, 258.5, 22736.3, 330.0),
    "MsPacman": (9, 307.3, 6951.6, 226.0),
    "NameThisGame": (6, 2292.3, 8049.0, 2298.0),
    "Phoenix": (8, 761.4, 7242.6, 410.0),
    "Pong": (6, -20.7, 14.6, -20.7),
    "Pooyan": (6, None, None, 427.5),
    "PrivateEye": (18, 24.9, 69571.3, 50.0),
    "Qbert": (6, 163.9, 13455.0, 212.5),
    "Riverraid": (18, 1338.5, 17118.0, 1433.0),
    "RoadRunner": (18, 11.5, 7845.0, 30.0),
    "Robotank": (18, 2.2, 11.9, 2.4),
    "Seaquest": (18, 68.4, 42054.7, 76.0),
    "SpaceInvaders": (6, 148.0, 1668.7, 182.0),
    "StarGunner": (18, 664.0, 10250.0, 650.0),
    "TimePilot": (10, 3568.0, 5229.2, 3380.0),
    "UpNDown": (6, 533.4, 11693.2, 506.0),
    "VideoPinball": (9, 16256.9, 17667.9, 20456.4),
    "WizardOfWor": (10, 563.5, 4756.5, 530.0),
    "YarsRevenge": (18, 3092.9, 54576.9, 4045.1),
    "Zaxxon": (18, 32.5, 9173.3, 20.0),
}


def _spec(name: str, numbers: tuple[int, float | None, float | None, float]) -> TaskSpec:
    _, random, human, random_return = numbers
    return TaskSpec(
        id=f"atari/{name}",
        obs_shape=(STACK, SIZE, SIZE),
        obs_dtype="uint8",
        action_dim=FULL_ACTIONS,
        action_kind="discrete",
        max_episode_steps=MAX_EPISODE_STEPS,
        score_metric="return",
        norm_low=random,
        norm_high=human,
        random_return=random_return,
        source=SOURCE,
        options=build(AtariConfig, {}),
        step_ms=0.5,
    )


TASKS = {name: _spec(name, numbers) for name, numbers in _GAMES.items()}


def configured(spec: TaskSpec, options: AtariConfig) -> TaskSpec:
    """The game with these options.

    Raises:
      ConfigError: ale-py is not installed.
    """
    if importlib.util.find_spec("ale_py") is None:
        raise ConfigError(
            f"{spec.id}: ale-py is not installed (an extra, since its licence is GPL-2.0): "
            "pip install -c constraints.txt -e '.[atari]'"
        )
    low = options.video_pinball_random if spec.name == "VideoPinball" else spec.norm_low
    actions = FULL_ACTIONS if options.full_action_set else _GAMES[spec.name][0]
    return dataclasses.replace(spec, options=options, norm_low=low, action_dim=actions)


def rom(name: str) -> str:
    """ale-py's name of a game: `ms_pacman` for `MsPacman`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class AtariEnv(gymnasium.Env):
    """One game: a vector environment of one.

    `reset(seed=...)` alone determines an episode: no-ops, sticky actions and the console's own dice. A lost life is
    told as `terminated` with `info["episode_over"]` false, if so configured; rewards are the game's points.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 60 // FRAME_SKIP}  # noqa: RUF012

    def __init__(self, name: str, options: AtariConfig):
        from ale_py import ALEInterface, AtariVectorEnv, LoggerMode

        ALEInterface.setLoggerMode(LoggerMode.Error)
        self._env = AtariVectorEnv(
            rom(name),
            1,
            num_threads=1,
            max_num_frames_per_episode=FRAME_SKIP * MAX_EPISODE_STEPS,
            repeat_action_probability=options.sticky_actions,
            full_action_space=options.full_action_set,
            img_height=SIZE,
            img_width=SIZE,
            stack_num=STACK,
            frameskip=FRAME_SKIP,
            noop_max=options.noop_max,
            reward_clipping=False,
            use_fire_reset=options.fire_reset,
        )
        self._terminal_on_life_loss = options.terminal_on_life_loss
        self._lives = 0
        self._frame = np.zeros((SIZE, SIZE), np.uint8)
        self.observation_space = self._env.single_observation_space
        self.action_space = self._env.single_action_space

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        obs, info = self._env.reset(seed=None if seed is None else seed % 2**31)  # ale-py takes 31 bits
        self._lives = int(info["lives"][0])
        self._frame = obs[0, -1]
        return obs[0], {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self._env.step(np.asarray([action], np.int32))
        over, cut, lives = bool(terminated[0]), bool(truncated[0]), int(info["lives"][0])
        life_lost = self._terminal_on_life_loss and lives < self._lives
        self._lives = lives
        self._frame = obs[0, -1]
        return obs[0], float(reward[0]), over or life_lost, cut, {"episode_over": over or cut}

    def render(self) -> np.ndarray:
        """The newest frame as the agent sees it, enlarged."""
        return np.repeat(self._frame.repeat(FRAME_ZOOM, 0).repeat(FRAME_ZOOM, 1)[..., None], 3, axis=-1)

    def close(self) -> None:
        self._env.close()


def make(spec: TaskSpec, *, render: bool = False) -> AtariEnv:
    """An environment of the game; every one can render."""
    return AtariEnv(spec.name, spec.options)
