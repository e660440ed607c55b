"""The learner of continuous actions, on networks so small that compiling is most of the work."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import sizes
from agents.learner import brc as continuous
from agents.learner import critic, losses, networks
from agents.learner.api import learner_of
from agents.learner.brc import ActingParams, LearnerState, Settings
from agents.learner.types import Batch
from conf.compose import compose
from envs.spec import TaskSpec
from tests.agents.settings import brc_settings, params_of_flax

TINY = brc_settings(
    num_tasks=3,
    obs_dim=4,
    action_dim=2,
    width=8,
    depth=0,
    actor_width=8,
    actor_depth=0,
    num_bins=11,
    embedding_dim=4,
    v_max=5.0,
)
KEY = jax.random.key(0)
RETURN_SCALE = np.asarray([0.0, 20.0, 300.0], np.float32)


def make_batch(settings: Settings, *shape: int, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    draw = lambda *tail: rng.normal(size=(*shape, *tail)).astype(np.float32)  # noqa: E731
    return Batch(
        obs=draw(settings.obs_dim),
        action=np.tanh(draw(settings.action_dim)),
        reward=draw(),
        next_obs=draw(settings.obs_dim),
        discount=np.float32(settings.discount) * (rng.random(shape) < 0.8).astype(np.float32),
        task_ids=rng.integers(0, settings.num_tasks, shape, np.int32),
    )


@functools.cache
def init(settings: Settings) -> LearnerState:
    """A state with random kernels: compiling orthogonal ones takes seconds for every new shape."""
    rng = np.random.default_rng(0)
    draw = lambda key, shape, scale: 0.5 * rng.normal(size=shape).astype(np.float32)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "_orthogonal", draw)
        return jax.device_get(continuous.init(settings, KEY))


def fresh(settings: Settings) -> LearnerState:
    """A copy on the device, since `update` takes its state's memory."""
    return jax.device_put(init(settings))


def variant(**changes) -> Settings:
    return dataclasses.replace(TINY, **changes)


# Conditioning and gradients


@pytest.mark.parametrize(("norm", "first"), [("l2", [0.6, 0.8]), ("l1", [3 / 7, 4 / 7])])
def test_embedding_rows_have_unit_norm_as_used(norm, first):
    conditioning = {"embedding": jnp.asarray([[3.0, 4.0], [0.0, -0.1], [1e3, 0.0]])}
    found = critic.task_features(variant(embedding_norm=norm), conditioning, jnp.asarray([0, 1, 2, 0]))
    np.testing.assert_allclose(found, [first, [0, -1], [1, 0], first], rtol=1e-6)


def test_embedding_gets_its_gradient_from_the_critic_and_none_from_the_actor():
    state, batch = init(TINY), make_batch(TINY, 6)
    policy = continuous.acting_params(state)

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def actor_gradients(conditioning, actor):
        """As in the update, but for every parameter that the actor's objective sees through its policy."""
        mean, log_std = continuous.policy_distribution(
            TINY, ActingParams(actor, conditioning), batch.obs, batch.task_ids
        )
        action, log_prob = losses.sample_tanh_gaussian(mean, log_std, jnp.ones_like(mean))
        outputs = continuous.critic_outputs(TINY, state.critic, batch.obs, action, batch.task_ids)
        return losses.actor_loss(critic.expected_value(TINY, outputs), log_prob, jnp.float32(0.1))

    @jax.jit
    @jax.grad
    def critic_gradient(critic):
        outputs = continuous.critic_outputs(TINY, critic, batch.obs, batch.action, batch.task_ids)
        return losses.cross_entropy(outputs, jnp.full((6, 11), 1 / 11))

    conditioning, actor = jax.device_get(actor_gradients(policy.conditioning, policy.actor))
    assert not np.any(conditioning["embedding"])
    assert all(np.any(leaf) for leaf in jax.tree.leaves(actor))
    used = np.unique(batch.task_ids)
    table = np.asarray(critic_gradient(state.critic)["conditioning"]["embedding"])
    assert (np.abs(table).max(axis=1) > 0)[used].all()


@pytest.mark.parametrize("conditioning", ["embedding", "one_hot", "none", "heads"])
def test_a_task_is_told_apart_unless_conditioning_is_none(conditioning):
    settings = variant(conditioning=conditioning)
    obs = np.ones((3, 4), np.float32)
    actions = continuous.act(
        settings, continuous.acting_params(init(settings)), obs, np.arange(3), KEY, 0, deterministic=True
    )
    same = np.array_equal(actions[0], actions[1])
    assert same == (conditioning == "none")


def test_heads_choose_each_rows_own_outputs():
    x = jnp.arange(12.0).reshape(2, 6)  # two rows of three heads of two outputs
    np.testing.assert_array_equal(networks.select_head(x, 3, jnp.asarray([2, 0])), [[4, 5], [6, 7]])


@pytest.mark.parametrize(
    ("network", "layer_norm", "expected"),
    [
        # All kernels are the identity and all biases 0, so a layer changes nothing; a norm turns (1, 3) into (-1, 1).
        ("mlp", True, [1, 3]),
        ("bronet", True, [-1, 2]),  # norm, ReLU: (0, 1); its block adds (-1, 1)
        ("bronet", False, [2, 6]),  # the block adds its input
        ("prenorm", True, [-1, 1]),  # the block adds ReLU of (-1, 1): (1, 4), and the last norm
        ("prenorm", False, [2, 6]),
    ],
)
def test_torsos_of_one_block_by_hand(network, layer_norm, expected):
    torso, x = networks.TORSOS[network](2, 1, layer_norm, "float32"), jnp.asarray([[1.0, 3.0]])
    params = jax.eval_shape(torso.init, KEY, x)["params"]
    values = {"kernel": jnp.eye(2), "bias": jnp.zeros(2), "scale": jnp.ones(2)}
    params = {layer: {name: values[name] for name in leaves} for layer, leaves in params.items()}
    np.testing.assert_allclose(torso.apply({"params": params}, x)[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("reward_scale", "expected"),
    [
        ("off", [2, 2, 2]),
        ("return", [2 / 5, 8, 120]),  # times the magnitude over v_max; never below 1
        ("release", [4, 12, 124]),  # lambda = 0.1 * 2 / 2 / 2 / (1 - 0.995) = 10
    ],
)
def test_the_critics_value_in_raw_return_by_hand(reward_scale, expected):
    """Two critics of which one says 1 and the other 3, whatever they see."""
    settings = variant(value_loss="squared", reward_scale=reward_scale, discount=0.995, init_temperature=0.1)
    state = init(settings)
    last = {"kernel": np.zeros((2, 8, 1), np.float32), "bias": np.asarray([[1.0], [3.0]], np.float32)}
    state = state._replace(critic=state.critic | {"ensemble": state.critic["ensemble"] | {"Dense_0": last}})
    found = continuous.value(settings, state, np.ones((3, 4), np.float32), np.arange(3), RETURN_SCALE)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("surplus_actions", "matters"), [("keep", True), ("zero", False)])
def test_the_critic_sees_surplus_actions_only_where_they_are_kept(surplus_actions, matters):
    """Of two tasks the second has one action component of its own."""
    widths = (TINY.action_dim, 1, *[TINY.action_dim] * (TINY.num_tasks - 2))
    settings = variant(surplus_actions=surplus_actions, action_widths=widths)
    critic = init(settings).critic
    obs, action = np.ones((2, settings.obs_dim), np.float32), np.full((2, settings.action_dim), 0.3, np.float32)
    task_ids, other = np.arange(2, dtype=np.int32), action.copy()
    other[:, 1:] = -0.7  # surplus in the second row
    outputs = jax.jit(functools.partial(continuous.critic_outputs, settings))
    found, unlike = (np.asarray(outputs(critic, obs, one, task_ids)) for one in (action, other))
    changed = found != unlike
    assert changed[:, 0].any()
    assert changed[:, 1].any() == matters


def test_minimum_ensemble_takes_the_member_of_least_value_row_by_row():
    settings = variant(num_bins=3, v_max=1.0, ensemble_target="min")
    mean = dataclasses.replace(settings, ensemble_target="mean")

    @jax.jit
    def ours(logits):
        return (
            critic.target_probs(settings, logits),
            critic.expected_value(settings, logits),
            critic.expected_value(mean, logits),
        )

    found = ours(np.log(np.float32([[[0.1, 0.1, 0.8], [0.6, 0.2, 0.2]], [[0.2, 0.6, 0.2], [0.1, 0.1, 0.8]]])))
    np.testing.assert_allclose(found[0], [[0.2, 0.6, 0.2], [0.6, 0.2, 0.2]], atol=1e-6)
    np.testing.assert_allclose(found[1], [0, -0.4], atol=1e-6)
    np.testing.assert_allclose(found[2], [0.35, 0.15], atol=1e-6)


@pytest.mark.parametrize(("ensemble_target", "expected"), [("mean", [1.3, 0.5]), ("min", [0.8, 0.5])])
def test_squared_targets_take_the_members_mean_or_the_smaller_as_clipped_double_q_learning_does(
    ensemble_target, expected
):
    settings = variant(value_loss="squared", ensemble_target=ensemble_target)
    next_outputs = jnp.asarray([[[1.0], [7.0]], [[3.0], [9.0]]])  # of two members for two transitions
    reward, discount, bonus = jnp.full(2, 0.5), jnp.asarray([0.5, 0.0]), jnp.full(2, -0.4)
    target, value = critic.critic_target(settings, next_outputs, reward, discount, bonus)
    np.testing.assert_allclose(target, expected, rtol=1e-6)
    np.testing.assert_array_equal(value, target)


def test_an_update_moves_the_running_entropy_of_the_tasks_in_its_batch():
    state, expected = fresh(TINY), 0.0
    for seed in (0, 1):
        batch = make_batch(TINY, 1, 6, seed=seed)._replace(task_ids=np.full((1, 6), 1, np.int32))
        state, metrics = continuous.update(TINY, state, batch, RETURN_SCALE)
        expected = 0.99 * expected + 0.01 * float(metrics["actor/entropy"])
    np.testing.assert_allclose(state.entropy, [0, expected, 0], rtol=1e-5)


def test_running_entropy_moves_tasks_of_the_batch_only():
    log_prob, task_ids = jnp.asarray([-5.0, 4.0, -7.0]), jnp.asarray([0, 2, 0])
    found = continuous.running_entropy(jnp.asarray([1.0, 2.0, 3.0]), log_prob, task_ids)
    np.testing.assert_allclose(found, [0.99 + 0.01 * 6, 2, 0.99 * 3 - 0.01 * 4], rtol=1e-6)


# Sizes


def spec(obs_dim: int, action_dim: int, name: str = "task") -> TaskSpec:
    return TaskSpec(f"dmc/{name}", (obs_dim,), action_dim, 1000, "return", 0.0, 1000.0, None, "made up")


@pytest.mark.parametrize(
    ("model", "params"),
    [("xs", 1e6), ("s", 2.4e6), ("m", 9e6), ("l", 35e6), ("xl", 136e6), ("xxl", 1.02e9)],
)
def test_named_sizes_have_the_parameters_they_say(model, params):
    """At metaworld's size (50 tasks, 39 observations, 4 actions)."""
    tasks = [f"made/up{number}" for number in range(50)]
    config = compose([f"model={model}", f"benchmark.available=[{','.join(tasks)}]"])
    found = sizes.run_size(config, [spec(39, 4)] * 50).critic_params
    assert abs(found / params - 1) < 0.1


def shapes_of_init(settings: Settings) -> LearnerState:
    """The state's shapes, without drawing a number."""
    return jax.eval_shape(lambda key: continuous.init(settings, key), KEY)


@pytest.mark.parametrize("torsos", [("bronet", "mlp", True), ("prenorm", "bronet", True), ("mlp", "prenorm", False)])
@pytest.mark.parametrize("value_loss", ["categorical", "squared"])
@pytest.mark.parametrize("conditioning", ["embedding", "one_hot", "none", "heads"])
def test_planned_sizes_are_the_real_ones(monkeypatch, conditioning, value_loss, torsos):
    network, actor_network, layer_norm = torsos
    config = compose(
        [
            f"agent.conditioning={conditioning}",
            f"agent.value_loss={value_loss}",
            f"agent.network={network}",
            f"agent.actor_network={actor_network}",
            f"agent.layer_norm={layer_norm}",
            "agent.ensemble_size=3",
            "model.width=12",
            "model.actor_depth=2",
        ]
    )
    specs = [spec(width, actions, f"t{width}") for width, actions in ((5, 1), (9, 3), (7, 2), (4, 4))]
    monkeypatch.setattr(continuous, "init_params", params_of_flax)
    state = shapes_of_init(learner_of(config).settings(config, specs))
    size = sizes.run_size(config, specs)
    assert size.critic_params == networks.num_params(state.critic)
    assert size.actor_params == networks.num_params(state.actor)


# Updates


VARIANTS = {
    "categorical, embedding, release": {},
    "squared, one_hot, no norms": {"value_loss": "squared", "conditioning": "one_hot", "layer_norm": False},
    "minimum, heads, prenorm": {
        "ensemble_target": "min",
        "conditioning": "heads",
        "network": "prenorm",
        "actor_network": "prenorm",
    },
    "paper, none": {"reward_scale": "paper", "conditioning": "none"},
    "squared, minimum, off, mlp, L1": {
        "value_loss": "squared",
        "embedding_norm": "l1",
        "ensemble_target": "min",
        "reward_scale": "off",
        "network": "mlp",
        "actor_network": "mlp",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_updates_with_finite_metrics(name):
    settings = variant(**VARIANTS[name])
    before, batches = init(settings), make_batch(settings, 2, 6)
    after, metrics = continuous.update(settings, fresh(settings), batches, RETURN_SCALE)
    assert {name: float(value) for name, value in metrics.items() if not np.isfinite(value)} == {}
    assert int(after.update_steps) == 2
    for part in ("actor", "critic", "target_critic"):
        moved = jax.tree.map(lambda a, b: bool(np.isfinite(b).all() and (a != b).any()), *(
            getattr(state, part) for state in (before, after)
        ))  # fmt: skip
        assert all(jax.tree.leaves(moved)), (part, moved)


@pytest.mark.slow  # every operation by itself
def test_compiled_update_equals_the_uncompiled_one():
    batches = make_batch(TINY, 1, 6)
    compiled = continuous.update(TINY, fresh(TINY), batches, RETURN_SCALE)
    with jax.disable_jit():
        plain = continuous.update(TINY, fresh(TINY), batches, RETURN_SCALE)
    for found, expected in zip(jax.tree.leaves(compiled), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_two_updates_at_once_are_two_updates_in_turn():
    batches = make_batch(TINY, 2, 6)
    together, _ = continuous.update(TINY, fresh(TINY), batches, RETURN_SCALE)
    state = fresh(TINY)
    for number in range(2):
        one = Batch(*(array[number : number + 1] for array in batches))
        state, _ = continuous.update(TINY, state, one, RETURN_SCALE)
    for found, expected in zip(jax.tree.leaves(together), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_nothing_is_compiled_again_after_the_first_step():
    compiled = []
    state = fresh(TINY)
    obs, task_ids = np.zeros((3, 4), np.float32), np.arange(3, dtype=np.int32)
    for time in range(4):
        step = np.int32(time)
        continuous.act(TINY, continuous.acting_params(state), obs, task_ids, KEY, step, deterministic=False)
        state, _ = continuous.update(TINY, state, make_batch(TINY, 2, 6, seed=time), RETURN_SCALE)
        continuous.act(TINY, continuous.acting_params(state), obs, task_ids, KEY, step, deterministic=True)
        compiled.append((continuous.update._cache_size(), continuous.act._cache_size()))
    assert compiled == compiled[:1] * 4


def test_act_is_inside_the_box_and_deterministic_when_asked():
    policy = continuous.acting_params(init(TINY))
    obs, task_ids = np.full((3, 4), 2.0, np.float32), np.arange(3, dtype=np.int32)
    act = lambda step, sure: np.asarray(  # noqa: E731
        continuous.act(TINY, policy, obs, task_ids, KEY, step, deterministic=sure)
    )
    sure, drawn = [act(step, True) for step in range(2)], [act(step, False) for step in range(2)]
    np.testing.assert_array_equal(sure[0], sure[1])
    assert not np.allclose(drawn[0], drawn[1])
    assert all((np.abs(actions) <= 1).all() for actions in sure + drawn)
    mean, _ = jax.jit(functools.partial(continuous.policy_distribution, TINY))(policy, obs, task_ids)
    np.testing.assert_allclose(sure[0], np.tanh(mean), atol=1e-6)


def test_critic_learns_the_discounted_value_of_a_constant_reward():
    """Reward 1 and discount 0.5 for ever: 2 in the bins; nothing else is to be learnt."""
    settings = variant(discount=0.5, reward_scale="off", tau=0.1, learning_rate=3e-3, init_temperature=1e-8)
    batch = make_batch(settings, 50, 16)._replace(reward=np.ones((50, 16), np.float32))
    batch = batch._replace(discount=np.full((50, 16), 0.5, np.float32))
    state = fresh(settings)
    for _ in range(12):
        state, metrics = continuous.update(settings, state, batch, RETURN_SCALE)
    np.testing.assert_allclose(metrics["critic/q_mean"], 2, atol=0.15)
