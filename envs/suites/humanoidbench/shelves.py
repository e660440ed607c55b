# ruff: noqa: E501 (the lines of a table)
"""The two bookshelf tasks: five of twelve things have to be moved to other places, one after the other."""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.suites.humanoidbench.furniture import (
    GREY,
    HEADPHONE,
    HEADPHONE_MASS,
    HEADPHONE_QUAT,
    INVISIBLE,
    RED,
    SNOW_GLOBE,
    SNOW_GLOBE_MASS,
    TROPHY,
    TROPHY_MASS,
    WHITE,
    fixed,
    free,
    shelf,
    site_at_origin,
)
from envs.suites.humanoidbench.parts import Parts, rows
from envs.suites.humanoidbench.rewards import (
    HANDS,
    distance,
    small_control,
    stand_reward,
    tolerance,
)
from envs.suites.humanoidbench.task import Outcome, Task

if TYPE_CHECKING:
    from envs.suites.humanoidbench.quantities import Quantities

_BOOK_MASS = """
    2.26602618429 | 0.000880709604277 0.0023948381797 0.115098614631 | 0.0143348503029 0.009709300004 0.00555038167651 | 0.708540851637 -0.00315267624957 -0.00347874806509 0.705654179117
"""
_FLAT_BOOK_MASS = """
    2.26602618429 | 0.000880709604277 -0.0226051618203 0.115098614631 | 0.0143348503029 0.009709300004 0.00555038167651 | 0.708540851637 -0.00315267624957 -0.00347874806509 0.705654179117
"""
_THICK_BOOK_MASS = """
    3.77404045279 | 0.00088850085672 0.00409982950296 0.115085641401 | 0.0238812910358 0.0175444956599 0.0106165607752 | 0.710033900978 -0.00301184500496 -0.00361619657847 0.704151767287
"""
_SODA_CAN_MASS = "1.57079632679 | 0 0 0.1 | 0.00621773546023 0.00621773546023 0.00196349540849 | -"
_CHALK_MASS = """
    0.0439822971503 | 0 0 0.01 | 7.29373094408e-05 7.29373094408e-05 2.19911485751e-06 | 0.653281482438 0.653281482438 -0.270598050073 -0.270598050073
"""


def _cover(name: str, half_thickness: float, y: float) -> str:
    """Return a box of the size of upstream's mesh of a book, to be looked at."""
    return f"{name}_a | V | box | 0.08475 {half_thickness} 0.1155 | 0.00225 {y} 0.1155 | - | {GREY}\n"


_FLAT_QUAT = "0.70738827 -0.70682518 0 0"
_LEANING_QUAT = "0.8689313 -0.06692531 0.12250874 0.47483787"


@dataclass(frozen=True)
class _Thing:
    """One of the things on the shelf, and the place of its twin, which is fixed and shows where the thing shall go."""

    name: str
    pos: str
    geoms: str
    mass: str
    twin_pos: str
    quat: str = "-"
    twin_geoms: str = ""

    @property
    def parts(self) -> Parts:
        return free(self.name, self.pos, self.geoms, self.mass, self.quat) + site_at_origin(self.name)

    @property
    def twin(self) -> Parts:
        seen = [row for row in rows(self.twin_geoms or self.geoms) if row[1] != "C"]
        geoms = [
            " | ".join([f"{name[:-2]}_vision{name[-2:]}", "V", *(cell or "-" for cell in rest[:-1]), INVISIBLE])
            for name, _, *rest in seen
        ]
        twin = f"{self.name}_vision"
        return fixed(twin, self.twin_pos, "\n".join(geoms), self.quat) + site_at_origin(twin)


def _book(letter: str, y: float) -> _Thing:
    name = f"book_{letter}"
    geoms = _cover(name, 0.0255, 0.0015) + "- | C | box | 0.082 0.025 0.115 | 0.0025 0 0.115 | -"
    return _Thing(name, f"0.95 {y} 1.25", geoms, _BOOK_MASS, twin_pos="0.85 -0.25 1.55")


def _things(*, hard: bool) -> tuple[_Thing, ...]:
    """Return the twelve things; of the hard scene, two lie otherwise in the model, yet all start alike."""
    flat = _cover("book_flat", 0.0255, -0.0235)
    flat += "flatbook_collision | C | box | 0.082 0.028 0.115 | 0 -0.022 0.115 | -"
    thick = _cover("book_thick", 0.0425, 0.0025) + "- | C | box | 0.082 0.0415 0.115 | 0.0025 0.003 0.115 | -"
    can = f"soda_can_a | VC | cylinder | 0.05 0.1 | 0 0 0.1 | - | {RED}"
    chalk = f"chalk_a | VC | cylinder | 0.01 0.07 | 0 0 0.01 | axis 1 1 0 | {WHITE}"
    headphone_z, headphone_quat = ("1.58", _LEANING_QUAT) if hard else ("1.55", HEADPHONE_QUAT)
    return (
        *(_book(letter, y) for letter, y in zip("abcde", (-0.36, -0.3, -0.24, -0.18, -0.12), strict=True)),
        _Thing("trophy", "0.95 0.02 1.25", TROPHY, TROPHY_MASS, "0.95 0.02 1.25"),
        _Thing("book_flat", f"0.95 0.15 {1.255 if hard else 1.25}", flat, _FLAT_BOOK_MASS, "0.8 -0.2 0.95", _FLAT_QUAT),
        _Thing("soda_can", "0.95 -0.3 0.65", can, _SODA_CAN_MASS, "0.95 -0.3 0.65"),
        _Thing("book_thick", "0.95 -0.13 0.65", thick, _THICK_BOOK_MASS, "0.75 -0.1 1.55"),
        _Thing("chalk", "0.95 0 0.65", chalk, _CHALK_MASS, "0.8 -0.3 0.95"),
        _Thing("snow_globe", "0.95 0.2 0.65", SNOW_GLOBE, SNOW_GLOBE_MASS, "0.95 0.2 0.65"),
        _Thing(
            "headphone",
            f"0.85 0 {headphone_z}",
            HEADPHONE,
            HEADPHONE_MASS,
            "0.85 0.05 0.95",
            headphone_quat,
            HEADPHONE.replace(" 0.08 |", " 0.11 |") if hard else "",
        ),
    )


def _bookshelf(*, hard: bool) -> Parts:
    things = _things(hard=hard)
    parts = [shelf("0.95 0 0"), *(thing.parts for thing in things), *(thing.twin for thing in things)]
    return functools.reduce(operator.add, parts)


BOOKSHELF_SIMPLE, BOOKSHELF_HARD = _bookshelf(hard=False), _bookshelf(hard=True)


_NAMES = tuple(thing.name for thing in _things(hard=False))
CODES = {name: code for code, name in enumerate(_NAMES, -24)}
"""The things by name, and the numbers that stand for them in observations."""

_SIMPLE_ORDER = ("trophy", "book_c", "chalk", "book_e", "book_b")
_SIMPLE_GOALS = ((0.75, -0.25, 1.55), (0.8, 0.05, 0.95), (0.8, -0.25, 0.95), (0.85, 0.05, 0.35), (0.85, -0.25, 0.35))
_COLOURS = ((1, 0.8, 0.8), (1, 0.5, 0.5), (0.9, 0.2, 0.2), (0.5, 0, 0), (0.2, 0, 0))
"""The colours of the twins, in the order in which the things have to be moved."""


@dataclass(frozen=True)
class Sorting:
    """Which things have to go where, one after the other, and how many are there."""

    objects: np.ndarray
    goals: np.ndarray
    done: int = 0

    @property
    def current(self) -> int:
        """Which of the five is to be moved now; the last one when all are there."""
        return min(self.done, 4)

    @property
    def code(self) -> float:
        return float(self.objects[self.current])


def simple_sorting(now: Quantities, rng: np.random.RandomState) -> Sorting:
    """Return the five things and places that never change."""
    return Sorting(np.array([CODES[name] for name in _SIMPLE_ORDER], float), np.array(_SIMPLE_GOALS))


def random_sorting(now: Quantities, rng: np.random.RandomState) -> Sorting:
    """Draw an order of the places, and five of the things."""
    goals = rng.permutation(np.array(_SIMPLE_GOALS))
    return Sorting(rng.choice(np.arange(-24, -12), 5, replace=False).astype(float), goals)


def see_shelf(now: Quantities, memory: Sorting) -> tuple[np.ndarray, ...]:
    """Return positions, velocities and the number of the thing that is to be moved now."""
    return now.qpos, now.qvel, np.array([memory.code])


def sort(now: Quantities, memory: Sorting) -> Outcome:
    """Judge how near the thing is to its place, and the hands to the thing; one thing at most is done in a step."""
    stand, control = stand_reward(now), small_control(now)
    thing = now.body[_thing_of(memory)].tolist()
    left = distance(thing, memory.goals[memory.current])
    near = tolerance(left, (0, 0.15), 1, "linear")
    hand = math.exp(-min(distance(now.site[hand], thing) for hand in HANDS))
    reward = 0.2 * stand * control + 0.4 * near + 0.4 * hand
    done = memory.done
    if left < 0.15 and done < 5:
        done += 1
        reward += 100 * done
    after = replace(memory, done=done)
    terms: dict[str, float] = {
        "stand_reward": stand,
        "small_control": control,
        "reward_proximity": near,
        "reward_hand_proximity": hand,
        "obj_goal_dist": left,
        "success_subtasks": done,
        "success": done == 5,
    }
    reasons = (now.qpos[2] < 0.58, done == 5, now.body[_thing_of(after)][2] < 0.5)
    if any(reasons):
        terms["terminated_reason"] = reasons.index(True)
    return Outcome(reward, any(reasons), terms, after)


def _thing_of(memory: Sorting) -> str:
    return _NAMES[round(memory.code) + 24]


def show_shelf(model: Any, memory: Sorting) -> None:
    """Show the twins of the things that have to be moved, where these have to go, and hide the others."""
    order = [_NAMES[round(code) + 24] for code in memory.objects]
    for name in _NAMES:
        twin = model.body(f"{name}_vision")
        colour = (0, 0, 0, 0)
        if name in order:
            twin.pos[:] = memory.goals[order.index(name)]
            colour = (*_COLOURS[order.index(name)], 0.5)
        model.geom_rgba[twin.geomadr[0] : twin.geomadr[0] + twin.geomnum[0]] = colour


_START = {
    "free_book_flat": (0.95, 0.12, 1.255, 0.7073883, -0.7068252, 0, 0),
    "free_headphone": (0.85, 0, 1.58, 0.8689313, -0.06692531, 0.12250874, 0.47483787),
}


def _task(*, hard: bool) -> Task:
    return Task(
        sort,
        _bookshelf(hard=hard),
        start=_START,
        noise=0.0,
        reset=random_sorting if hard else simple_sorting,
        observe=see_shelf,
        values={"objects": (5,), "goals": (5, 3)},
        show=show_shelf,
        camera="cam_hand_visible",
        multiccd=True,
    )


TASKS = {"bookshelf_simple": _task(hard=False), "bookshelf_hard": _task(hard=True)}
