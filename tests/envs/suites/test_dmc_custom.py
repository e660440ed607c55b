"""The custom DeepMind Control tasks, against hand-computed rewards and the stock tasks that they vary."""

import functools

import mujoco
import numpy as np
import pytest
from dm_control import suite

from envs.suites.dmc import custom as dmc_custom

CUSTOM = [(name, task) for name, domain in dmc_custom.DOMAINS.items() for task in domain.tasks]
STOCK = {"cheetah": "run", "walker": "walk", "hopper": "hop", "reacher": "easy", "ball_in_cup": "catch",
         "pendulum": "swingup"}  # fmt: skip
SAME_START = ("cheetah", "walker", "hopper", "pendulum")


def load(domain, task, seed=0):
    return dmc_custom.load(domain, task, {"random": seed})


built = functools.cache(load)
"""Tasks of which nothing but the reward in a given state is asked."""


def reward_at(domain: str, task: str, qpos: dict | None = None, qvel: dict | None = None) -> float:
    """The reward with these joint positions and velocities, all others zero."""
    env = built(domain, task)
    with env.physics.reset_context():
        env.physics.data.qpos[:] = 0
        for joint, value in (qpos or {}).items():
            env.physics.named.data.qpos[joint] = value
        for joint, value in (qvel or {}).items():
            env.physics.named.data.qvel[joint] = value
    return float(env.task.get_reward(env.physics))


def tenth_at(distance: float) -> float:
    """The bell that is 0.1 at distance 1."""
    return 0.1 ** (distance**2)


def linear(distance: float, value_at_one: float = 0.0) -> float:
    return max(0.0, 1 - distance * (1 - value_at_one))


@pytest.mark.parametrize(("speed", "reward"), [(-9, 1), (-8, 1), (-6, 0.75), (-2, 0.25), (0, 0), (3, 0)])
def test_cheetah_runs_backwards_at_eight(speed, reward):
    assert reward_at("cheetah", "run_backwards", qvel={"rootx": speed}) == pytest.approx(reward)


# With all joints at zero, frames are as in the model: the torso at 0.7 + rootz, the back foot 0.39 and the front foot
# 0.42 below it.
@pytest.mark.parametrize(("task", "drop"), [("run_front", 0.39), ("run_back", 0.42)])
@pytest.mark.parametrize(("rootz", "speed"), [(0.5, 3.0), (0.0, 6.5), (2.0, -1.0), (0.9, 1.5)])
def test_cheetah_runs_on_one_foot_with_the_other_up(task, drop, rootz, speed):
    torso = 0.7 + rootz
    up = lambda z: tenth_at(max(0.0, 1.2 - z) / 0.6)  # noqa: E731
    run = linear(max(0.0, 6 - speed) / 6)
    expected = (3 * up(torso - drop) + 2 * up(torso)) / 5 * (5 * run + 1) / 6
    assert reward_at("cheetah", task, {"rootz": rootz}, {"rootx": speed}) == pytest.approx(expected)


@pytest.mark.parametrize(("rootz", "speed"), [(0.5, 0.0), (0.0, 0.75), (2.0, -0.5), (0.6, -2.0)])
def test_cheetah_jumps_on_the_spot(rootz, speed):
    torso = 0.7 + rootz
    stay = linear(max(0.0, abs(speed) - 0.5) / 0.5)
    sides = [(5 * tenth_at(max(0.0, 1.2 - (torso - drop / 2)) / 0.6) + stay) / 6 for drop in (0.39, 0.42)]
    assert reward_at("cheetah", "jump", {"rootz": rootz}, {"rootx": speed}) == pytest.approx(sum(sides) / 2)


@pytest.mark.parametrize(("task", "full_speed"), [("walk_backwards", 1), ("run_backwards", 8)])
@pytest.mark.parametrize("fraction", [1.2, 1.0, 0.75, 0.5, 0.25, 0.0, -1.0])
@pytest.mark.parametrize(("rootz", "pitch"), [(0.0, 0.0), (-0.4, 0.0), (0.2, np.pi / 2)])
def test_walker_moves_backwards_upright(task, full_speed, fraction, rootz, pitch):
    torso = 1.3 + rootz
    stand = (3 * tenth_at(max(0.0, 1.2 - torso) / 0.6) + (1 + np.cos(pitch)) / 2) / 4
    move = linear(max(0.0, 1 - fraction) / 0.5, 0.5)
    found = reward_at("walker", task, {"rootz": rootz, "rooty": pitch}, {"rootx": -fraction * full_speed})
    assert found == pytest.approx(stand * (5 * move + 1) / 6)


@pytest.mark.parametrize(("speed", "reward"), [(-2, 1), (-1, 1), (-0.75, 0.75), (-0.5, 0.5), (0, 0), (2, 0)])
def test_hopper_hops_backwards_at_one_while_upright(speed, reward):
    assert reward_at("hopper", "hop_backwards", qvel={"rootx": speed}) == pytest.approx(reward)
    assert reward_at("hopper", "hop_backwards", {"rooty": np.pi}, {"rootx": speed}) == 0


@pytest.mark.parametrize(("task", "reach"), [("three_easy", 0.06), ("three_hard", 0.025)])
def test_three_link_reacher_is_rewarded_where_finger_and_target_touch(task, reach):
    env = load("reacher", task)
    env.reset()
    physics = env.physics
    bends = np.array([0.3, -0.7, 1.1])
    directions = np.cumsum(bends)
    finger = 0.09 * np.array([np.cos(directions).sum(), np.sin(directions).sum()])
    for distance, reward in ((0, 1), (reach - 1e-6, 1), (reach + 1e-6, 0), (0.2, 0)):
        with physics.reset_context():
            physics.data.qpos[:] = bends
            physics.named.model.geom_pos["target", ["x", "y"]] = finger + np.array([0.6, -0.8]) * distance
        assert env.task.get_reward(physics) == reward
        to_target = env.task.get_observation(physics)["to_target"]
        np.testing.assert_allclose(to_target, [0.6 * distance, -0.8 * distance], atol=1e-12)


def test_three_link_reacher_model():
    model = load("reacher", "three_easy").physics.model
    names = [model.id2name(joint, "joint") for joint in range(model.njnt)]
    assert names == ["shoulder0", "shoulder1", "wrist"]
    assert [model.id2name(motor, "actuator") for motor in range(model.nu)] == names
    np.testing.assert_array_equal(model.actuator_trnid[:, 0], range(3))
    np.testing.assert_array_equal(model.jnt_limited, [False, True, True])
    np.testing.assert_allclose(np.rad2deg(model.jnt_range[1:]), [[-80, 80], [-80, 80]])
    np.testing.assert_array_equal(model.jnt_axis, [[0, 0, 1]] * 3)
    np.testing.assert_array_equal(model.dof_damping, [0.01] * 3)
    np.testing.assert_array_equal(model.actuator_gear[:, 0], [0.05] * 3)
    np.testing.assert_array_equal(model.actuator_ctrlrange, [[-1, 1]] * 3)
    assert model.opt.timestep == 0.02
    assert model.opt.disableflags == mujoco.mjtDisableBit.mjDSBL_CONTACT
    # A capsule's mass: cylinder and two half spheres of water.
    mass = lambda length: 1000 * np.pi * (0.01**2 * length + 4 / 3 * 0.01**3)  # noqa: E731
    expected = {"arm0": mass(0.09), "arm1": mass(0.09), "hand": mass(0.10), "finger": mass(0)}
    found = {name: model.body_mass[model.name2id(name, "body")] for name in expected}
    assert found == pytest.approx(expected)
    for name, height in (("arm0", 0.01), ("target", 0.01)):
        kind, position = ("body", model.body_pos) if name == "arm0" else ("geom", model.geom_pos)
        np.testing.assert_allclose(position[model.name2id(name, kind)], [0, 0, height])


@pytest.mark.parametrize(("task", "size"), [("three_easy", 0.05), ("three_hard", 0.015)])
def test_three_link_reacher_draws_joints_then_the_targets_angle_and_radius(task, size):
    random = np.random.RandomState(7)
    limit = np.deg2rad(80)
    joints = [random.uniform(-np.pi, np.pi), random.uniform(-limit, limit), random.uniform(-limit, limit)]
    angle, radius = random.uniform(0, 2 * np.pi), random.uniform(0.05, 0.20)
    env = load("reacher", task, seed=7)
    env.reset()
    np.testing.assert_allclose(env.physics.data.qpos, joints)
    target = env.physics.named.model.geom_pos["target"]
    np.testing.assert_allclose(target, [radius * np.sin(angle), radius * np.cos(angle), 0.01])
    assert env.physics.named.model.geom_size["target", 0] == size


# The target is at height 0.55, the ball at 0.2 + ball_z.
@pytest.mark.parametrize(
    ("x", "z", "velocity", "reward"),
    [
        (0.0, 0.35, (6.0, 6.0), 0),  # in the cup
        (0.024, 0.326, (6.0, 6.0), 0),
        (0.25, 0.35, (2.7, -3.6), (0.5 + 2 * 0.75) / 3),
        (0.25, 0.35, (0.0, 3.0), (0.5 + 2 * 0.5) / 3),
        (0.3, -0.05, (0.0, 0.0), (1 + 0) / 3),  # far, but at rest
        (0.0, 0.7, (4.8, 3.6), (0.7 + 2 * 1) / 3),
    ],
)
def test_ball_spins_fast_and_far_around_the_cup(x, z, velocity, reward):
    speeds = {"ball_x": velocity[0], "ball_z": velocity[1]}
    assert reward_at("ball_in_cup", "spin", {"ball_x": x, "ball_z": z}, speeds) == pytest.approx(reward)


def test_ball_starts_in_the_cup_nine_times_in_ten():
    """The first free draw after the one that decides whether it may be outside."""
    oracle = load("ball_in_cup", "spin").physics
    env = load("ball_in_cup", "spin")
    outside = 0
    for seed in range(40):
        env.task._random = np.random.RandomState(seed)
        env.reset()
        random = np.random.RandomState(seed)
        anywhere = random.rand() < 0.1
        while True:
            x, z = random.uniform(-0.2, 0.2), random.uniform(0.2, 0.5)
            with oracle.reset_context():
                oracle.named.data.qpos["ball_x"], oracle.named.data.qpos["ball_z"] = x, z
            inside = abs(x) < 0.025 and abs(z - 0.35) < 0.025
            if oracle.data.ncon == 0 and (inside or anywhere):
                break
        np.testing.assert_array_equal(env.physics.named.data.qpos[["ball_x", "ball_z"]], [x, z])
        outside += not inside
    assert 1 <= outside <= 10


@pytest.mark.parametrize(("velocity", "reward"), [(9, 1), (-12, 1), (-6.75, 0.75), (4.5, 0.5), (2.25, 0.25), (0, 0)])
def test_pendulum_spins_at_nine_either_way(velocity, reward):
    assert reward_at("pendulum", "spin", qvel={"hinge": velocity}) == pytest.approx(reward)


@pytest.mark.parametrize(("domain", "task"), CUSTOM)
def test_all_but_the_reward_is_the_stock_tasks(domain, task):
    """Timing, observation keys, and where start and body are the same the whole trajectory."""
    custom, stock = load(domain, task, seed=3), suite.load(domain, STOCK[domain], {"random": 3})
    assert custom._step_limit == stock._step_limit == 1000
    assert custom.control_timestep() == stock.control_timestep()
    assert custom.physics.timestep() == stock.physics.timestep()
    found, expected = custom.reset(), stock.reset()
    assert list(found.observation) == list(expected.observation)
    if domain in SAME_START:
        size = stock.action_spec().shape[0]
        for time in range(20):
            for key, value in expected.observation.items():
                np.testing.assert_array_equal(found.observation[key], value)
            action = 0.5 * np.sin(0.1 * time + np.arange(size))
            found, expected = custom.step(action), stock.step(action)
            assert 0 <= found.reward <= 1


def test_load_takes_the_suites_arguments_and_falls_back_to_its_tasks():
    short = dmc_custom.load("pendulum", "spin", {"time_limit": 0.1, "random": 0})
    assert short._step_limit == 5
    stock = dmc_custom.load("reacher", "easy", {"random": 1})
    assert stock.physics.model.nq == 2
    np.testing.assert_array_equal(
        stock.reset().observation["position"],
        suite.load("reacher", "easy", {"random": 1}).reset().observation["position"],
    )
    with pytest.raises(ValueError, match="four_easy"):
        dmc_custom.load("reacher", "four_easy")
    with pytest.raises(ValueError, match="cheeta"):
        dmc_custom.load("cheeta", "run")
