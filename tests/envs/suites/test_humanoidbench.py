"""HumanoidBench: robots, stepping, resets and the locomotion tasks have the numbers of HumanoidBench 0.2."""

from __future__ import annotations

import dataclasses
import math
from functools import cache

import mujoco
import numpy as np
import pytest

from conf.scores import score_constants
from envs import registry
from envs.divergence import DivergedError
from envs.random_actions import random_actions
from envs.suites.humanoidbench import STANDIN, TASKS
from envs.suites.humanoidbench.env import HumanoidBenchEnv
from envs.suites.humanoidbench.rewards import tolerance
from envs.vector import VectorEnv

MEDIUM = [name for name in TASKS if name.startswith("h1-")]
LOCOMOTION = [
    "walk", "stand", "run", "stair", "crawl", "pole", "slide", "hurdle", "maze", "sit_simple", "sit_hard",
    "balance_simple", "balance_hard", "reach",
]  # fmt: skip


@cache
def env(name: str) -> HumanoidBenchEnv:
    """The environment of a task, made once; h1 has all locomotion tasks here, though the benchmark has nine of them."""
    robot, task = name.split("-", 1)
    spec = TASKS.get(name) or dataclasses.replace(
        TASKS[f"h1hand-{task}"], id=f"humanoidbench/{robot}-{task}", action_dim=19, options=STANDIN
    )
    return HumanoidBenchEnv(spec)


def at_keyframe(name: str, **changes: object) -> tuple[np.ndarray, float, bool, dict]:
    """What `end_step` says of the start without noise, with some joints' positions or task values changed."""
    one = env(name)
    one.reset(seed=0)
    qpos = one.model.key_qpos[0].copy()
    task = {key: changes.pop(key) for key in list(changes) if key in one.task_values()}
    for joint, value in changes.items():
        start = one.model.joint(joint).qposadr[0]
        qpos[start : start + np.size(value)] = value
    one.set_state(qpos, np.zeros(one.model.nv), **task)
    obs, reward, terminated, _, info = one.end_step()
    return obs, reward, terminated, info


def moved(name: str, x: float = 0.0, y: float = 0.0, z: float = 0.98) -> dict:
    """The info of the start with the base elsewhere."""
    return at_keyframe(name, free_base=(x, y, z, 1, 0, 0, 0))[3]


def with_velocity(name: str, vx: float, vy: float = 0.0) -> dict:
    """The info where the whole robot moves."""
    one = env(name)
    one.reset(seed=0)
    qvel = np.zeros(one.model.nv)
    qvel[:2] = vx, vy
    one.set_state(one.model.key_qpos[0], qvel)
    return one.end_step()[4]


# The robots: checks 1 to 13 and 23 to 26.


@pytest.mark.parametrize(
    ("robot", "sizes"),
    [("h1", (26, 25, 19, 23, 20, 9, 14, 0, 0)), ("h1hand", (76, 75, 61, 71, 70, 9, 14, 8, 4))],
)
def test_robot_has_its_numbers_of_parts(robot, sizes):
    model = env(f"{robot}-stand").model
    fields = ("nq", "nv", "nu", "nbody", "njnt", "nsite", "nsensordata", "ntendon", "nexclude")
    assert tuple(getattr(model, field) for field in fields) == sizes


@pytest.mark.parametrize(("robot", "whole", "torso"), [("h1", 51.649896, 24.457), ("h1hand", 53.239896, 26.047)])
def test_robot_has_its_masses(robot, whole, torso):
    model = env(f"{robot}-stand").model
    assert model.body_mass.sum() == pytest.approx(whole, abs=1e-9)
    assert model.body_subtreemass[model.body("torso_link").id] == pytest.approx(torso, abs=1e-9)
    for body, mass in {"left_ankle_link": 0.552448, "torso_link": 17.789, "pelvis": 5.39}.items():
        assert model.body(body).mass[0] == mass
    if robot == "h1hand":
        for side in ("left", "right"):
            assert model.body_subtreemass[model.body(f"{side}_hand").id] == pytest.approx(0.795, abs=1e-12)


def test_step_is_twenty_milliseconds_in_ten_substeps():
    one = env("h1-stand")
    assert one.model.opt.timestep == 0.002
    assert one.metadata["render_fps"] == 50
    one.reset(seed=0)
    one.step(np.zeros(19, np.float32))
    assert one.data.time == pytest.approx(0.02)
    option = one.model.opt
    assert (option.integrator, option.cone, option.solver) == (0, 0, 2)  # Euler, pyramidal, Newton
    assert (option.iterations, option.ls_iterations, option.tolerance, option.impratio) == (100, 50, 1e-8, 1)
    assert (option.disableflags, option.enableflags) == (0, 0)


@pytest.mark.parametrize(
    ("task", "h1", "h1hand"),
    [(task, 51, 151) for task in LOCOMOTION[:10]]
    + [("sit_hard", 64, 164), ("balance_simple", 64, 164), ("balance_hard", 77, 177), ("reach", 57, 157)],
)
def test_observation_has_its_width(task, h1, h1hand):
    for robot, width in (("h1", h1), ("h1hand", h1hand)):
        assert env(f"{robot}-{task}").reset(seed=0)[0].shape == (width,)
    assert TASKS[f"h1hand-{task}"].obs_shape == (h1hand,)
    if f"h1-{task}" in TASKS:
        assert TASKS[f"h1-{task}"].obs_shape == (h1,)


def test_middle_action_commands_the_middle_of_each_range():
    expected = {
        "h1": {
            "left_hip_pitch": -0.305, "left_knee": 0.895, "left_ankle": -0.175, "left_shoulder_roll": 1.385,
            "left_shoulder_yaw": 1.575, "left_elbow": 0.68, "right_shoulder_roll": -1.385,
        },
        "h1hand": {"left_wrist_yaw": 0.71, "lh_A_WRJ2": -0.174533, "lh_A_FFJ0": 1.57075, "lh_A_THJ4": 0.610865},
    }  # fmt: skip
    for robot, controls in expected.items():
        one = env(f"{robot}-stand")
        one.reset(seed=0)
        one.step(np.zeros(one.model.nu, np.float32))
        for actuator, control in controls.items():
            assert one.data.actuator(actuator).ctrl[0] == pytest.approx(control, abs=2e-7)


def test_extreme_actions_command_the_ends_of_the_range():
    one = env("h1-stand")
    for action, control in ((-1.0, -0.26), (1.0, 2.05)):
        one.reset(seed=0)
        one.step(np.full(19, action))
        assert one.data.actuator("left_knee").ctrl[0] == pytest.approx(control, abs=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_controls_are_computed_in_the_actions_own_precision(dtype):
    one = env("h1hand-stand")
    one.reset(seed=0)
    action = np.random.default_rng(3).uniform(-1, 1, 61).astype(dtype)
    one.step(action)
    low, high = (bound.astype(np.float32) for bound in one.model.actuator_ctrlrange.T)
    width = high - low
    for index in range(61):
        a = dtype(action[index])
        expected = (a + dtype(1)) / dtype(2) * dtype(width[index]) + dtype(low[index])
        assert one.data.ctrl[index] == float(expected)


def test_start_has_sites_and_centre_of_mass_where_they_belong():
    for robot, centre in (("h1", (0.02806454, 0.0009675, 0.94658911)), ("h1hand", (0.0404103, 0.00093861, 0.95022918))):
        at_keyframe(f"{robot}-stand")
        data = env(f"{robot}-stand").data
        assert data.site("head").xpos[2] == pytest.approx(1.68, abs=1e-12)
        assert data.body("torso_link").xmat[8] == 1.0
        for side, sign in (("left", 1), ("right", -1)):
            np.testing.assert_allclose(data.site(f"{side}_foot").xpos, (0.039468, sign * 0.20286, 0.0189512), atol=1e-7)
            hand = data.site(f"{side}_hand").xpos
            np.testing.assert_allclose(hand, (0.3285, sign * 0.21352962, 1.07661367), atol=1e-8)
        np.testing.assert_allclose(data.site("imu").xpos, (-0.04452, -0.01891, 1.25756), atol=1e-12)
        np.testing.assert_allclose(data.body("pelvis").subtree_com, centre, atol=1e-8)
    data = env("h1hand-stand").data
    for side, sign in (("lh", 1), ("rh", -1)):
        np.testing.assert_allclose(data.body(f"{side}_palm").xpos, (0.37451, sign * 0.21353, 1.06749), atol=1e-5)
        np.testing.assert_allclose(data.body(f"{side}_ffdistal").xpos, (0.53951, sign * 0.24653, 1.06749), atol=1e-5)


@pytest.mark.parametrize(("robot", "weak", "actuators"), [("h1", 13, 19), ("h1hand", 55, 61)])
def test_small_control_is_the_mean_over_all_actuators(robot, weak, actuators):
    _, _, _, info = at_keyframe(f"{robot}-stand")
    data = env(f"{robot}-stand").data
    forces = {"hip_pitch": 80.0, "knee": -240.0, "ankle": 16.0}
    for side in ("left", "right"):
        for joint, force in forces.items():
            assert data.actuator(f"{side}_{joint}").force[0] == pytest.approx(force, abs=1e-5)
    assert np.count_nonzero(np.abs(data.actuator_force) > 1e-9) == 6
    assert info["small_control"] == pytest.approx((4 + weak / actuators) / 5, abs=1e-12)


def test_knee_and_torso_servos_saturate():
    one = env("h1-stand")
    one.reset(seed=0)
    qpos = one.model.key_qpos[0].copy()
    qpos[[10, 15]] = 0.0
    one.set_state(qpos, np.zeros(25))
    one.data.ctrl[3], one.data.ctrl[10] = 2.05, 2.0
    mujoco.mj_forward(one.model, one.data)
    assert one.data.actuator_force[3] == 300.0
    assert one.data.actuator_force[10] == 200.0
    torso = one.model.actuator("torso")
    assert (torso.gainprm[0], *torso.biasprm[1:3]) == (300, -300, -6)


def test_hips_pitch_further_than_elsewhere_and_hand_joints_have_their_friction():
    model = env("h1hand-stand").model

    def dof_of(joint: str) -> tuple[float, float, float]:
        dof = model.joint(joint).dofadr[0]
        return model.dof_damping[dof], model.dof_armature[dof], model.dof_frictionloss[dof]

    for side in ("left", "right"):
        np.testing.assert_array_equal(model.joint(f"{side}_hip_pitch").range, (-3.14, 2.53))
        assert dof_of(f"{side}_wrist_yaw") == (1, 0.1, 0)
    for name in (model.joint(index).name for index in range(model.njnt)):
        if name.startswith(("lh_", "rh_")):
            assert dof_of(name) == (0.5 if name.endswith(("WRJ1", "WRJ2")) else 0.05, 0.0002, 0.01)


def test_foot_stands_on_its_narrow_sole():
    at_keyframe("h1-stand")
    model, data = env("h1-stand").model, env("h1-stand").data
    for side in ("left", "right"):
        foot = model.body(f"{side}_ankle_link").id
        (geom,) = np.flatnonzero((model.geom_bodyid == foot) & (model.geom_contype == 1))
        mesh = model.mesh(model.geom_dataid[geom])
        corners = model.mesh_vert[mesh.vertadr[0] : mesh.vertadr[0] + mesh.vertnum[0]]
        world = corners @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]
        assert world[:, 2].min() == pytest.approx(-0.00104881, abs=1e-7)
        sole = world[world[:, 2] < -0.00104]
        np.testing.assert_allclose(np.ptp(sole[:, :2], axis=0), (0.2891, 0.024), atol=1e-4)
    assert data.ncon == 6


# What rewards are made of: checks 14 to 18.


@pytest.mark.parametrize(
    ("kind", "at_margin"),
    [("gaussian", 0.1), ("gaussian", 0.7), ("linear", 0.0), ("linear", 0.1), ("quadratic", 0.0), ("quadratic", 0.1)],
)
def test_tolerance_is_dm_controls(kind, at_margin):
    from dm_control.utils import rewards

    for bounds in ((0.0, 0.0), (-1.0, 0.5), (0.9, math.inf), (-math.inf, 2.0)):
        for margin in (0.0, 0.2, 1.9, 5.0):
            for x in np.linspace(-7.0, 7.0, 57).tolist():
                expected = rewards.tolerance(x, bounds, margin, kind, at_margin)
                assert tolerance(x, bounds, margin, kind, at_margin) == pytest.approx(float(expected), abs=1e-14)


def test_standing_falls_off_with_the_heads_height():
    assert moved("h1-walk")["standing"] == 1.0
    assert moved("h1-walk", z=0.98 - 1.68 + 1.2375)["standing"] == pytest.approx(0.1, abs=1e-12)
    assert moved("h1-walk", z=0.98 - 1.68 + 0.825)["standing"] == pytest.approx(1e-4, abs=1e-12)


@pytest.mark.parametrize(
    ("task", "upright"), [("walk", 0.5263158), ("stair", 0.7368421), ("hurdle", 0.5789474), ("sit_simple", 0.0)]
)
def test_upright_of_one_who_lies_has_the_tasks_own_margin(task, upright):
    lying = (0, 0, 3.0, math.sqrt(0.5), math.sqrt(0.5), 0, 0)
    assert at_keyframe(f"h1-{task}", free_base=lying)[3]["upright"] == pytest.approx(upright, abs=1e-7)


@pytest.mark.parametrize(
    ("task", "speed", "move"),
    [("walk", 0.0, 1 / 6), ("walk", 0.5, 0.5833333), ("walk", 1.0, 1.0), ("walk", 2.0, 1.0), ("walk", -1.0, 1 / 6),
     ("run", 1.0, 0.3333333), ("pole", 0.25, 0.5833333), ("hurdle", 1.0, 0.3333333), ("crawl", 0.5, 0.5833333)],
)  # fmt: skip
def test_moving_is_paid_up_to_the_tasks_speed(task, speed, move):
    assert with_velocity(f"h1-{task}", speed)["move"] == pytest.approx(move, abs=1e-7)


def test_staying_is_the_mean_over_both_axes():
    assert with_velocity("h1-stand", 2.0)["dont_move"] == pytest.approx(0.55, abs=1e-12)


def test_crawl_pays_for_the_pelvis_lying():
    reward, info = at_keyframe("h1-crawl")[1], at_keyframe("h1-crawl")[3]
    low = min(info["crawling"], info["crawling_head"])
    rest = reward - 0.1 * info["small_control"] - 0.25 * low - 0.4 * info["move"]
    assert rest / 0.25 == pytest.approx(0.3273407, abs=1e-7)
    assert info["crawling_head"] == pytest.approx(0.1 ** (0.68**2), abs=1e-12)
    assert at_keyframe("h1-crawl", free_base=(0, 1.1, 0.98, 1, 0, 0, 0))[1] == 0.0


# The tasks: checks 19 to 22, 27, 28, and what the scenes touch.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "bodies", "geoms", "contacts"),
    [("stand", 23, 42, 6), ("walk", 23, 42, 6), ("run", 23, 42, 6), ("stair", 28, 85, 6), ("crawl", 24, 48, 6),
     ("pole", 68, 336, 6), ("slide", 24, 63, 6), ("maze", 24, 106, 6), ("sit_simple", 24, 52, 8),
     ("sit_hard", 24, 52, 12), ("balance_simple", 25, 46, 3), ("balance_hard", 25, 46, 4), ("hurdle", None, None, 6),
     ("reach", 23, None, 6)],
)  # fmt: skip
def test_scene_has_its_numbers_of_parts(task, bodies, geoms, contacts):
    one = env(f"h1-{task}")
    at_keyframe(f"h1-{task}")
    assert one.data.ncon == contacts
    if bodies is not None:
        assert one.model.nbody == bodies
        assert env(f"h1hand-{task}").model.nbody == bodies + 48
    if geoms is not None:
        assert (
            HumanoidBenchEnv(
                dataclasses.replace(TASKS["h1-walk"], id=f"humanoidbench/h1-{task}"), looks=True
            ).model.ngeom
            == geoms
        )


def test_maze_leads_from_checkpoint_to_checkpoint():
    one = env("h1-maze")
    _, _, terminated, info = at_keyframe("h1-maze")
    assert (info["stage_convert_reward"], info["success_subtasks"], terminated) == (100.0, 1, False)
    qpos = one.model.key_qpos[0].copy()

    def stand_at(x: float, y: float, velocity: tuple[float, float] = (0, 0)) -> dict:
        qpos[:2] = x, y
        qvel = np.zeros(one.model.nv)
        qvel[:2] = velocity
        one.set_state(qpos, qvel)
        return one.end_step()[4]

    for place, stage in (((1.5, 0), 1), ((2.7, 0.2), 2), ((3, 3), 2), ((3, 6), 3), ((6, 6), 4), ((6, 6), 4)):
        before = info["success_subtasks"]
        info = stand_at(*place)
        assert info["success_subtasks"] == stage
        assert info["stage_convert_reward"] == (100.0 * stage if stage > before else 0.0)
    assert info["move"] == 1.0  # there is nowhere to go from the last checkpoint
    near = math.dist((6 - 0.04452, 6 - 0.01891), (6, 6))
    assert info["checkpoint_proximity_reward"] == pytest.approx(0.1 ** (near**2), abs=1e-12)

    at_keyframe("h1-maze")  # stage 1: walk along x with 2 m/s; stage 2: along y
    assert stand_at(1.5, 0, (2, 0))["move"] == pytest.approx(1.0)
    assert stand_at(1.5, 0, (0, 2))["move"] == pytest.approx(1 / 6)
    stand_at(3, 0)
    assert stand_at(3, 1.5, (0, 2))["move"] == pytest.approx(1.0)
    one.reset(seed=0)
    assert one.end_step()[4]["success_subtasks"] == 1  # begun anew


def test_what_moves_on_its_own_has_its_mass():
    for name, body, mass, inertia in (
        ("h1-sit_hard", "chair", 15.748, (1.02449, 0.925289, 0.546398)),
        ("h1-balance_hard", "stand_board", 19.8, (2.145, 2.00244, 0.15444)),
        ("h1-balance_hard", "rolling_pivot", 20.5795263, (0.2378993,) * 3),
    ):
        found = env(name).model.body(body)
        assert found.mass[0] == pytest.approx(mass, abs=1e-7)
        np.testing.assert_allclose(found.inertia, inertia, rtol=1e-5)


def touching(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Centre and half-size of each box of the scenery that touches, in world axes."""
    at_keyframe(name)
    model, data = env(name).model, env(name).data
    last = model.body("right_hand").id
    boxes = [
        index
        for index in range(model.ngeom)
        if model.geom_type[index] == mujoco.mjtGeom.mjGEOM_BOX and not 0 < model.geom_bodyid[index] <= last
    ]
    return [(data.geom_xpos[index], model.geom_size[index]) for index in boxes]


def test_sceneries_have_their_measures():
    stairs = [(centre, half) for centre, half in touching("h1-stair") if half[2] < 1]
    assert len(stairs) == 20
    assert max(centre[2] + half[2] for centre, half in stairs) == pytest.approx(0.9)
    assert min(centre[0] - half[0] for centre, half in stairs) == pytest.approx(0.5)
    tunnel = touching("h1-crawl")
    assert tunnel[2][0][2] - tunnel[2][1][2] == pytest.approx(1.15)
    assert (tunnel[2][0][0] - 8, tunnel[2][0][0] + 8) == pytest.approx((2.2, 18.2))
    hurdles = [(centre, half) for centre, half in touching("h1-hurdle") if half[0] == 0.03]
    assert [centre[0] for centre, _ in hurdles] == list(range(7, 71, 7))
    assert {centre[2] + half[2] for centre, half in hurdles} == {0.375}
    maze = touching("h1-maze")
    assert len(maze) == 30
    assert {round(centre[2] + half[2], 12) for centre, half in maze} == {1.2}
    assert (3.0, 6.0) not in {tuple(centre[:2].round(9)) for centre, _ in maze}
    assert {(-1.5, 7.5), (7.5, -1.5), (1.5, 4.5)} <= {tuple(centre[:2].round(9)) for centre, _ in maze}
    model = env("h1-pole").model
    poles = [i for i in range(model.ngeom) if model.body(model.geom_bodyid[i]).name.startswith("pole_row_")]
    assert len(poles) == 144
    assert {tuple(model.geom_size[index, :2]) for index in poles} == {(0.05, 1.0)}
    assert tuple(model.geom("pole_r2_c3").pos) == (0.0, -1.5, 1.0)


def test_eyes_look_ahead_and_checkpoints_are_marked_where_the_way_turns():
    """Both are HumanoidBench's, though no reward reads them."""
    model = env("h1-maze").model
    for eye in ("left_eye", "right_eye"):
        axes = np.zeros(9)
        mujoco.mju_quat2Mat(axes, model.site(eye).quat)
        np.testing.assert_allclose(axes.reshape(3, 3)[:, 2], (1, 0, 0), atol=1e-12)
    marks = [tuple(model.site(f"intersection_{letter}").pos) for letter in "abcd"]
    assert marks == [(0, 0, 1), (3, 0, 1), (3, 6, 1), (6, 6, 1)]


def test_slides_are_ridges_one_after_another():
    one = env("h1-slide")
    at_keyframe("h1-slide")
    model, data = one.model, one.data
    ridges = []
    for index in range(model.ngeom):
        if model.geom_bodyid[index] == model.body("slides").id:
            mesh = model.mesh(model.geom_dataid[index])
            corners = model.mesh_vert[mesh.vertadr[0] : mesh.vertadr[0] + mesh.vertnum[0]]
            world = corners @ data.geom_xmat[index].reshape(3, 3).T + data.geom_xpos[index]
            top = world[world[:, 2] > 1]
            assert top[:, 2] == pytest.approx(1.75, abs=1e-6)
            assert (world[:, 0].min(), world[:, 0].max()) == pytest.approx((top[0, 0] - 5, top[0, 0] + 5), abs=1e-5)
            ridges.append(top[0, 0])
    assert ridges == pytest.approx([5.3 + 10 * k for k in range(9)], abs=1e-5)


@pytest.mark.parametrize(
    ("task", "height"),
    [("stand", 0.2), ("walk", 0.2), ("run", 0.2), ("hurdle", 0.2), ("maze", 0.2), ("pole", 0.5), ("sit_simple", 0.5),
     ("sit_hard", 0.5), ("balance_simple", 0.8), ("balance_hard", 0.8)],
)  # fmt: skip
def test_episode_terminates_below_the_tasks_height(task, height):
    aside = 4.0 if task.startswith("balance") else 0.3  # clear of the board
    for z, terminated in ((height - 1e-6, True), (height + 1e-6, False)):
        name, base = f"h1-{task}", (aside, 0, z, 1, 0, 0, 0)
        bent = {f"{side}_{joint}": angle for side in ("left", "right") for joint, angle in BENT.items()}
        assert at_keyframe(name, free_base=base, **(bent if task.startswith("balance") else {}))[2] == terminated


BENT = {"hip_pitch": -2.4, "knee": 2.05}
"""Legs drawn up so that nothing of the robot touches the floor at 0.8 m."""


@pytest.mark.parametrize("task", ["stair", "slide"])
def test_episode_on_a_slope_terminates_once_the_torso_lies(task):
    for up, terminated in ((0.099, True), (0.101, False)):
        half = math.acos(up) / 2
        base = (0, 0, 3.0, math.cos(half), math.sin(half), 0, 0)
        assert at_keyframe(f"h1-{task}", free_base=base)[2] == terminated


@pytest.mark.parametrize("task", ["crawl", "reach"])
def test_crawl_and_reach_never_terminate(task):
    assert not at_keyframe(f"h1-{task}", free_base=(0, 0, 0.01, 0, 1, 0, 0))[2]


def test_poles_walls_and_blocks_discount_the_reward_and_hurdles_do_not():
    assert moved("h1-pole")["collision_discount"] == 1.0
    assert moved("h1-pole", x=1.0, y=0.75)["collision_discount"] == 0.1
    assert moved("h1-pole", x=0.5, y=2.9)["collision_discount"] == 1.0  # the barrier
    assert env("h1-pole").data.ncon > 6
    assert moved("h1-hurdle", x=7.0)["wall_collision_discount"] == 1.0
    assert env("h1-hurdle").data.ncon > 6
    assert moved("h1-hurdle", y=4.4)["wall_collision_discount"] == 0.1
    assert moved("h1-maze")["wall_collision_discount"] == 1.0
    assert moved("h1-maze", y=-0.6)["wall_collision_discount"] == 0.1


def test_balance_ends_when_the_floor_or_the_ball_is_touched():
    assert not at_keyframe("h1-balance_hard")[2]
    high = (0, 0, 2.0, 1, 0, 0, 0)
    tilted = (0, 0, 0.3, math.cos(0.5), math.sin(0.5), 0, 0)
    assert not at_keyframe("h1-balance_hard", free_base=high)[2]
    assert at_keyframe("h1-balance_hard", free_base=high, free_stand_board=tilted)[2]  # board on the floor
    assert at_keyframe("h1-balance_hard", free_base=(1, 0, 0.95, 1, 0, 0, 0))[2]  # feet on the floor
    ball = (0.039, 0.203, 1.1, 1, 0, 0, 0)
    assert at_keyframe("h1-balance_hard", free_base=high, free_rolling_pivot=ball)[2]  # ball at the foot


def test_sitting_is_paid_on_the_chair():
    info = at_keyframe("h1-sit_simple", free_base=(-0.25, 0, 0.7, 1, 0, 0, 0))[3]
    assert info["sitting"] == 1.0
    posture = tolerance(1.68 - 1.25756, (0.35, 0.45), 0.3)
    assert info["sitting_posture"] == posture == 1.0
    assert info["sit_reward"] == 1.0
    aside = at_keyframe("h1-sit_hard", free_base=(-0.25, 0, 0.7, 1, 0, 0, 0), free_chair=(-0.25, 0.1, 0, 1, 0, 0, 0))
    assert aside[3]["sit_reward"] == pytest.approx(0.5 + 0.5 * 0.1)


def test_reach_pays_for_the_left_hand_at_the_goal():
    hand = np.array((0.3285, 0.21352962, 1.07661367))
    obs, reward, _, info = at_keyframe("h1-reach", goal=hand + np.array((0.03, 0, 0)))
    assert info["hand_dist"] == pytest.approx(0.03, abs=1e-8)
    assert reward == pytest.approx(5 + 5 + 10)
    np.testing.assert_allclose(obs[51:], [*hand, *(hand + np.array((0.03, 0, 0)))], atol=1e-6)
    assert at_keyframe("h1-reach", goal=hand + np.array((0, 0.5, 0)))[1] == pytest.approx(10)
    assert at_keyframe("h1-reach", goal=hand + np.array((0, 0, 1.1)))[1] == pytest.approx(5)
    one = env("h1-reach")
    one.set_state(one.model.key_qpos[0], np.full(25, 0.5), goal=hand + np.array((0, 0, 1.1)))
    assert one.end_step()[4]["motion_penalty"] == pytest.approx(25 * 0.25)
    assert one.end_step()[1] == pytest.approx(5 - 0.0001 * 25 * 0.25)


@pytest.mark.parametrize(
    ("task", "keys"),
    [("stand", "small_control stand_reward dont_move standing upright"),
     ("walk", "stand_reward small_control move standing upright"),
     ("run", "stand_reward small_control move standing upright"),
     ("stair", "stand_reward small_control move standing upright"),
     ("slide", "stand_reward small_control move standing upright"),
     ("crawl", "crawling crawling_head small_control move in_tunnel"),
     ("pole", "stand_reward small_control move standing upright collision_discount"),
     ("hurdle", "stand_reward small_control move standing upright wall_collision_discount"),
     ("maze", "stand_reward small_control move wall_collision_discount stage_convert_reward "
              "checkpoint_proximity_reward success_subtasks"),
     ("sit_simple", "small_control sit_reward dont_move sitting upright sitting_posture"),
     ("sit_hard", "small_control sit_reward dont_move sitting upright sitting_posture"),
     ("balance_simple", "small_control stand_reward dont_move standing upright"),
     ("balance_hard", "small_control stand_reward dont_move standing upright"),
     ("reach", "hand_dist healthy_reward motion_penalty reward_close reward_success")],
)  # fmt: skip
def test_info_tells_the_rewards_terms(task, keys):
    _, reward, _, info = at_keyframe(f"h1hand-{task}")
    assert set(info) == {"per_timestep_reward", *keys.split()}
    assert info["per_timestep_reward"] == reward


def test_seeded_reset_begins_at_the_numbers_of_its_seed():
    obs, info = env("h1-walk").reset(seed=0)
    np.testing.assert_allclose(obs[:3], (0.00273923, -0.00460427, 0.97081947), atol=1e-7)
    np.testing.assert_allclose(obs[3:7], (0.99994293, 0.00632622, 0.00833524, 0.00215342), atol=1e-7)
    assert info == {}
    noise = np.random.default_rng(0).uniform(-0.01, 0.01, 26)
    np.testing.assert_allclose(obs[7:26], env("h1-walk").model.key_qpos[0][7:] + noise[7:], atol=1e-7)
    assert not obs[26:].any()


def test_reset_draws_of_a_task_come_from_a_stream_of_their_own():
    rng = np.random.RandomState(7)
    x, y, yaw = rng.uniform(0.2, 0.4), rng.uniform(-0.15, 0.15), rng.uniform(-1.8, 1.8)
    noise = np.random.default_rng(7).uniform(-0.01, 0.01, 33)
    obs, _ = env("h1-sit_hard").reset(seed=7)
    np.testing.assert_allclose(obs[:3], (x, y, 0.98 + noise[2]), atol=1e-7)
    np.testing.assert_allclose(obs[3:7], (math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)), atol=1e-7)
    chair = np.array([-0.25, 0, 0, 1, 0, 0, 0]) + noise[26:]
    chair[3:] /= np.linalg.norm(chair[3:])
    np.testing.assert_allclose(obs[26:33], chair, atol=1e-7)
    goal = np.random.RandomState(7).uniform([-2, -2, 0.2], [2, 2, 2.0])
    np.testing.assert_allclose(env("h1hand-reach").reset(seed=7)[0][-3:], goal, atol=1e-7)
    assert not np.allclose(env("h1hand-reach").reset()[0][-3:], goal)  # without a seed both streams go on


@pytest.mark.parametrize("name", ["h1-maze", "h1-sit_hard", "h1hand-reach"])
def test_an_episode_repeats_to_the_bit_after_any_other(name):
    one = env(name)
    actions = np.random.default_rng(0).uniform(-1, 1, (20, one.model.nu)).astype(np.float32)

    def play(seed: int) -> list[np.ndarray]:
        one.reset(seed=seed)
        states = [np.append(one.data.qpos, one.data.qvel)]
        for action in actions:
            _, reward, *_ = one.step(action)
            states.append(np.concatenate([one.data.qpos, one.data.qvel, [reward]]))
        return states

    first = play(3)
    play(4)
    for found, expected in zip(play(3), first, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_positions_are_of_the_steps_end_and_what_follows_from_them_of_its_last_substeps_beginning():
    one = env("h1hand-walk")
    one.reset(seed=1)
    model, twin = one.model, mujoco.MjData(one.model)
    twin.qpos[:], twin.qvel[:] = one.data.qpos, one.data.qvel
    twin.qacc_warmstart[:] = one.data.qacc_warmstart
    one.step(np.random.default_rng(2).uniform(-1, 1, 61))
    twin.ctrl[:] = one.data.ctrl
    mujoco.mj_step(model, twin, 9)
    mujoco.mj_forward(model, twin)
    for field in ("site_xpos", "xmat", "sensordata", "actuator_force"):
        np.testing.assert_allclose(getattr(one.data, field), getattr(twin, field), atol=1e-9)
    assert np.abs(one.data.qpos - twin.qpos).max() > 1e-6


def test_a_state_can_be_evaluated_before_any_reset():
    one = HumanoidBenchEnv(TASKS["h1-maze"])
    one.set_state(one.model.key_qpos[0], np.zeros(25))
    assert one.end_step()[1] == pytest.approx(100.25403509, abs=1e-8)


def test_state_at_will_is_evaluated_and_wrong_ones_are_refused():
    one = env("h1-reach")
    one.reset(seed=0)
    with pytest.raises(ValueError, match=r"qpos has shape \(3,\); the task takes \(26,\)"):
        one.set_state(np.zeros(3), np.zeros(25))
    with pytest.raises(ValueError, match="height: no value of this task; it takes goal"):
        one.set_state(np.zeros(26), np.zeros(25), height=1)
    with pytest.raises(ValueError, match=r"goal has shape \(2,\); the task takes \(3,\)"):
        one.set_state(np.zeros(26), np.zeros(25), goal=(1, 2))
    with pytest.raises(ValueError, match="goal: no value of this task; it takes none"):
        env("h1-walk").set_state(np.zeros(26), np.zeros(25), goal=(1, 2, 3))


def test_scores_are_the_published_constants_and_bars():
    bars = {"stand": 800, "maze": 1200, "sit_simple": 750, "sit_hard": 750, "balance_simple": 800, "balance_hard": 800}
    bars |= {
        "reach": 12000,
        "h1hand-crawl": 800,
    }  # 800 in the authors' table of scores, where the task's own bar is 700
    for name, spec in TASKS.items():
        task = name.split("-", 1)[1]
        assert (spec.norm_low, spec.norm_high) == score_constants()[spec.id]
        if task in LOCOMOTION:
            assert spec.norm_high == bars.get(name, bars.get(task, 700))
            assert spec.max_episode_steps == 1000
    assert [f"h1-{task}" for task in LOCOMOTION[:9]] == MEDIUM


@pytest.mark.slow
@pytest.mark.parametrize("name", ["h1-maze", "h1hand-balance_hard", "h1hand-cabinet"])
def test_what_is_filmed_moves_as_what_is_trained(name):
    spec = registry.spec(f"humanoidbench/{name}")
    lean, seen = registry.make(spec), registry.make(spec, render=True)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(lean.reset(seed=3)[0], seen.reset(seed=3)[0])
    for action in rng.uniform(-1, 1, (40, spec.action_dim)).astype(np.float32):
        for ours, theirs in zip(lean.step(action), seen.step(action), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(lean.data.qpos, seen.data.qpos)
    assert seen.model.ngeom > lean.model.ngeom


def test_a_simulation_that_explodes_costs_the_episode_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = env("h1-run")
    one.reset(seed=0)
    one.data.qvel[:] = 1e12
    with pytest.raises(DivergedError, match="mjWARN_BAD"):
        one.step(np.zeros(19, np.float32))
    assert list(tmp_path.iterdir()) == []
    obs, _ = one.reset(seed=0)
    np.testing.assert_array_equal(obs, HumanoidBenchEnv(TASKS["h1-run"]).reset(seed=0)[0])


def test_tasks_of_a_run_terminate_each_at_its_own_step():
    """In a vector environment, against each environment alone: successors, rewards and the starts that follow."""
    specs = registry.specs(f"humanoidbench/{name}" for name in ("h1-walk", "h1-crawl", "h1-pole", "h1-slide"))
    alone = [registry.make(spec) for spec in specs]
    rngs = [np.random.default_rng(number) for number in range(len(specs))]
    ends: list[list[int]] = [[] for _ in specs]

    def seed(row: int, episode: int) -> int:
        return 100 * row + episode

    with VectorEnv(specs, seed, backend="inline") as vector:
        obs = vector.reset()
        for row, one in enumerate(alone):
            np.testing.assert_array_equal(obs[row, :51], one.reset(seed=seed(row, 0))[0])
        for time in range(1, 151):
            actions = random_actions(specs, rngs)
            vector.start_step(actions)
            step = vector.wait_step()
            for row, one in enumerate(alone):
                expected, reward, terminated, truncated, _ = one.step(actions[row])
                np.testing.assert_array_equal(step.next_obs[row], expected)
                assert (step.reward[row], step.terminated[row]) == (np.float32(reward), terminated)
                assert not truncated
                assert step.episode_over[row] == terminated
                if terminated:
                    ends[row].append(time)
                    expected, _ = one.reset(seed=seed(row, len(ends[row])))
                np.testing.assert_array_equal(step.obs[row], expected)
    assert ends[1] == []
    assert all(ends[row] for row in (0, 2, 3))
    assert ends[0] != ends[2]
