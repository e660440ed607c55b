"""HumanoidBench's manipulation tasks have the scenes, rewards and ends that HumanoidBench 0.2 has.

The expected numbers were measured in HumanoidBench itself, or follow from its formulas.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
import pytest

from envs import registry
from envs.suites.humanoidbench import shelves
from envs.suites.humanoidbench.loads import Unloading, unloaded
from envs.suites.humanoidbench.parts import numbers, rows
from envs.suites.humanoidbench.tasks import TASKS

SIZES = {
    # name: observation, nq, nv, bodies, geoms of the scene that touch, joints, steps of an episode, return of a success
    "spoon": (167, 83, 81, 74, 15, 71, 1000, 650),
    "window": (171, 87, 84, 74, 15, 72, 1000, 650),
    "insert_small": (190, 97, 93, 75, 16, 73, 500, 350),
    "insert_normal": (190, 97, 93, 75, 16, 73, 500, 350),
    "bookshelf_simple": (308, 160, 147, 96, 29, 82, 1000, 2000),
    "bookshelf_hard": (308, 160, 147, 96, 29, 82, 1000, 2000),
    "basketball": (164, 83, 81, 74, 12, 71, 500, 1200),
    "cabinet": (213, 109, 104, 83, 40, 79, 1000, 2500),
    "cube": (181, 90, 87, 74, 2, 72, 500, 370),
    "door": (155, 78, 77, 74, 13, 72, 1000, 600),
    "powerlift": (164, 83, 81, 72, 3, 71, 1000, 800),
    "push": (163, 83, 81, 73, 6, 71, 500, 700),
    "room": (229, 118, 111, 80, 33, 76, 1000, 400),
    "truck": (216, 111, 105, 79, 17, 75, 1000, 3000),
}
NAMES = tuple(SIZES)
POSTURE = {"stand_reward": 1.0, "small_control": (4 + 55 / 61) / 5}
"""Terms of who stands at the start with all controls at zero: six actuators exert 10 N m or more."""

# Reward of the start state; of the first and of the tenth step with the action 0 from there, with MuJoCo 3.3.0.
START_REWARDS = {
    "spoon": (0.28386816, 0.281709, 0.139549),
    "window": (0.21616978, 0.239835, 0.003322),
    "insert_small": (0.09911896, 0.095031, 0.042887),
    "insert_normal": (0.10381351, 0.099634, 0.047288),
    "bookshelf_simple": (0.69184722, 0.685896, 0.604752),
    "bookshelf_hard": (0.69184722, 0.685896, 0.604752),
    "basketball": (0.50411517, 0.489977, 0.450783),
    "cabinet": (0.19606557, 0.190714, 0.179752),
    "cube": (0.99345109, 0.987988, 0.695127),
    "door": (0.14080039, 0.138287, 0.131563),
    "powerlift": (0.34762745, 0.342266, 0.335991),
    "push": (-0.34352893, -0.343538, -0.372520),
    "room": (0.19608687, 0.190735, 0.179776),
    "truck": (1.29940024, 1.299404, 1.304324),
}
_SHELF_TERMS = {
    "reward_proximity": 0.7296002, "reward_hand_proximity": 0.50985391, "obj_goal_dist": 0.45044423,
    "success_subtasks": 0, "success": False,
}  # fmt: skip
START_TERMS: dict[str, dict[str, float]] = {
    "spoon": POSTURE
    | {"hand_tool_proximity_reward": 0.54718065, "reward_spoon_in_cup": 0, "spoon_spinning_reward": 6.8043852e-05},
    "window": POSTURE
    | {
        "moving_wipe_reward": 0.1, "hand_tool_proximity_reward": 0.98084889, "window_contact_reward": 0,
        "window_contact_filter": 0, "window_contact_total_reward": 0,
    },
    "insert_small": POSTURE
    | {"cube_target_reward": 0.27438229, "hand_tool_proximity_reward": 0.17098999, "peg_height_reward": 0.145},
    "insert_normal": POSTURE
    | {"cube_target_reward": 0.27425393, "hand_tool_proximity_reward": 0.17098999, "peg_height_reward": 0.16},
    "bookshelf_simple": POSTURE | _SHELF_TERMS,
    "bookshelf_hard": POSTURE | _SHELF_TERMS,
    "basketball": POSTURE
    | {
        "reward_hand_proximity": 0.027902473, "reward_ball_success": 0.27639296, "success_subtasks": 0,
        "success": False,
    },
    "cabinet": POSTURE
    | {"door_openness_reward": 0, "subtask_complete": False, "success_subtasks": 0, "success": False},
    "cube": POSTURE
    | {
        "dont_move": 1, "standing": 1, "upright": 1, "orientation_alignment_reward": 1,
        "cube_closeness_reward": 0.99128505,
    },
    "door": POSTURE
    | {
        "door_openness_reward": 0, "door_hatch_openness_reward": 0.1, "hand_hatch_proximity_reward": 0.75535206,
        "passage_reward": 0,
    },
    "powerlift": POSTURE | {"reward_dumbbell_lifted": 0.18945235, "standing": 1, "upright": 1},
    "push": {"target_dist": 0.3, "hand_dist": 0.43528933, "reward_success": 0, "success": False},
    "room": POSTURE | {"room_object_organized": 2.6616707e-05, "standing": 1, "upright": 1},
    "truck": {
        "upright": 1, "reward_robot_package_truck": 0.29940024, "reward_robot_package_picked_up": 0,
        "reward_package_table": 0, "packages_on_truck": 5, "packages_picked_up": 0, "packages_on_table": 0,
        "success": False, "success_subtasks": 0,
    },
}  # fmt: skip
START_CONTACTS = {
    "spoon": 8, "window": 10, "insert_small": 18, "insert_normal": 18, "bookshelf_simple": 46, "bookshelf_hard": 46,
    "basketball": 6, "cabinet": 22, "cube": 6, "door": 6, "powerlift": 8, "push": 10, "truck": 22,
}  # fmt: skip

GOALS = np.array([[0.75, -0.25, 1.55], [0.8, 0.05, 0.95], [0.8, -0.25, 0.95], [0.85, 0.05, 0.35], [0.85, -0.25, 0.35]])
ORDER = (-19, -22, -15, -20, -23)
VALUES: dict[str, dict[str, Sequence[float] | np.ndarray]] = {
    "window": {"head0": (0, 0, 1.68)},
    "push": {"goal": (1, 0, 1)},
    "cube": {"target_quat": (1, 0, 0, 0)},
    "bookshelf_simple": {"objects": ORDER, "goals": GOALS},
    "bookshelf_hard": {"objects": ORDER, "goals": GOALS},
}
"""The task's values in the start state."""
ROOM_PLACES = {
    "chair": (-2, 2), "trophy": (-1, -2), "headphone": (0, 2.5), "package_a": (1, -2.5), "package_b": (2, 3),
    "snow_globe": (3, -3),
}  # fmt: skip


@functools.cache
def env_of(name: str) -> Any:
    return registry.make(registry.spec(f"humanoidbench/h1hand-{name}"))


@functools.cache
def seen_env_of(name: str) -> Any:
    return registry.make(registry.spec(f"humanoidbench/h1hand-{name}"), render=True)


class At:
    """A task in a state that differs from its start without noise by what is placed."""

    def __init__(self, name: str):
        self.name, self.env = name, env_of(name)
        self.env.reset(seed=0)
        self.qpos = self.env.model.key_qpos[0].copy()
        self.qvel = np.zeros(self.env.model.nv)
        if name == "room":
            for thing, xy in ROOM_PLACES.items():
                self.place(thing, xy)

    def place(self, thing: str, pos: Sequence[float], quat: Sequence[float] = ()) -> At:
        address = self.env.model.joint(f"free_{thing}").qposadr[0]
        self.qpos[address : address + len(pos)] = pos
        self.qpos[address + 3 : address + 3 + len(quat)] = quat
        return self

    def turn(self, joint: str, position: float) -> At:
        self.qpos[self.env.model.joint(joint).qposadr[0]] = position
        return self

    def set(self, **values: Any) -> At:
        self.env.set_state(self.qpos, self.qvel, **(VALUES.get(self.name, {}) | values))
        return self

    def judged(self, **values: Any) -> tuple[float, bool, dict[str, Any]]:
        """Return reward, termination and info of the state."""
        self.set(**values)
        _, reward, terminated, _, info = self.env.end_step()
        return reward, terminated, info


def positions(env: Any, joint: str) -> np.ndarray:
    return env.data.joint(joint).qpos


@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_those_of_humanoidbench(name):
    obs, nq, nv, bodies, touching, joints, steps, success = SIZES[name]
    spec, model = registry.spec(f"humanoidbench/h1hand-{name}"), env_of(name).model
    robot = env_of("stand").model
    assert (spec.obs_shape, spec.action_dim) == ((obs,), 61)
    assert (model.nq, model.nv, model.nbody, model.njnt) == (nq, nv, bodies, joints)
    assert np.count_nonzero(model.geom_contype) - np.count_nonzero(robot.geom_contype) == touching
    assert (spec.max_episode_steps, spec.norm_high, spec.score_metric) == (steps, success, "return")
    assert model.opt.timestep == 0.002
    multiccd = bool(model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_MULTICCD)
    assert multiccd == name.startswith("bookshelf")
    assert env_of(name).reset(seed=0)[0].shape == (obs,)


@pytest.mark.parametrize("name", NAMES)
def test_start_has_its_reward_and_terms(name):
    reward, terminated, info = At(name).judged()
    assert reward == pytest.approx(START_REWARDS[name][0], abs=6e-9)
    assert info.pop("per_timestep_reward") == reward
    assert info == pytest.approx(START_TERMS[name], abs=6e-9)
    assert not terminated


@pytest.mark.parametrize("name", NAMES)
def test_first_steps_of_the_action_zero_have_their_rewards(name):
    env = At(name).set().env
    steps = [env.step(np.zeros(61, np.float32)) for _ in range(10)]
    _, first, tenth = START_REWARDS[name]
    assert steps[0][1] == pytest.approx(first, abs=5e-4 if name == "window" else 3e-6)
    assert steps[9][1] == pytest.approx(tenth, abs=1e-4)
    assert not any(truncated for _, _, _, truncated, _ in steps)


@pytest.mark.parametrize("name", START_CONTACTS)
def test_start_has_its_contacts(name):
    assert At(name).set().env.data.ncon == START_CONTACTS[name]


# --- scenes

DENSITIES = {"basketball": 35.0, "left_cube_to_rotate": 500.0, "right_cube_to_rotate": 500.0, "door": 600.0}
PANEL_KG = 5.0
WITHOUT_SHAPE = {"object", "book_a", "book_b", "book_c", "book_d", "book_e", "book_flat", "book_thick"}
"""Bodies whose mass does not follow from their boxes and cylinders."""


def is_panel(body: str, size: Sequence[float]) -> bool:
    """Whether a geom is a panel of the cabinet's drawer or doors, which weigh 5 kg each."""
    return body in {"drawer", "left_door", "right_door", "pulling_door", "pullup_door"} and max(size) > 0.25


@pytest.mark.parametrize("name", NAMES)
def test_masses_are_those_of_the_shapes_that_are_seen(name):
    """The tables of masses and the tables of shapes come from different measurements of the same bodies."""
    parts, spec = TASKS[name].scenery, mujoco.MjSpec()
    weighed = {row[0] for row in rows(parts.masses)} - WITHOUT_SHAPE
    bodies = {body: spec.worldbody.add_body(name=body) for body in weighed}
    for body in bodies.values():
        body.add_freejoint()
    for body, _, role, kind, size, pos, orientation, *_ in rows(parts.geoms):
        if body in weighed and role in ("V", "VC", "M"):
            geom = bodies[body].add_geom(type=getattr(mujoco.mjtGeom, f"mjGEOM_{kind.upper()}"), pos=numbers(pos))
            geom.size[: len(numbers(size))] = numbers(size)
            geom.density = DENSITIES.get(body, 1000.0)
            if is_panel(body, numbers(size)):
                geom.mass = PANEL_KG
            if orientation.startswith("axis"):
                geom.alt.type = mujoco.mjtOrientation.mjORIENTATION_ZAXIS
                geom.alt.zaxis = numbers(orientation.removeprefix("axis"))
    if not weighed:
        return
    expected, found = spec.compile(), env_of(name).model
    for body in weighed:
        np.testing.assert_allclose(found.body(body).mass, expected.body(body).mass, rtol=1e-9, err_msg=body)
        np.testing.assert_allclose(found.body(body).ipos, expected.body(body).ipos, atol=1e-9, err_msg=body)
        np.testing.assert_allclose(inertia(found, body), inertia(expected, body), rtol=1e-9, atol=1e-9, err_msg=body)


@pytest.mark.parametrize(
    ("name", "geoms"),
    [
        ("spoon", ["table_top_collision", "table_leg_1_collision"]),
        ("window", ["window_pane_collision", "window_wipe_collision"]),
        ("insert_small", ["table_top_collision", "table_leg_4_collision"]),
        ("bookshelf_hard", ["flatbook_collision"]),
        ("basketball", ["basketball_collision"]),
        ("push", ["object_collision"]),
        ("room", ["package_a_collision", "package_b_collision"]),
        ("truck", ["truck_base_collision", "truck_left_wall", "truck_top", "slide_collision", "package_e_collision"]),
    ],
)
def test_what_touches_has_upstreams_name_where_it_has_one(name, geoms):
    model = env_of(name).model
    assert all(model.geom_contype[model.geom(geom).id] == 1 for geom in geoms)
    for shown in ("window_base", "spoon_handle", "shelf_board_3", "post", "door_body"):  # upstream's visual copies
        found = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, shown)
        assert found < 0 or model.geom_contype[found] == 0


def inertia(model: Any, body: str) -> np.ndarray:
    """Return the inertia matrix of a body about its centre of mass, in the axes of the body."""
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, model.body(body).iquat)
    return axes.reshape(3, 3) @ np.diag(model.body(body).inertia) @ axes.reshape(3, 3).T


def box_at(env: Any, x: float, y: float, z: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest corner of the static box with this centre in the world."""
    model, data = env.model, env.data
    near = np.linalg.norm(data.geom_xpos - (x, y, z), axis=1) < 1e-9
    (geom,) = np.flatnonzero(near & (model.geom_contype > 0))
    return data.geom_xpos[geom] - model.geom_size[geom], data.geom_xpos[geom] + model.geom_size[geom]


def test_window_stands_where_the_tool_can_reach_it():
    env = At("window").set().env
    pane = env.data.geom("window_pane_collision").xpos - env.model.geom("window_pane_collision").size
    np.testing.assert_allclose(pane, (0.95, -1, 0), atol=1e-12)
    assert box_at(env, 1, 0, 1.5125)[0][0] == pytest.approx(0.9)
    ball = env.model.joint(int(env.model.body("window_wiper_sphere").jntadr[0]))
    assert ball.type[0] == mujoco.mjtJoint.mjJNT_BALL
    np.testing.assert_allclose(ball.range, (0, 1.4))
    assert env.model.jnt_limited[ball.id]


def test_ring_is_a_tube_below_the_hoop_whose_corners_were_turned_by_radians():
    env = At("basketball").set().env
    ring = np.flatnonzero((env.model.geom_bodyid == env.model.body("baskethoop").id) & (env.model.geom_contype > 0))[:8]
    centres = env.data.geom_xpos[ring]
    np.testing.assert_allclose((centres.min(0) + centres.max(0)) / 2, (5.7948, 0, 2.05), atol=1e-9)
    heights = env.data.geom_xpos[ring, 2], env.model.geom_size[ring, 2]
    np.testing.assert_allclose((heights[0] - heights[1]).min(), 1.85)
    np.testing.assert_allclose((heights[0] + heights[1]).max(), 2.25)
    turned = 2 * np.degrees(np.arccos(np.abs(env.model.geom_quat[ring, 0])))
    np.testing.assert_allclose(sorted(turned), [0, 0, 0, 0, 58.31, 58.31, 58.31, 58.31], atol=0.01)
    np.testing.assert_allclose(env.data.site("hoop_center").xpos, (5.9, 0, 2.25))


def test_robot_stands_in_a_corridor_and_in_a_room():
    door, room = At("door").set().env, At("room").set().env
    for side in (-1, 1):
        low, high = box_at(door, 0.8 - 1.31, 0.7 * side, 1.19)
        assert min(abs(low[1]), abs(high[1])) == pytest.approx(0.58)
        assert box_at(room, 4.15 * side, 0, 1.5)[0 if side > 0 else 1][0] == pytest.approx(4 * side)
        assert box_at(room, 0, 3.85 * side, 1.5)[0 if side > 0 else 1][1] == pytest.approx(3.7 * side)
    assert box_at(door, 0.8 - 2.35, 0, 1.19)[1][0] == pytest.approx(-1.4)


@pytest.mark.parametrize(
    ("name", "joint", "axis", "bounds", "damping", "stiffness"),
    [
        ("door", "door_hinge", (0, 0, 1), (0, 1.4), 0, 50),
        ("door", "door_hatch_hinge", (1, 0, 0), (0, 2), 0, 2),
        ("cabinet", "drawer_slide", (-1, 0, 0), (0, 0.45), 80, 0),
        ("cabinet", "left_door_hinge", (0, 0, 1), (-1.57, 0), 1, 0),
        ("cabinet", "right_door_hinge", (0, 0, 1), (0, 1.57), 1, 0),
        ("cabinet", "pull_door_slide", (0, 1, 0), (-0.4, 0), 50, 0),
        ("cabinet", "pullup_door_hinge", (0, 1, 0), (0, 1.57), 10, 0),
    ],
)
def test_doors_and_drawers_move_as_they_should(name, joint, axis, bounds, damping, stiffness):
    model = env_of(name).model
    found = model.joint(joint)
    np.testing.assert_array_equal(found.axis, axis)
    np.testing.assert_allclose(found.range, bounds)
    assert model.jnt_limited[found.id]
    assert (model.dof_damping[found.dofadr[0]], found.stiffness[0]) == (damping, stiffness)
    assert model.dof_armature[found.dofadr[0]] == 0


def test_ramp_leads_onto_the_truck_and_the_hatch_weighs_nothing_on_its_hinge():
    ramp = env_of("truck").model.geom("slide_collision")
    np.testing.assert_allclose(ramp.quat, (math.cos(0.25), 0, -math.sin(0.25), 0))
    door = env_of("door").model
    assert door.body_gravcomp[door.body("door_hatch").id] == 1


@pytest.mark.parametrize("name", NAMES)
def test_contacts_of_the_scene_have_mujocos_defaults(name):
    model = env_of(name).model
    scene = (model.geom_contype > 0) & ((model.geom_bodyid == 0) | (model.geom_bodyid > 70))
    assert (model.geom_conaffinity[scene] == 1).all()
    assert (model.geom_contype[scene] == 1).all()
    assert (model.geom_condim[scene] == 3).all()
    np.testing.assert_array_equal(np.unique(model.geom_friction[scene], axis=0), [[1, 0.005, 0.0001]])
    np.testing.assert_array_equal(np.unique(model.geom_solref[scene], axis=0), [[0.02, 1]])
    np.testing.assert_array_equal(np.unique(model.geom_solimp[scene], axis=0), [[0.9, 0.95, 0.001, 0.5, 2]])
    assert (model.geom_margin[scene] == 0).all()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "door"])
def test_things_that_nothing_touches_fall_freely(name):
    at = At(name)
    free = [at.env.model.joint(j) for j in range(1, at.env.model.njnt) if at.env.model.jnt_type[j] == 0]
    for number, joint in enumerate(free):
        at.place(joint.name.removeprefix("free_"), (10.0 * number, 100.0, 20.0))
    at.set().env.begin_step(np.zeros(61))
    fall = 9.81 * 0.002**2 * (10 * 11 / 2)  # ten Euler steps, the velocity first
    for number, joint in enumerate(free):
        place = at.env.data.qpos[joint.qposadr[0] :][:3]
        np.testing.assert_allclose(place, (10.0 * number, 100.0, 20.0 - fall), atol=1e-6 if name == "window" else 1e-12)


# --- episodes


def test_packages_start_as_the_keyframe_turns_them_not_as_the_model_does():
    env = At("truck").set().env
    model = env.model
    starts = {"a": (0.707105, -0.707108, 0, 0), "b": (0.706752, 0, 0, 0.707462), "c": (0.707105, 0.707108, 0, 0)}
    for letter, quat in starts.items():
        address = model.joint(f"free_package_{letter}").qposadr[0]
        found = model.key_qpos[0, address + 3 : address + 7]
        np.testing.assert_allclose(found, quat / np.linalg.norm(quat), atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_scene_adds_no_sensor_to_the_robots_six_but_where_upstream_does(name):
    model = env_of(name).model
    own = {
        "spoon": [("spoon_gyro", mujoco.mjtSensor.mjSENS_GYRO)],
        "window": [("window_wiping_tool_subtreelinvel", mujoco.mjtSensor.mjSENS_SUBTREELINVEL)],
    }
    found = [(model.sensor(index).name, model.sensor(index).type[0]) for index in range(6, model.nsensor)]
    assert found == own.get(name, [])


def test_goal_of_push_is_no_part_of_the_scene():
    model = env_of("push").model
    for kind in (mujoco.mjtObj.mjOBJ_SITE, mujoco.mjtObj.mjOBJ_GEOM):
        assert mujoco.mj_name2id(model, kind, "goal") < 0


@pytest.mark.parametrize("name", NAMES)
def test_noise_moves_every_position_or_none(name):
    env = env_of(name)
    env.reset(seed=3)
    start = env.model.key_qpos[0]
    if name.startswith("bookshelf"):
        np.testing.assert_allclose(env.data.qpos, start, atol=1e-7)  # quaternions are given to seven digits
        return
    if name == "cube":
        np.testing.assert_array_equal(env.data.qpos[:79], start[:79])
        return
    drawn = {"room": (69, 70), "basketball": (76, 77, 78)}.get(name, ())
    noise = np.random.default_rng(3).uniform(-0.01, 0.01, env.model.nq)
    expected = start + noise
    mujoco.mj_normalizeQuat(env.model, expected)
    things = [joint for joint in range(env.model.njnt) if name == "room" and env.model.jnt_qposadr[joint] >= 76]
    drawn = [*drawn, *(int(env.model.jnt_qposadr[joint]) + offset for joint in things for offset in (0, 1))]
    if name == "room":
        drawn += list(range(93, 97))  # the headphone's quaternion
    kept = np.setdiff1d(np.arange(env.model.nq), drawn)
    np.testing.assert_allclose(env.data.qpos[kept], expected[kept], atol=1e-15)
    if name != "basketball":
        assert not env.data.qvel.any()


def random_actions(steps: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (steps, 61)).astype(np.float32)


def played(env: Any, seed: int, actions: np.ndarray) -> list[np.ndarray]:
    """Return what an episode consists of, with positions and velocities to the last bit."""
    obs, _ = env.reset(seed=seed)
    found = [obs, env.data.qpos.copy()]
    for action in actions:
        obs, reward, terminated, _, info = env.step(action)
        found += [obs, np.array([reward, terminated]), env.data.qpos.copy(), env.data.qvel.copy()]
        found.append(np.array([float(value) for value in info.values()]))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_episode_follows_from_its_seed_after_any_other(name):
    env, actions = env_of(name), random_actions(8)
    episode = played(env, 5, actions)
    At(name).judged()
    played(env, 6, actions[::-1])
    for found, expected in zip(played(env, 5, actions), episode, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bookshelf_hard", "spoon", "truck"])
def test_what_can_be_seen_moves_bit_by_bit_as_what_is_trained_with(name):
    seen = seen_env_of(name)
    assert seen.model.ngeom > env_of(name).model.ngeom
    actions = random_actions(20)
    for found, expected in zip(played(seen, 5, actions), played(env_of(name), 5, actions), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_first_frame_shows_where_things_have_to_go():
    env = seen_env_of("bookshelf_hard")
    env.reset(seed=8)
    env.reset(seed=7)
    for thing, place in zip((-18, -13, -20, -16, -19), GOALS[[0, 3, 2, 1, 4]], strict=True):
        np.testing.assert_allclose(env.data.body(f"{list(shelves.CODES)[thing + 24]}_vision").xpos, place, atol=1e-12)


# --- tasks


def test_spoons_target_goes_round_one_step_late_and_starts_anew():
    env = env_of("spoon")
    first, second = (0.81, -0.1, 0.95), (0.80926130, -0.09061393, 0.95)
    for _ in range(2):
        np.testing.assert_allclose(env.reset(seed=0)[0][-3:], first, atol=1e-7)
        for target in (first, second):
            np.testing.assert_allclose(env.step(np.zeros(61))[0][-3:], target, atol=1e-7)


def test_spoon_in_the_cup_counts_where_all_three_axes_are_in():
    at = At("spoon")
    for pos, inside in (((0.68, -0.1, 1.0), 1), ((0.68, -0.1, 1.2), 0), ((0.68, 0.05, 1.0), 0), ((0.9, -0.1, 1.0), 0)):
        assert at.place("spoon", pos).judged()[2]["reward_spoon_in_cup"] == inside


def test_wiping_counts_where_wiper_and_pane_touch():
    at = At("window").place("window_wiping_tool", (0.411, 0, 1.2), (0.70710678, 0, 0, -0.70710678))
    reward, _, info = at.judged()
    assert info["window_contact_filter"] == 1
    assert info["window_contact_reward"] == pytest.approx(0.93025, abs=1e-7)
    assert reward == pytest.approx(0.678592, abs=1e-6)
    assert at.place("window_wiping_tool", (0.35, 0, 1.2)).judged()[2]["window_contact_filter"] == 0
    assert at.place("window_wiping_tool", (0.35, 0, 0.57)).judged()[1]


def test_windows_head_is_where_it_was_after_the_noise():
    env = env_of("window")
    env.reset(seed=4)
    _, reward, _, _, info = env.end_step()
    lift = 0.2 * info["stand_reward"] * info["small_control"] * 0.1**16  # gaussian, 0.4 m off, margin 0.1 m
    rest = 0.4 * info["moving_wipe_reward"] + 0.4 * info["hand_tool_proximity_reward"]
    assert reward == pytest.approx(0.5 * (lift + rest), abs=1e-12)


@pytest.mark.parametrize(("name", "expected"), [("insert_small", 0.5202), ("insert_normal", 0.5250)])
def test_pegs_at_the_ends_of_the_block(name, expected):
    at = At(name).place("peg_a", (0.6, 0.15, 0.95)).place("peg_b", (0.6, -0.15, 0.95))
    assert at.judged()[0] == pytest.approx(expected, abs=5e-5)
    _, terminated, info = at.place("peg_b", (0.6, -0.15, 0.45)).judged()
    assert (terminated, info["terminated_reason"]) == (True, 1)
    _, terminated, info = at.place("base", (0, 0, 0.49)).judged()
    assert (terminated, info["terminated_reason"]) == (True, 0)


@pytest.mark.parametrize("name", ["bookshelf_simple", "bookshelf_hard"])
def test_five_things_are_put_where_they_belong(name):
    at = At(name)
    for number, (thing, goal, expected) in enumerate(
        zip(ORDER, GOALS, (100.7884, 200.8233, 300.8313, 400.7605, 500.7641), strict=True), 1
    ):
        at.place(list(shelves.CODES)[thing + 24], np.add(goal, (0.05, -0.05, 0.08))).set()
        obs, reward, terminated, _, info = at.env.end_step()
        assert obs[-1] == thing  # the next thing is seen a step late
        assert reward == pytest.approx(expected, abs=5e-5)
        assert (terminated, info["success"], info["success_subtasks"]) == (number == 5, number == 5, number)
    assert info["terminated_reason"] == 1


def test_thing_that_is_to_be_moved_now_must_not_drop():
    at = At("bookshelf_simple").place("trophy", (0.95, 0.5, 0.4))
    _, terminated, info = at.judged()
    assert (terminated, info["terminated_reason"], info["success_subtasks"]) == (True, 2, 0)
    assert not At("bookshelf_simple").place("chalk", (0.95, 0.5, 0.4)).judged()[1]
    _, terminated, info = at.place("base", (0, 0, 0.57)).judged()
    assert (terminated, info["terminated_reason"]) == (True, 0)


def test_hard_bookshelf_draws_things_and_places():
    env = env_of("bookshelf_hard")
    obs, _ = env.reset(seed=7)
    assert obs[-1] == -18
    start = env.data.qpos.copy()
    things, places = (-18, -13, -20, -16, -19), GOALS[[0, 3, 2, 1, 4]]
    for thing, place in zip(things, places, strict=True):
        joint = env.model.joint(f"free_{list(shelves.CODES)[thing + 24]}").qposadr[0]
        start[joint : joint + 3] = place
        env.set_state(start, np.zeros(env.model.nv))
        obs, _, _, _, info = env.end_step()
        assert obs[-1] == thing
        assert info["obj_goal_dist"] == pytest.approx(0, abs=1e-12)
    assert info["success"]


def test_ball_is_thrown_at_the_robot():
    env = env_of("basketball")
    env.reset(seed=7)
    ball = positions(env, "free_basketball")
    np.testing.assert_allclose(ball[:2], (1.49082727, -0.16563208), atol=1e-8)
    assert ball[2] == pytest.approx(0.3924 + env.data.site("left_hand").xpos[2], abs=1e-12)
    speed = env.data.joint("free_basketball").qvel
    np.testing.assert_allclose(speed, (-7.45413646, 0.82816040, 0, 0, 0, 0), atol=1e-8)


def test_ball_that_was_touched_has_to_reach_the_hoop():
    at = At("basketball")
    assert at.judged()[2]["success_subtasks"] == 0
    reward, _, info = at.place("basketball", (0, 0, 1.2)).judged()  # in the robot
    assert info["success_subtasks"] == 1
    posture = info["stand_reward"] * info["small_control"]
    terms = 0.15 * posture + 0.05 * info["reward_hand_proximity"] + 0.8 * info["reward_ball_success"]
    assert reward == pytest.approx(terms, abs=1e-12)
    reward, terminated, info = at.place("basketball", (5.9, 0.02, 2.26)).judged()
    assert reward == pytest.approx(1000.9447, abs=5e-5)
    assert (terminated, info["success"], info["success_subtasks"]) == (True, True, 1)
    assert at.place("basketball", (3, 0, 0.49)).judged()[1]


def test_cabinet_is_opened_and_filled_in_four_stages():
    at = At("cabinet")
    seen = []
    for change in (
        lambda: at.turn("pull_door_slide", -0.2),
        lambda: at.turn("pull_door_slide", -0.39),
        lambda: at.turn("drawer_slide", 0.44),
        lambda: at.turn("left_door_hinge", -1.2).place("drawer_cube", (0.85, 0.1, 0.9)),
        lambda: at.turn("pullup_door_hinge", 0.8).place("lateral_cabinet_cube", (0.95, 0.2, 1.5)),
    ):
        change()
        seen.append(at.judged())
    np.testing.assert_allclose(
        [reward for reward, _, _ in seen], (0.5961, 100.9761, 200.9783, 300.9961, 400.9161), atol=5e-5
    )
    assert [info["success_subtasks"] for _, _, info in seen] == [0, 1, 2, 3, 4]
    assert [terminated for _, terminated, _ in seen] == [False] * 4 + [True]
    assert [info["success"] for _, _, info in seen] == [False] * 4 + [True]
    assert {"drawer_cube_proximity_reward"} == seen[3][2].keys() - seen[2][2].keys()
    assert {"secondary_door_openness_reward"} == seen[4][2].keys() - seen[3][2].keys()
    assert at.judged()[0] == 1000


def test_cubes_are_turned_at_random():
    env = env_of("cube")
    obs, _ = env.reset(seed=7)
    left, right = (0.29280864, -0.57282773, 0.29901640, 0.70478414), (0.13060741, -0.04711041, 0.76177053, -0.63279379)
    np.testing.assert_allclose(positions(env, "free_left_cube_to_rotate")[3:], left, atol=1e-8)
    np.testing.assert_allclose(positions(env, "free_right_cube_to_rotate")[3:], right, atol=1e-8)
    np.testing.assert_allclose(obs[-4:], (0.17044429, -0.64705342, -0.72845356, -0.14705789), atol=1e-7)


def test_quaternion_of_the_other_sign_is_another_orientation():
    at = At("cube").place("right_cube_to_rotate", (), (-1, 0, 0, 0))
    assert at.judged()[2]["orientation_alignment_reward"] == pytest.approx(0.5, abs=1e-9)
    _, terminated, info = at.place("right_cube_to_rotate", (0.45, -0.21, 0.59)).judged()
    assert (terminated, info["terminated_reason"]) == (True, 1)


def test_door_that_is_pushed_back_costs():
    at = At("door").turn("door_hinge", -0.3)
    assert at.judged()[2]["door_openness_reward"] == pytest.approx(-0.09)
    at.turn("door_hinge", 1.2).turn("door_hatch_hinge", 0.4)
    info = at.judged()[2]
    assert info["door_openness_reward"] == 1
    assert info["door_hatch_openness_reward"] == pytest.approx(1 - 0.9 * 0.35 / 0.75)


def test_doors_upright_term_falls_twice_as_fast():
    at = At("door")
    at.qpos[3:7] = math.cos(math.pi / 4), 0, math.sin(math.pi / 4), 0  # lies on its face
    at.qpos[2] = 3
    assert at.judged()[2]["stand_reward"] == pytest.approx(0, abs=1e-9)
    lifted = At("window")
    lifted.qpos[3:7], lifted.qpos[2] = at.qpos[3:7], 3
    assert lifted.judged()[2]["stand_reward"] == pytest.approx(1 - 0.9 / 1.9)


@pytest.mark.parametrize(("height", "expected"), [(1.0, 0.6979), (2.0, 0.9961)])
def test_dumbbell_that_is_lifted(height, expected):
    assert At("powerlift").place("dumbbell", (0.5, 0, height)).judged()[0] == pytest.approx(expected, abs=5e-5)


def test_pushed_object_reaches_its_goal():
    env = env_of("push")
    obs, _ = env.reset(seed=7)
    np.testing.assert_allclose(obs[-9:-6], (0.72289249, 0.27991879, 1.0), atol=1e-7)
    np.testing.assert_allclose(obs[-12:-9], env.data.site("left_hand").xpos, atol=1e-6)
    reward, terminated, info = At("push").place("object", (0.96, 0, 1)).judged()
    assert reward == pytest.approx(999.8929, abs=5e-5)
    assert (terminated, info["success"], info["reward_success"]) == (True, True, 1000)


def test_room_is_scattered_with_things_and_a_finger_is_bent():
    env = env_of("room")
    env.reset(seed=7)
    np.testing.assert_allclose(env.data.qpos[69:71], (-3.42369171, -2.99381322), atol=1e-8)
    np.testing.assert_allclose(positions(env, "free_chair")[:2], (-1.52177710, -2.24784530), atol=1e-8)
    np.testing.assert_allclose(positions(env, "free_snow_globe")[:2], (3.40959353, -1.69078631), atol=1e-8)
    quat = np.array((0.0733422, 0.0519076, -0.240058, -0.966591))
    np.testing.assert_allclose(positions(env, "free_headphone")[3:], quat / np.linalg.norm(quat), atol=1e-12)
    assert [env.model.joint(int(j)).name for j in np.flatnonzero(np.isin(env.model.jnt_qposadr, (69, 70)))] == [
        "rh_LFJ2",
        "rh_LFJ1",
    ]


def test_things_of_the_room_belong_together():
    at = At("room")
    for thing in ROOM_PLACES:
        at.place(thing, (1.0, 1.0))
    assert at.judged()[2]["room_object_organized"] == 1
    at.place("chair", (1.0, 1.0 + 6))  # a variance of 5 along y
    assert at.judged()[2]["room_object_organized"] == pytest.approx(0.1 ** ((5 / 3) ** 2))


def test_packages_are_taken_for_lifted_where_upstream_notices():
    """All five are lifted at once; of packages side by side in its list, upstream passes over every other one."""
    at = At("truck")
    before = at.judged()[0]
    starts = {letter: at.env.data.body(f"package_{letter}").xpos.copy() for letter in "abcde"}
    for letter, start in starts.items():
        at.place(f"package_{letter}", np.add(start, (0, 0, 0.3)))
    seen = [at.judged() for _ in range(3)]
    assert [info["packages_picked_up"] for _, _, info in seen] == [3, 4, 5]
    assert before < 2
    np.testing.assert_allclose([reward - reward % 100 for reward, _, _ in seen], (300, 100, 100))


def places(**heights: float) -> Mapping[str, Sequence[float]]:
    """Return packages on the truck at these heights, or on the table where the height is negative."""
    return {letter: (5, 0, z) if z >= 0 else (2, -1.7, -z) for letter, z in heights.items()}


def test_packages_go_from_the_truck_by_the_hands_to_the_table_and_back():
    start = places(a=1, b=1, c=1, d=1, e=1)
    memory, bonus = unloaded(Unloading(), start)
    assert (memory.on_truck, bonus) == (("a", "b", "c", "d", "e"), 0)
    memory, bonus = unloaded(memory, places(a=1.05, b=1.2, c=1, d=-1.2, e=1))
    assert (memory.on_truck, memory.picked_up, memory.on_table) == (("a", "c", "e"), ("b",), ("d",))
    assert bonus == 300  # two are picked up, and one of them is on the table at once
    memory, bonus = unloaded(memory, places(a=1, b=-1, c=1, d=1, e=1))
    assert (memory.picked_up, memory.on_table, bonus) == (("d",), ("b",), 0)  # one put down, one lost


def test_truck_is_unloaded_when_all_packages_are_on_the_table():
    at = At("truck")
    at.judged()
    for number, letter in enumerate("abcde"):
        at.place(f"package_{letter}", (2, -1.7, 1.5 + 0.5 * number))
    ends = [at.judged() for _ in range(5)]
    done = [info["success"] for _, _, info in ends]
    assert done == [info["packages_on_table"] == 5 for _, _, info in ends]
    assert done[-1] == ends[-1][1]
    first = done.index(True)
    assert ends[first][0] > 1000
    at.env.reset(seed=0)
    assert at.judged()[2]["packages_on_truck"] == 5


FALLS = {
    "spoon": 0.58, "window": 0.58, "insert_small": 0.5, "insert_normal": 0.5, "bookshelf_simple": 0.58,
    "bookshelf_hard": 0.58, "basketball": 0.5, "cube": 0.58, "door": 0.58, "powerlift": 0.2, "room": 0.3,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_fall_ends_the_episode_of_most_tasks(name):
    at = At(name)
    height = FALLS.get(name, 0.05)
    for above, ends in ((0.001, False), (-0.001, name in FALLS)):
        at.qpos[2] = height + above
        assert at.judged()[1] == ends
