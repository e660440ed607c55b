"""One update worked out in NumPy (float64), written from the paper's equations and not from our code.

Gradients are central differences of the forward pass, so no derivation is shared either. Random normals come from JAX,
by the documented keys: the update's number is folded into the run's key, which is split for the target's and the
actor's action.
"""

import jax
import numpy as np
import pytest

from agents.learner import brc as continuous
from agents.learner.networks import num_params
from agents.learner.types import Batch
from tests.agents.settings import brc_settings

SETTINGS = brc_settings(
    num_tasks=2,
    obs_dim=2,
    action_dim=2,
    width=4,
    depth=1,
    actor_width=4,
    actor_depth=1,
    num_bins=11,
    embedding_dim=3,
    v_max=5.0,
    learning_rate=1e-2,
    weight_decay=0.1,
    tau=0.25,
    temperature_learning_rate=0.05,
)
BATCH = Batch(
    obs=np.array([[0.5, -1.0], [1.5, 0.3], [-0.7, 0.9]], np.float32),
    action=np.array([[0.1, -0.6], [0.9, 0.2], [-0.4, 0.5]], np.float32),
    reward=np.array([3.0, -8.0, 1.0], np.float32),
    next_obs=np.array([[0.4, -0.8], [1.2, 0.6], [-1.0, 0.8]], np.float32),
    discount=np.array([0.99, 0.99, 0.0], np.float32),
    task_ids=np.array([0, 1, 1], np.int32),
)
RETURN_SCALE = np.array([12.0, 30.0], np.float32)
TASKS = BATCH.task_ids
BINS = np.linspace(-5, 5, 11)

Tree = dict


def to_float64(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


# The networks


def dense(params: Tree, name: str, x: np.ndarray) -> np.ndarray:
    return x @ params[name]["kernel"] + params[name]["bias"]


def layer_norm(params: Tree, name: str, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)  # flax's epsilon
    return normal * params[name]["scale"] + params[name]["bias"]


def bronet_of_one_block(params: Tree, x: np.ndarray) -> np.ndarray:
    x = np.maximum(layer_norm(params, "LayerNorm_0", dense(params, "Dense_0", x)), 0)
    y = np.maximum(layer_norm(params, "LayerNorm_1", dense(params, "Dense_1", x)), 0)
    return x + layer_norm(params, "LayerNorm_2", dense(params, "Dense_2", y))


def features(critic: Tree) -> np.ndarray:
    rows = critic["conditioning"]["embedding"][TASKS]
    return rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def log_probs(critic: Tree, obs: np.ndarray, action: np.ndarray) -> np.ndarray:
    """`[E, B, K]`"""
    x = np.concatenate([obs, action, features(critic)], axis=1)
    logits = []
    for member in range(2):
        params = jax.tree.map(lambda leaf, member=member: leaf[member], critic["ensemble"])
        logits.append(dense(params, "Dense_0", bronet_of_one_block(params["BroNet_0"], x)))
    return log_softmax(np.stack(logits))


def sample(actor: Tree, critic: Tree, obs: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = bronet_of_one_block(actor["BroNet_0"], np.concatenate([obs, features(critic)], axis=1))
    mean = dense(actor, "mean", x)
    std = np.exp(-10 + 12 * 0.5 * (1 + np.tanh(dense(actor, "raw_log_std", x))))
    action = np.tanh(mean + std * noise)
    density = np.exp(-(noise**2) / 2) / (std * np.sqrt(2 * np.pi)) / (1 - action**2)
    return action, np.log(density).sum(axis=1)


# The losses


def projected(probs: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Algorithm 1 of Bellemare et al. 2017, as it is printed."""
    result = np.zeros_like(probs)
    for row in range(len(probs)):
        for mass, atom in zip(probs[row], atoms[row], strict=True):
            position = (min(max(atom, BINS[0]), BINS[-1]) - BINS[0]) / (BINS[1] - BINS[0])
            low, high = int(np.floor(position)), int(np.ceil(position))
            if low == high:
                result[row, low] += mass
            else:
                result[row, low] += mass * (high - position)
                result[row, high] += mass * (position - low)
    return result


def critic_target(state: Tree, noise: np.ndarray) -> np.ndarray:
    temperature = np.exp(state["log_temperature"])
    action, log_prob = sample(state["actor"], state["critic"], BATCH.next_obs, noise)
    probs = np.exp(log_probs(state["target_critic"], BATCH.next_obs, action)).mean(axis=0)
    # Release: lambda = -temperature * target_entropy / (2 (1 - discount)), with target_entropy = -A / 2 = -1.
    scale = 5.0 / (RETURN_SCALE + temperature * 1.0 / (2 * (1 - 0.99)))
    reward = BATCH.reward * scale[TASKS]
    atoms = reward[:, None] + BATCH.discount[:, None] * (BINS - temperature * log_prob[:, None])
    return projected(probs, atoms)


def critic_loss(critic: Tree, target: np.ndarray) -> float:
    crossed = -(target * log_probs(critic, BATCH.obs, BATCH.action)).sum(axis=-1)
    return crossed.mean(axis=1).sum()


def actor_loss(actor: Tree, critic: Tree, temperature: float, noise: np.ndarray) -> tuple[float, float]:
    """The loss, and the policy's entropy."""
    action, log_prob = sample(actor, critic, BATCH.obs, noise)
    q = np.exp(log_probs(critic, BATCH.obs, action)).mean(axis=0) @ BINS
    return (temperature * log_prob - q).mean(), -log_prob.mean()


# The steps


def gradient(loss, tree: Tree, epsilon: float = 1e-6) -> Tree:
    """Central differences of a scalar function of a tree, number by number."""
    leaves, structure = jax.tree.flatten(tree)
    grads = [np.zeros_like(leaf) for leaf in leaves]
    for leaf, grad in zip(leaves, grads, strict=True):
        for index in np.ndindex(leaf.shape):
            value = leaf[index]
            leaf[index] = value + epsilon
            above = loss(tree)
            leaf[index] = value - epsilon
            below = loss(tree)
            leaf[index] = value
            grad[index] = (above - below) / (2 * epsilon)
    return jax.tree.unflatten(structure, grads)


def first_adamw_step(params: Tree, grads: Tree) -> Tree:
    """Bias-corrected moments of a first step are the gradient and its square."""
    return jax.tree.map(lambda p, g: p - 1e-2 * (g / (np.abs(g) + 1e-8) + 0.1 * p), params, grads)


def norm(tree: Tree) -> float:
    return np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(tree)))


UPDATE_STEPS = 7


@pytest.fixture(scope="module")
def before() -> continuous.LearnerState:
    """A state in which target and critic differ and no scale or bias is at its initial value."""
    rng = np.random.default_rng(0)
    shake = lambda leaf: (leaf + 0.1 * rng.normal(size=leaf.shape)).astype(np.float32)  # noqa: E731
    state = jax.device_get(continuous.init(SETTINGS, jax.random.key(3)))
    parts = {name: jax.tree.map(shake, getattr(state, name)) for name in ("actor", "critic", "target_critic")}
    return state._replace(**parts, update_steps=np.int32(UPDATE_STEPS))


@pytest.fixture(scope="module")
def found(before):
    batches = jax.tree.map(lambda values: values[None], BATCH)
    return jax.device_get(continuous.update(SETTINGS, jax.device_put(before), batches, RETURN_SCALE))


@pytest.fixture(scope="module")
def expected(before) -> Tree:
    """Every stage of the update, by NumPy."""
    state = {
        name: to_float64(getattr(before, name)) for name in ("actor", "critic", "target_critic", "log_temperature")
    }
    key = jax.random.fold_in(jax.random.wrap_key_data(before.key), UPDATE_STEPS)
    noise_target, noise_actor = np.asarray(jax.random.normal(key, (2, 3, 2)), np.float64)
    temperature = float(np.exp(state["log_temperature"]))

    target = critic_target(state, noise_target)
    critic_grad = gradient(lambda critic: critic_loss(critic, target), state["critic"])
    critic = first_adamw_step(state["critic"], critic_grad)
    target_critic = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, state["target_critic"], critic)

    actor_grad = gradient(lambda actor: actor_loss(actor, critic, temperature, noise_actor)[0], state["actor"])
    loss, entropy = actor_loss(state["actor"], critic, temperature, noise_actor)

    temperature_loss = temperature * (entropy - -1.0)
    sign = temperature_loss / (abs(temperature_loss) + 1e-8)  # d/d log_temp of exp(log_temp) c is itself
    return {
        "actor": first_adamw_step(state["actor"], actor_grad),
        "critic": critic,
        "target_critic": target_critic,
        "log_temperature": state["log_temperature"] - 0.05 * sign,
        "grads": {"actor": actor_grad, "critic": critic_grad},
        "metrics": {
            "critic/loss": critic_loss(state["critic"], target),
            "critic/target_mean": (target @ BINS).mean(),
            "critic/grad_norm": norm(critic_grad),
            "critic/param_norm": norm(critic),
            "actor/loss": loss,
            "actor/entropy": entropy,
            "actor/grad_norm": norm(actor_grad),
            "temperature/value": temperature,
            "temperature/loss": temperature_loss,
        },
    }


def test_losses_and_gradient_norms(found, expected):
    for name, value in expected["metrics"].items():
        np.testing.assert_allclose(found[1][name], value, rtol=2e-4, err_msg=name)


@pytest.mark.parametrize("part", ["critic", "actor"])
def test_gradients(found, expected, part):
    """Read off Adam's first moment, which after one step is a tenth of the gradient."""
    moment = getattr(found[0], f"{part}_opt")[0].mu
    scale = expected["metrics"][f"{part}/grad_norm"]
    leaves = zip(
        jax.tree_util.tree_leaves_with_path(expected["grads"][part]), jax.tree.leaves(moment), strict=True
    )  # fmt: skip
    for (path, grad), first in leaves:
        np.testing.assert_allclose(10 * first, grad, atol=1e-4 * scale, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("part", ["critic", "target_critic", "actor"])
def test_parameters(found, expected, part):
    """A first step of Adam is nearly the gradient's sign: compared where the gradient is no rounding error."""
    grads = expected["grads"]["actor" if part == "actor" else "critic"]
    trees = (getattr(found[0], part), expected[part], grads)
    compared = 0
    for new, wanted, grad in zip(*map(jax.tree.leaves, trees), strict=True):
        clear = np.abs(grad) > 1e-4
        compared += clear.sum()
        np.testing.assert_allclose(np.asarray(new)[clear], wanted[clear], atol=1e-5)
    assert compared > 0.6 * num_params(expected[part])


def test_temperature(found, expected):
    np.testing.assert_allclose(found[0].log_temperature, expected["log_temperature"], rtol=1e-5)


def test_counters_and_keys(before, found):
    assert int(found[0].update_steps) == UPDATE_STEPS + 1
    np.testing.assert_array_equal(found[0].key, before.key)
