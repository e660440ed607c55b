"""The learner of discrete actions, on frames and networks so small that compiling is most of the work.

What JAX is asked outside of a compiled function, JAX compiles by itself, each operation for each shape: NumPy does here
what need not be JAX, and a test compiles what it looks at as one function.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from scipy import special

from agents import sizes
from agents.learner import brc_discrete as discrete
from agents.learner import critic, losses, networks
from agents.learner.api import learner_of
from agents.learner.brc_discrete import LearnerState, Settings
from agents.learner.types import Batch
from conf.compose import compose
from envs.spec import TaskSpec
from tests.agents.settings import discrete_settings, params_of_flax

SIDE = 12
TINY = discrete_settings(
    num_tasks=3,
    obs_shape=(2, SIDE, SIDE),
    action_dim=4,
    width=8,
    depth=0,
    encoder_channels=1,
    encoder_stride=2,
    num_bins=11,
    embedding_dim=4,
    v_max=5.0,
    epsilon_steps=100,
    epsilon=0.1,
    eval_epsilon=0.05,
)
KEY = jax.random.key(0)
RETURN_SCALE = np.asarray([0.0, 20.0, 300.0], np.float32)


@pytest.fixture(autouse=True)
def shallow_encoder(request, monkeypatch):
    """One stage of one block compiles in a fraction of the time; tests marked so see the whole."""
    if "whole_encoder" not in request.fixturenames:
        monkeypatch.setattr(networks, "ENCODER_STAGES", 1)
        monkeypatch.setattr(networks, "ENCODER_BLOCKS", 1)


@pytest.fixture
def whole_encoder():
    """Asks for all three stages."""


def variant(**changes) -> Settings:
    return dataclasses.replace(TINY, **changes)


def make_batch(settings: Settings, *shape: int, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    frames = lambda: rng.integers(0, 256, (*shape, *settings.obs_shape), np.uint8)  # noqa: E731
    return Batch(
        obs=frames(),
        action=rng.integers(0, settings.action_dim, shape, np.int32),
        reward=rng.normal(size=shape).astype(np.float32),
        next_obs=frames(),
        discount=np.where(rng.random(shape) < 0.8, 0.97, 0).astype(np.float32),
        task_ids=rng.integers(0, settings.num_tasks, shape, np.int32),
    )


@functools.cache
def init(settings: Settings) -> LearnerState:
    """A state with random kernels (compiling orthogonal ones takes seconds a shape), and a target that differs."""
    rng = np.random.default_rng(0)
    draw = lambda key, shape, scale: 0.5 * rng.normal(size=shape).astype(np.float32)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "_orthogonal", draw)
        state = jax.device_get(discrete.init(settings, KEY))
    shaken = jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape).astype(np.float32), state.critic)
    return state._replace(target_critic=shaken)


def fresh(settings: Settings) -> LearnerState:
    """A copy on the device, since `update` takes its state's memory."""
    return jax.device_put(init(settings))


# Targets and losses


def random_logits(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_greedy_target_and_loss_are_those_of_rlax():
    """`rlax.categorical_double_q_learning`, transition by transition, for one critic."""
    settings = variant(ensemble_size=1)
    batch = 16
    logits, next_logits = random_logits(1, 1, batch, 4, 11), random_logits(2, 1, batch, 4, 11)
    selector = random_logits(3, batch, 4)
    rng = np.random.default_rng(0)
    action = rng.integers(0, 4, batch).astype(np.int32)
    reward = rng.normal(size=batch).astype(np.float32)
    discount = np.where(rng.random(batch) < 0.7, 0.9, 0).astype(np.float32)

    @jax.jit
    def ours(logits, next_logits):
        next_outputs, bonus = discrete.next_value(settings, next_logits, selector)
        target, target_value = critic.critic_target(settings, next_outputs, reward, discount, bonus)
        return losses.cross_entropy(losses.of_action(logits, action), target), target, target_value

    found, target, target_value = jax.device_get(ours(logits, next_logits))
    bins = np.asarray(settings.bins)
    loss = jax.jit(jax.vmap(rlax.categorical_double_q_learning, in_axes=(None, 0, 0, 0, 0, None, 0, 0)))
    expected = np.asarray(loss(bins, logits[0], action, reward, discount, bins, next_logits[0], selector))
    np.testing.assert_allclose(found, expected.mean(), rtol=1e-5)
    np.testing.assert_allclose(target_value, target @ bins, rtol=1e-6)


def test_target_distribution_is_the_members_mean_at_the_online_critics_action():
    settings = variant(num_bins=3, v_max=1.0)
    probs = np.float32([[[[0.2, 0.3, 0.5], [0.9, 0.1, 0.0]]], [[[0.4, 0.1, 0.5], [0.1, 0.1, 0.8]]]])  # [2, 1, 2, 3]

    @jax.jit
    def ours(probs, selector):
        outputs, bonus = discrete.next_value(settings, jnp.log(probs), selector)
        return critic.critic_target(settings, outputs, jnp.zeros(1), jnp.ones(1), bonus)

    target, target_value = ours(probs, np.float32([[1.0, 0.9]]))
    np.testing.assert_allclose(target, [[0.3, 0.2, 0.5]], atol=1e-6)
    np.testing.assert_allclose(target_value, [0.2], atol=1e-6)


@pytest.mark.parametrize("value_loss", ["categorical", "squared"])
def test_soft_backup_is_the_smooth_maximum_of_the_values(value_loss):
    """With one critic that also selects: temperature * log sum exp (Q / temperature)."""
    settings = variant(ensemble_size=1, backup="soft", soft_temperature=0.5, value_loss=value_loss, v_max=20.0)

    @jax.jit
    def ours(outputs):
        q = critic.expected_value(settings, outputs)
        next_outputs, bonus = discrete.next_value(settings, outputs, q)
        return q, critic.expected_value(settings, next_outputs) + bonus

    q, found = ours(random_logits(1, 1, 6, 4, settings.num_outputs))
    smooth = 0.5 * np.log(np.exp(np.asarray(q, np.float64) / 0.5).sum(axis=-1))
    np.testing.assert_allclose(found, smooth, rtol=1e-4)


def test_heads_give_each_task_its_own_values_of_every_action():
    settings = variant(conditioning="heads")
    critic, batch = init(settings).critic, make_batch(settings, 1)
    obs = np.repeat(batch.obs, 3, axis=0)
    outputs = np.asarray(jax.jit(functools.partial(discrete.critic_outputs, settings))(critic, obs, np.arange(3)))
    assert outputs.shape == (2, 3, 4, 11)
    assert not np.allclose(outputs[:, 0], outputs[:, 1])


def test_reward_factor_has_no_entropy_in_it_and_never_divides_by_less_than_one():
    found = critic.reward_factor(TINY, jnp.asarray([0.0, 0.5, 20.0]), 0.0)
    np.testing.assert_allclose(found, [5, 5, 0.25])
    np.testing.assert_array_equal(critic.reward_factor(variant(reward_scale="off"), jnp.ones(3), 0.0), [1, 1, 1])


# The encoder


def test_encoder_sees_every_frame_of_the_stack_and_gives_unit_variance(whole_encoder):
    settings = variant(obs_shape=(4, SIDE, SIDE), encoder_channels=2)
    params = init(settings).critic["encoder"]
    compiled = jax.jit(lambda frames: settings.encoder.apply({"params": params}, frames))
    features = lambda frames: np.asarray(compiled(frames))  # noqa: E731
    frames = np.random.default_rng(0).integers(0, 256, (1, 4, SIDE, SIDE), np.uint8)
    base = features(frames)
    assert base.shape == (1, 32)
    np.testing.assert_allclose([base.mean(), base.std()], [0, 1], atol=1e-2)
    for frame in range(4):
        changed = frames.copy()
        changed[0, frame] = 0
        assert not np.allclose(features(changed), base)


@pytest.mark.parametrize(
    ("overrides", "tasks"),
    [
        ([], 3),
        (["model.encoder_stride=1", "agent.conditioning=heads", "agent.value_loss=squared"], 3),
        (["model.encoder_stride=3", "agent.conditioning=one_hot", "agent.network=mlp", "agent.ensemble_size=3"], 2),
        (["model.encoder_channels=5", "agent.layer_norm=false"], 1),
    ],
)
def test_planned_sizes_are_the_real_ones(whole_encoder, monkeypatch, overrides, tasks):
    names = [f"atari/{name}" for name in ("Alien", "MsPacman", "Pong")[:tasks]]
    config = compose(["benchmark=atari_transfer", f"benchmark.tasks=[{','.join(names)}]", "model.width=12", *overrides])
    specs = [
        TaskSpec(name, (4, 31, 21), 7, 9, "return", None, None, None, "made up", "uint8", "discrete") for name in names
    ]
    monkeypatch.setattr(discrete, "init_params", params_of_flax)
    state = jax.eval_shape(lambda key: discrete.init(learner_of(config).settings(config, specs), key), KEY)
    size = sizes.run_size(config, specs)
    assert (size.critic_params, size.actor_params) == (networks.num_params(state.critic), 0)


# Acting


@jax.jit
def values_of(policy, obs, task_ids):
    return critic.expected_value(TINY, discrete.critic_outputs(TINY, policy, obs, task_ids))


def shares_of_random_actions(step: int, deterministic: bool, rows: int = 4000) -> float:
    """How often acting departs from the best action, over (A - 1) / A."""
    policy = discrete.acting_params(init(TINY))
    obs = np.repeat(make_batch(TINY, 1).obs, rows, axis=0)
    task_ids = np.zeros(rows, np.int32)
    best = np.argmax(values_of(policy, obs[:1], task_ids[:1])[0])
    actions = discrete.act(TINY, policy, obs, task_ids, KEY, np.int32(step), deterministic=deterministic)
    assert actions.dtype == np.int32
    assert set(np.unique(actions)) <= set(range(4))
    return float((np.asarray(actions) != best).mean()) * 4 / 3


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (50, 0.55), (100, 0.1), (10**6, 0.1)])
def test_exploration_falls_linearly_to_its_horizon_and_stays(step, share):
    assert shares_of_random_actions(step, deterministic=False) == pytest.approx(share, abs=0.03)


def test_evaluation_explores_by_its_own_share_whatever_the_step():
    for step in (0, 10**6):
        assert shares_of_random_actions(step, deterministic=True) == pytest.approx(0.05, abs=0.02)


def test_acting_depends_on_key_and_step_alone():
    policy, batch = discrete.acting_params(init(TINY)), make_batch(TINY, 64)
    act = lambda key, step: np.asarray(  # noqa: E731
        discrete.act(TINY, policy, batch.obs, batch.task_ids, key, np.int32(step), deterministic=False)
    )
    np.testing.assert_array_equal(act(KEY, 3), act(KEY, 3))
    assert not np.array_equal(act(KEY, 3), act(KEY, 4))
    assert not np.array_equal(act(KEY, 3), act(jax.random.key(1), 3))


def test_values_that_are_not_finite_lead_to_no_action():
    """The largest of them would be one as good as any, and nobody would notice."""
    policy, batch = discrete.acting_params(init(TINY)), make_batch(TINY, 64)
    broken = policy | {"ensemble": jax.tree.map(lambda leaf: leaf * jnp.nan, policy["ensemble"])}
    for deterministic in (False, True):
        actions = discrete.act(TINY, broken, batch.obs, batch.task_ids, KEY, np.int32(0), deterministic=deterministic)
        assert (np.asarray(actions) == -1).all()


# Augmentation


def test_images_are_shifted_by_up_to_the_pixels_with_their_edges_repeated():
    image = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)
    frames = np.repeat(np.stack([image, image + 1])[None], 200, axis=0)
    found = np.asarray(discrete.shifted(jnp.asarray(frames), KEY, 2))
    padded = np.pad(image, 2, mode="edge")
    crops = {(y, x): padded[y : y + SIDE, x : x + SIDE] for y in range(5) for x in range(5)}
    seen = set()
    for first, second in found:
        (place,) = [key for key, crop in crops.items() if np.array_equal(first, crop)]
        np.testing.assert_array_equal(second, first + 1)  # one shift for the whole stack
        seen.add(place)
    assert seen == crops.keys()
    assert discrete.shifted(frames, KEY, 0) is frames


# Updates


VARIANTS = {
    "greedy": {},
    "soft, shifted": {"backup": "soft", "soft_temperature": 0.1, "image_shift": 1},
    "squared, one_hot, soft": {
        "value_loss": "squared", "conditioning": "one_hot", "backup": "soft", "soft_temperature": 0.1
    },
    "minimum, heads, prenorm, off": {
        "ensemble_target": "min", "conditioning": "heads", "network": "prenorm", "reward_scale": "off"
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [name if name == "minimum, heads, mlp, off" else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS],
)
def test_every_variant_updates_with_finite_metrics(name):
    settings = variant(**VARIANTS[name])
    before, batches = init(settings), make_batch(settings, 1, 8)
    after, metrics = discrete.update(settings, fresh(settings), batches, RETURN_SCALE)
    assert {name: float(number) for name, number in metrics.items() if not np.isfinite(number)} == {}
    assert int(after.update_steps) == 1
    for part in ("critic", "target_critic"):
        moved = jax.tree.map(
            lambda a, b: bool(np.isfinite(b).all() and (a != b).any()), getattr(before, part), getattr(after, part)
        )
        assert all(jax.tree.leaves(moved)), (part, moved)


def test_update_is_one_adamw_step_on_the_loss_of_rlax():
    """Loss by rlax for each member, its gradient by JAX; the first AdamW step and the target's by hand."""
    settings = variant(learning_rate=1e-2, weight_decay=0.1, tau=0.25, ensemble_target="mean")
    state, batch = init(settings), make_batch(settings, 8)
    factor = 5.0 / np.maximum(RETURN_SCALE, 1)
    reward = (batch.reward * factor[batch.task_ids]).astype(np.float32)
    bins = np.linspace(-5, 5, 11, dtype=np.float32)
    outputs_of = jax.jit(functools.partial(discrete.critic_outputs, settings))
    mean_of = lambda critic: special.softmax(  # noqa: E731
        np.asarray(outputs_of(critic, batch.next_obs, batch.task_ids)), axis=-1
    ).mean(axis=0)
    selector, mean_logits = mean_of(state.critic) @ bins, np.log(mean_of(state.target_critic))
    member_loss = jax.vmap(rlax.categorical_double_q_learning, in_axes=(None, 0, 0, 0, 0, None, 0, 0))

    def loss(critic) -> Any:
        logits = discrete.critic_outputs(settings, critic, batch.obs, batch.task_ids)
        return sum(
            member_loss(bins, one, batch.action, reward, batch.discount, bins, mean_logits, selector).mean()
            for one in logits
        )

    expected_loss, grads = jax.jit(jax.value_and_grad(loss))(state.critic)
    updated = discrete.update(settings, fresh(settings), Batch(*(array[None] for array in batch)), RETURN_SCALE)
    (found, metrics), grads = jax.device_get((updated, grads))
    np.testing.assert_allclose(metrics["critic/loss"], expected_loss, rtol=1e-5)
    trees = (state.critic, grads, state.target_critic, found.critic, found.target_critic)
    compared = 0
    for old, grad, target, new, new_target in zip(*map(jax.tree.leaves, trees), strict=True):
        clear = np.abs(grad) > 1e-4  # a first step of Adam is nearly the gradient's sign
        stepped = old - 1e-2 * (grad / (np.abs(grad) + 1e-8) + 0.1 * old)
        compared += clear.sum()
        np.testing.assert_allclose(np.asarray(new)[clear], stepped[clear], atol=1e-5)
        np.testing.assert_allclose(new_target, 0.75 * target + 0.25 * np.asarray(new), atol=1e-6)
    assert compared > 0.5 * networks.num_params(state.critic)


@pytest.mark.slow
def test_two_updates_at_once_are_two_updates_in_turn():
    batches = make_batch(TINY, 2, 8)
    together, _ = discrete.update(TINY, fresh(TINY), batches, RETURN_SCALE)
    state = fresh(TINY)
    for number in range(2):
        one = Batch(*(array[number : number + 1] for array in batches))
        state, _ = discrete.update(TINY, state, one, RETURN_SCALE)
    for found, expected in zip(jax.tree.leaves(together), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_update_compiles_once_and_act_twice():
    settings = variant(learning_rate=0.1)  # not compiled by another test
    updates, acts = discrete.update._cache_size(), discrete.act._cache_size()
    state, batch = fresh(settings), make_batch(settings, 3)
    for time in range(4):
        policy, step = discrete.acting_params(state), np.int32(time)
        discrete.act(settings, policy, batch.obs, batch.task_ids, KEY, step, deterministic=False)
        discrete.act(settings, policy, batch.obs, batch.task_ids, KEY, step, deterministic=True)
        state, _ = discrete.update(settings, state, make_batch(settings, 1, 8, seed=time), RETURN_SCALE)
    assert discrete.update._cache_size() - updates == 1
    assert discrete.act._cache_size() - acts == 2
