# ruff: noqa: E501 (the lines of a table)
"""Tasks with what opens or is cleaned: window, door and cabinet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from envs.suites.humanoidbench.furniture import (
    CLEAR,
    GLASS,
    METAL,
    RED,
    WHITE,
    WOOD,
    fixed,
    free,
)
from envs.suites.humanoidbench.parts import Parts
from envs.suites.humanoidbench.rewards import (
    HANDS,
    distance,
    small_control,
    stand_reward,
    standing,
    tolerance,
    upright,
)
from envs.suites.humanoidbench.task import Outcome, Task

if TYPE_CHECKING:
    from envs.suites.humanoidbench.quantities import Quantities

_WINDOW = f"""
    window_base            | VC | box | 0.1 1 0.35    | 0 0 0.35        | - | {WHITE}
    window_bottom_column_1 | VC | box | 0.1 0.025 0.4 | 0 -0.975 1.1    | - | {WHITE}
    window_bottom_column_2 | VC | box | 0.1 0.025 0.4 | 0 -0.325 1.1    | - | {WHITE}
    window_bottom_column_3 | VC | box | 0.1 0.025 0.4 | 0 0.325 1.1     | - | {WHITE}
    window_bottom_column_4 | VC | box | 0.1 0.025 0.4 | 0 0.975 1.1     | - | {WHITE}
    window_middle_base     | VC | box | 0.1 1 0.025   | 0 0 1.5125      | - | {WHITE}
    window_top_column_1    | VC | box | 0.1 0.025 0.2 | 0 -0.975 1.7125 | - | {WHITE}
    window_top_column_2    | VC | box | 0.1 0.025 0.2 | 0 -0.325 1.7125 | - | {WHITE}
    window_top_column_3    | VC | box | 0.1 0.025 0.2 | 0 0.325 1.7125  | - | {WHITE}
    window_top_column_4    | VC | box | 0.1 0.025 0.2 | 0 0.975 1.7125  | - | {WHITE}
    window_top_base        | VC | box | 0.1 1 0.025   | 0 0 1.915       | - | {WHITE}
    window_bottom_pane_1   | V  | box | 0.05 0.3 0.4  | 0 -0.65 1.1     | - | {GLASS}
    window_bottom_pane_2   | V  | box | 0.05 0.3 0.4  | 0 0 1.1         | - | {GLASS}
    window_bottom_pane_3   | V  | box | 0.05 0.3 0.4  | 0 0.65 1.1      | - | {GLASS}
    window_top_pane_1      | V  | box | 0.05 0.3 0.2  | 0 -0.65 1.7125  | - | {GLASS}
    window_top_pane_2      | V  | box | 0.05 0.3 0.2  | 0 0 1.7125      | - | {GLASS}
    window_top_pane_3      | V  | box | 0.05 0.3 0.2  | 0 0.65 1.7125   | - | {GLASS}
    window_pane_collision  | C  | box | 0.05 1 0.97   | 0 0 0.97        | -
"""
_WIPING_TOOL_MASS = """
    1.25663706144 | 0 0 0.02 | 0.104845418826 0.104845418826 0.000251327412287 | 0.707106781187 0.707106781187 0 0
"""
WINDOW = (
    fixed("window", "1 0 0", _WINDOW)
    + free(
        "window_wiping_tool",
        "0.45 0 1.2",
        f"- | VC | cylinder | 0.02 0.5 | 0 0 0.02 | axis 0 1 0 | {METAL}",
        _WIPING_TOOL_MASS,
    )
    + Parts(
        bodies="window_wiper_sphere | window_wiping_tool | 0 0.5 0.02 | -",
        joints="- | window_wiper_sphere | ball | range 0 1.4",
        masses="""
        window_wiper_sphere | 0.513097335529 | 0 0.0233873753946 0.0155915835964 | 0.00175244396366 0.00145693827775 0.00050200053395 | 0.543613212346 0.45219981796 0.543613212346 0.45219981796
        """,
        geoms=f"""
        window_wiper_sphere | -                       | VC | sphere | 0.03          | 0 0 0       | - | {METAL}
        window_wiper_sphere | / window_wipe_collision | VC | box    | 0.1 0.01 0.05 | 0 0.03 0.02 | - | {RED}
        """,
        sites="""
        wipe_contact_site_a | window_wiper_sphere | 0.1 0.04 0.07
        wipe_contact_site_b | window_wiper_sphere | -0.1 0.04 0.07
        wipe_contact_site_c | window_wiper_sphere | 0.1 0.04 -0.03
        wipe_contact_site_d | window_wiper_sphere | -0.1 0.04 -0.03
        wipe_contact_site_e | window_wiper_sphere | 0 0.04 0.02
        """,
        sensors="window_wiping_tool_subtreelinvel | subtreelinvel | body window_wiping_tool",
    )
)

DOOR = Parts(
    bodies="""
    door               | -    | 0.8 0 0   | -
    door_hatch         | door | 0 0.4 1.2 | - | gravcomp 1
    door_wall_connects | -    | 0.8 0 0   | -
    """,
    joints="""
    door_hinge       | door       | hinge | axis 0 0 1 | pos -0.05 -0.5 1 | range 0 1.4 | stiffness 50
    door_hatch_hinge | door_hatch | hinge | axis 1 0 0 | range 0 2 | stiffness 2
    """,
    masses="""
    door       | 159.6672      | 0 0 1                | 64.4257152 52.424064 12.52323072                 | -
    door_hatch | 2.16141574567 | 0 -0.0204069767442 0 | 0.0433118164979 0.0369876248828 0.00839261621813 | 0 0.707106781187 0 0.707106781187
    """,
    geoms=f"""
    door               | door_body            | VC | box      | 0.07 0.48 0.99 | 0 0 1           | -          | {WOOD}
    door_hatch         | door_hatch_axis_in   | VC | cylinder | 0.05 0.05      | -0.12 0 0       | axis 1 0 0 | {METAL}
    door_hatch         | door_hatch_axis_out  | VC | cylinder | 0.05 0.05      | 0.12 0 0        | axis 1 0 0 | {METAL}
    door_hatch         | door_hatch_inside    | VC | cylinder | 0.02 0.1       | -0.141 -0.1 0   | axis 0 1 0 | {METAL}
    door_hatch         | door_hatch_outside   | VC | cylinder | 0.02 0.1       | 0.141 -0.1 0    | axis 0 1 0 | {METAL}
    door_hatch         | door_lock            | VC | cylinder | 0.01 0.07      | 0.15 0.07 0     | axis 0 1 0 | {METAL}
    door_hatch         | door_lock_internal   | VC | cylinder | 0.01 0.07      | -0.15 0.07 0    | axis 0 1 0 | {METAL}
    door_wall_connects | wall_door_connect_a  | VC | box      | 0.12 0.14 1    | 0 0.66 1        | -          | {WHITE}
    door_wall_connects | wall_door_connect_b  | VC | box      | 0.12 0.14 1    | 0 -0.66 1       | -          | {WHITE}
    door_wall_connects | ceiling_door_connect | VC | box      | 0.12 0.82 0.19 | 0 0 2.19        | -          | {WHITE}
    door_wall_connects | left_wall            | VC | box      | 1.19 0.12 1.19 | -1.31 -0.7 1.19 | -          | {CLEAR}
    door_wall_connects | right_wall           | VC | box      | 1.19 0.12 1.19 | -1.31 0.7 1.19  | -          | {CLEAR}
    door_wall_connects | behind_wall          | VC | box      | 0.15 0.58 1.19 | -2.35 0 1.19    | -          | {CLEAR}
    """,
)

CABINET = Parts(
    bodies="""
    drawer               | -               | 0.9 0 0.5        | -
    lateral_cabinet      | -               | 0.9 0 0.79       | -
    left_door            | lateral_cabinet | -0.29 0.29 0.15  | -
    right_door           | lateral_cabinet | -0.29 -0.29 0.15 | -
    pulling_cabinet      | -               | 0.9 0 1.08       | -
    pulling_door         | pulling_cabinet | -0.32 0.29 0.15  | -
    pullup_drawer        | -               | 0.9 0 1.37       | -
    pullup_door          | pullup_drawer   | 0 0 0            | -
    drawer_cube          | -               | 0.9 0 0.58       | -
    lateral_cabinet_cube | -               | 0.9 0 0.87       | -
    pulling_cabinet_cube | -               | 0.9 0 1.16       | -
    pullup_drawer_cube   | -               | 0.9 0 1.45       | -
    """,
    joints="""
    drawer_slide              | drawer               | slide | axis -1 0 0 | range 0 0.45     | damping 80
    left_door_hinge           | left_door            | hinge | axis 0 0 1  | pos 0 0.29 0.15  | range -1.57 0 | damping 1
    right_door_hinge          | right_door           | hinge | axis 0 0 1  | pos 0 -0.29 0.15 | range 0 1.57  | damping 1
    pull_door_slide           | pulling_door         | slide | axis 0 1 0  | pos 0 0.29 0.15  | range -0.4 0  | damping 50
    pullup_door_hinge         | pullup_door          | hinge | axis 0 1 0  | pos -0.29 0 0.29 | range 0 1.57  | damping 10
    free_drawer_cube          | drawer_cube          | free
    free_lateral_cabinet_cube | lateral_cabinet_cube | free
    free_pulling_cabinet_cube | pulling_cabinet_cube | free
    free_pullup_drawer_cube   | pullup_drawer_cube   | free
    """,
    masses="""
    drawer               | 25.4113274123 | -0.00591722706417 0 0.125877665777                  | 6.28958468865 5.14719610604 1.5496910029           | 0.503741704025 0.503741704025 -0.496230083354 0.496230083354
    left_door            | 5.32332741229 | -0.00418528544493 -0.0121475681372 0.00939262159314 | 0.173419544755 0.14475387409 0.0322348333576       | 0.705060619683 0.708984408062 -0.00815406834844 -0.012811825245
    right_door           | 5.32332741229 | -0.00418528544493 0.0121475681372 0.00939262159314  | 0.173419544755 0.14475387409 0.0322348333576       | 0.708984408062 0.705060619683 0.012811825245 0.00815406834844
    pulling_door         | 5.32332741229 | -0.00418528544493 0.0121475681372 0.00939262159314  | 0.173419544755 0.14475387409 0.0322348333576       | 0.708984408062 0.705060619683 0.012811825245 0.00815406834844
    pullup_door          | 5.41132741229 | -0.295743441926 0 0.153919016449                    | 0.601585754561 0.575382944126 0.0312122402214      | 0.706420351839 0.706420351839 0.0311494222745 -0.0311494222745
    drawer_cube          | 1             | 0 0 0                                               | 0.00166666666667 0.00166666666667 0.00166666666667 | -
    lateral_cabinet_cube | 1             | 0 0 0                                               | 0.00166666666667 0.00166666666667 0.00166666666667 | -
    pulling_cabinet_cube | 1             | 0 0 0                                               | 0.00166666666667 0.00166666666667 0.00166666666667 | -
    pullup_drawer_cube   | 1             | 0 0 0                                               | 0.00166666666667 0.00166666666667 0.00166666666667 | -
    """,
    geoms=f"""
    -                    | cabinet_base_a | VC | box      | 0.3 0.6 0.25    | 0.9 0 0.25       | -          | {WOOD}
    -                    | cabinet_back   | VC | box      | 0.009 0.6 0.84  | 1.21 0 0.84      | -          | {WOOD}
    -                    | -              | VC | box      | 0.3 0.01 0.84   | 0.9 0.59 0.84    | -          | {WOOD}
    -                    | -              | VC | box      | 0.3 0.01 0.84   | 0.9 -0.59 0.84   | -          | {WOOD}
    drawer               | -              | VC | box      | 0.3 0.58 0.01   | 0 0 0.02         | -          | {WHITE}
    drawer               | -              | VC | box      | 0.01 0.58 0.14  | 0.29 0 0.15      | -          | {WHITE}
    drawer               | -              | VC | box      | 0.01 0.58 0.14  | -0.29 0 0.15     | -          | {WHITE}
    drawer               | -              | VC | box      | 0.3 0.01 0.14   | 0 0.57 0.15      | -          | {WHITE}
    drawer               | -              | VC | box      | 0.3 0.01 0.14   | 0 -0.57 0.15     | -          | {WHITE}
    drawer               | -              | VC | cylinder | 0.02 0.05       | -0.35 -0.2 0.24  | axis 1 0 0 | {METAL}
    drawer               | -              | VC | cylinder | 0.02 0.05       | -0.35 0.2 0.24   | axis 1 0 0 | {METAL}
    drawer               | -              | VC | box      | 0.01 0.2 0.01   | -0.39 0 0.24     | -          | {METAL}
    lateral_cabinet      | -              | VC | box      | 0.3 0.6 0.01    | 0 0 0.02         | -          | {WOOD}
    lateral_cabinet      | -              | VC | box      | 0.01 0.6 0.14   | 0.29 0 0.15      | -          | {WOOD}
    left_door            | -              | VC | box      | 0.01 0.28 0.13  | 0 0 0.01         | -          | {WHITE}
    left_door            | -              | VC | cylinder | 0.02 0.05       | -0.06 -0.2 0.09  | axis 1 0 0 | {METAL}
    left_door            | -              | VC | cylinder | 0.02 0.05       | -0.06 -0.2 -0.09 | axis 1 0 0 | {METAL}
    left_door            | -              | VC | box      | 0.01 0.01 0.09  | -0.1 -0.2 0      | -          | {METAL}
    right_door           | -              | VC | box      | 0.01 0.28 0.13  | 0 0 0.01         | -          | {WHITE}
    right_door           | -              | VC | cylinder | 0.02 0.05       | -0.06 0.2 0.09   | axis 1 0 0 | {METAL}
    right_door           | -              | VC | cylinder | 0.02 0.05       | -0.06 0.2 -0.09  | axis 1 0 0 | {METAL}
    right_door           | -              | VC | box      | 0.01 0.01 0.09  | -0.1 0.2 0       | -          | {METAL}
    pulling_cabinet      | -              | VC | box      | 0.3 0.6 0.01    | 0 0 0.02         | -          | {WOOD}
    pulling_cabinet      | -              | VC | box      | 0.01 0.6 0.14   | 0.29 0 0.15      | -          | {WOOD}
    pulling_cabinet      | -              | VC | box      | 0.01 0.28 0.13  | -0.29 -0.29 0.16 | -          | {WOOD}
    pulling_door         | -              | VC | box      | 0.01 0.28 0.13  | 0 0 0.01         | -          | {WHITE}
    pulling_door         | -              | VC | cylinder | 0.02 0.05       | -0.06 0.2 0.09   | axis 1 0 0 | {METAL}
    pulling_door         | -              | VC | cylinder | 0.02 0.05       | -0.06 0.2 -0.09  | axis 1 0 0 | {METAL}
    pulling_door         | -              | VC | box      | 0.01 0.01 0.09  | -0.1 0.2 0       | -          | {METAL}
    pullup_drawer        | -              | VC | box      | 0.3 0.6 0.01    | 0 0 0.02         | -          | {WOOD}
    pullup_drawer        | -              | VC | box      | 0.01 0.6 0.14   | 0.29 0 0.15      | -          | {WOOD}
    pullup_drawer        | -              | VC | box      | 0.29 0.6 0.01   | 0.01 0 0.3       | -          | {WOOD}
    pullup_door          | -              | VC | box      | 0.01 0.58 0.125 | -0.29 0 0.16     | -          | {WHITE}
    pullup_door          | -              | VC | cylinder | 0.02 0.05       | -0.35 -0.2 0.08  | axis 1 0 0 | {METAL}
    pullup_door          | -              | VC | cylinder | 0.02 0.05       | -0.35 0.2 0.08   | axis 1 0 0 | {METAL}
    pullup_door          | -              | VC | box      | 0.01 0.2 0.01   | -0.39 0 0.08     | -          | {METAL}
    drawer_cube          | -              | VC | box      | 0.05 0.05 0.05  | 0 0 0            | -          | {RED}
    lateral_cabinet_cube | -              | VC | box      | 0.05 0.05 0.05  | 0 0 0            | -          | {RED}
    pulling_cabinet_cube | -              | VC | box      | 0.05 0.05 0.05  | 0 0 0            | -          | {RED}
    pullup_drawer_cube   | -              | VC | box      | 0.05 0.05 0.05  | 0 0 0            | -          | {RED}
    """,
)


@dataclass(frozen=True)
class HeadStart:
    """Where the head was at the start of the episode."""

    head0: np.ndarray


def note_head(now: Quantities, rng: np.random.RandomState) -> HeadStart:
    """Note where the head is."""
    return HeadStart(now.site["head"].copy())


_WIPE_SITES = tuple(f"wipe_contact_site_{letter}" for letter in "abcde")


def wipe(now: Quantities, memory: HeadStart) -> Outcome:
    """Judge how the tool is held at the window and moved up and down, while the head moves a little."""
    stand, control = stand_reward(now), small_control(now)
    at_window = min(tolerance(float(now.site[site][0]), (0.92, 0.92), 0.4, "linear") for site in _WIPE_SITES)
    touching = float(now.touched("wiper", only=("pane",)))
    tool = now.body["window_wiping_tool"].tolist()
    near = tolerance(max(distance(now.site[hand], tool) for hand in HANDS), (0, 0.2), 0.5)
    moving = tolerance(abs(float(now.sensor["window_wiping_tool_subtreelinvel"][2])), (0.5, 0.5), 0.5)
    head = tolerance(distance(now.site["head"], memory.head0), (0.4, 0.4), 0.1)
    terms = {
        "stand_reward": stand,
        "small_control": control,
        "moving_wipe_reward": moving,
        "hand_tool_proximity_reward": near,
        "window_contact_reward": at_window,
        "window_contact_filter": touching,
        "window_contact_total_reward": touching * at_window,
    }
    reward = 0.5 * (0.2 * stand * control * head + 0.4 * moving + 0.4 * near) + 0.5 * touching * at_window
    return Outcome(reward, now.qpos[2] < 0.58 or tool[2] < 0.58, terms, memory)


def pass_door(now: Quantities, memory: None) -> Outcome:
    """Judge how far the door and its hatch are open, and whether the robot has passed."""
    stand, control = standing(now) * upright(now, margin=0.9), small_control(now)
    opening, turn = float(now.joint["door_hinge"][0]), float(now.joint["door_hatch_hinge"][0])
    door_open = min(1.0, opening * abs(opening))
    hatch_open = tolerance(turn, (0.75, 2), 0.75, "linear")
    hand = min(distance(now.site[hand], now.body["door_hatch"]) for hand in HANDS)
    near = tolerance(hand, (0, 0.25), 1, "linear")
    passed = tolerance(float(now.site["imu"][0]), (1.2, math.inf), 1, "linear", 0)
    terms = {
        "stand_reward": stand,
        "small_control": control,
        "door_openness_reward": door_open,
        "door_hatch_openness_reward": hatch_open,
        "hand_hatch_proximity_reward": near,
        "passage_reward": passed,
    }
    reward = 0.1 * stand * control + 0.45 * door_open + 0.05 * hatch_open + 0.05 * near + 0.35 * passed
    return Outcome(reward, now.qpos[2] < 0.58, terms)


@dataclass(frozen=True)
class CabinetStage:
    """Which of the four sub-tasks is to be done now; five when all are done."""

    stage: int = 1


def first_stage(now: Quantities, rng: np.random.RandomState) -> CabinetStage:
    """Begin with the first sub-task."""
    return CabinetStage()


_Stage = tuple[float, bool, dict[str, float]]
"""Reward of a sub-task, whether it is done, and its terms."""


def _slid(now: Quantities, joint: str, length: float) -> _Stage:
    opened = abs(float(now.joint[joint][0]) / length)
    return opened, opened > 0.95, {"door_openness_reward": opened}


def _lateral_openness(now: Quantities) -> float:
    """Return how far the wider open of the two hinged doors is open, at most 1."""
    return max(min(1.0, abs(float(now.joint[f"{side}_door_hinge"][0]))) for side in ("left", "right"))


def _stored(now: Quantities, cube: str, height: float, opened: float) -> _Stage:
    """Judge how near a cube is to the level of the cabinet at this height, whose door is so far open."""
    x, y, z = now.body[cube].tolist()
    level = (tolerance(x - 0.9, (-0.3, 0.3), 0.3, "linear") + tolerance(y, (-0.6, 0.6), 0.3, "linear")) / 2
    near = 0.3 * level + 0.7 * tolerance(z - height, (-0.15, 0.15), 0.3, "linear")
    inside = 0.9 - 0.3 <= x <= 0.9 + 0.3 and -0.6 <= y <= 0.6 and height - 0.15 <= z <= height + 0.15
    terms = {"door_openness_reward": opened, "drawer_cube_proximity_reward": near}
    return 0.5 * near + 0.5 * opened, inside, terms


def _cabinet_stage(now: Quantities, stage: int) -> _Stage:
    if stage == 1:
        return _slid(now, "pull_door_slide", 0.4)
    if stage == 2:
        return _slid(now, "drawer_slide", 0.45)
    if stage == 3:
        return _stored(now, "drawer_cube", 0.94, _lateral_openness(now))
    opened = min(1.0, abs(float(now.joint["pullup_door_hinge"][0])))
    reward, done, terms = _stored(now, "lateral_cabinet_cube", 1.54, opened)
    return reward, done, terms | {"secondary_door_openness_reward": _lateral_openness(now)}


def use_cabinet(now: Quantities, memory: CabinetStage) -> Outcome:
    """Judge the present sub-task, of which one at most is done in a step."""
    stand, control = stand_reward(now), small_control(now)
    stage, terms = memory.stage, {}
    if stage == 5:
        reward = 1000.0
    else:
        done_so_far, done, terms = _cabinet_stage(now, stage)
        terms = terms | {"subtask_complete": done}
        reward = 0.2 * stand * control + 0.8 * done_so_far + (100 * stage if done else 0)
        stage += done
    posture = {"stand_reward": stand, "small_control": control}
    progress = {"success_subtasks": stage - 1, "success": stage == 5}
    return Outcome(reward, stage == 5, posture | progress | terms, CabinetStage(stage))


TASKS = {
    "window": Task(
        wipe,
        WINDOW,
        start={"free_window_wiping_tool": (0.45, 0, 1.085, 1, 0, 0, 0)},
        reset=note_head,
        values={"head0": (3,)},
        touches={"pane": r"window/window_pane_collision", "wiper": r"window_wiper_sphere/window_wipe_collision"},
        camera="cam_hand_visible",
    ),
    "door": Task(pass_door, DOOR),
    "cabinet": Task(use_cabinet, CABINET, reset=first_stage, camera="cam_hand_visible"),
}
