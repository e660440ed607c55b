"""Losses against rlax, SciPy and numbers worked out by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from scipy import special, stats

from agents.learner import losses

FIVE = jnp.asarray([-2.0, -1.0, 0.0, 1.0, 2.0])


def random_probs(rng: np.random.Generator, rows: int, num_bins: int) -> np.ndarray:
    return rng.dirichlet(np.full(num_bins, 0.3), rows).astype(np.float32)


@pytest.fixture(params=[losses.spread_by_scatter, losses.spread_by_sum], ids=["cpu", "accelerators"])
def each_projection(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to spread mass, of which a CPU would only ever take the first."""
    monkeypatch.setattr(losses, "spread_by_scatter", request.param)


@pytest.mark.usefixtures("each_projection")
@pytest.mark.parametrize("jit", [False, True])
def test_projection_agrees_with_rlax(jit):
    rng = np.random.default_rng(0)
    bins = losses.support(101, 10.0)
    probs = random_probs(rng, 16, 101)
    # Shifts and shrinks such as targets have, some of them beyond both edges.
    atoms = rng.normal(0, 6, (16, 1)) + rng.uniform(0, 1.2, (16, 1)) * np.asarray(bins)
    atoms = atoms.astype(np.float32)
    project = jax.jit(lambda *inputs: losses.project(*inputs)) if jit else losses.project  # compiled anew
    found = np.asarray(project(probs, atoms, bins))
    expected = jax.jit(jax.vmap(rlax.categorical_l2_project, in_axes=(0, 0, None)))(atoms, probs, bins)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    # Where nothing is clipped, the mean is kept too.
    bins = np.asarray(bins)
    inside = np.abs(atoms).max(axis=1) <= 10
    assert 0 < inside.sum() < 16
    np.testing.assert_allclose((found @ bins)[inside], (probs * atoms).sum(axis=1)[inside], atol=1e-4)


@pytest.mark.usefixtures("each_projection")
@pytest.mark.parametrize(
    ("atoms", "expected"),
    [
        ([-2, -1, 0, 1, 2], [0.1, 0.2, 0.4, 0.2, 0.1]),  # on the bins: unchanged
        ([-1, 0, 1, 2, 3], [0.0, 0.1, 0.2, 0.4, 0.3]),  # one up: the last two meet at the edge
        ([-1.75, -0.75, 0.25, 1.25, 2.25], [0.075, 0.175, 0.35, 0.25, 0.15]),  # a quarter up: 3/4 stays
        ([0.5] * 5, [0, 0, 0.5, 0.5, 0]),  # all between two bins
        ([9] * 5, [0, 0, 0, 0, 1]),  # beyond the edges
        ([-9] * 5, [1, 0, 0, 0, 0]),
    ],
)
def test_projection_by_hand(atoms, expected):
    probs = jnp.asarray([[0.1, 0.2, 0.4, 0.2, 0.1]])
    found = losses.project(probs, jnp.asarray([atoms], jnp.float32), FIVE)
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_support_is_even_and_ends_at_v_max():
    np.testing.assert_allclose(losses.support(5, 2.0), FIVE)
    np.testing.assert_allclose(losses.support(101, 10.0), np.arange(-50, 51) / 5, atol=1e-6)


def test_target_after_a_termination_is_the_reward_alone():
    probs = jnp.asarray(random_probs(np.random.default_rng(0), 3, 5))
    reward = jnp.asarray([1.0, -0.25, 7.0])
    discount, bonus = np.zeros(3, np.float32), np.full(3, 50.0, np.float32)
    found = jax.jit(losses.categorical_target)(probs, reward, discount, bonus, FIVE)
    np.testing.assert_allclose(found, [[0, 0, 0, 1, 0], [0, 0.25, 0.75, 0, 0], [0, 0, 0, 0, 1]], atol=1e-6)


def test_target_moves_each_bin_to_reward_plus_discounted_value_and_bonus():
    probs = jnp.asarray([[0.0, 0.0, 0.0, 1.0, 0.0]])  # all mass at 1
    found = losses.categorical_target(probs, jnp.asarray([0.5]), jnp.asarray([0.5]), jnp.asarray([-0.4]), FIVE)
    # 0.5 + 0.5 * (1 - 0.4) = 0.8
    np.testing.assert_allclose(found, [[0, 0, 0.2, 0.8, 0]], atol=1e-6)


def test_cross_entropy_by_hand():
    # Softmax of (0, log 3) is (1/4, 3/4); of (0, 0) it is (1/2, 1/2).
    logits = jnp.log(jnp.asarray([[[1.0, 3.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]]))
    target = jnp.asarray([[0.5, 0.5], [1.0, 0.0]])
    first = (-(0.5 * np.log(0.25) + 0.5 * np.log(0.75)) - np.log(0.5)) / 2
    second = -np.log(0.5)
    np.testing.assert_allclose(losses.cross_entropy(logits, target), first + second, rtol=1e-6)


def test_gradient_of_cross_entropy_is_softmax_minus_target_over_the_batch():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, 5)).astype(np.float32)
    target = random_probs(rng, 4, 5)
    found = jax.jit(jax.grad(losses.cross_entropy))(logits, target)
    np.testing.assert_allclose(found, (special.softmax(logits, axis=-1) - target) / 4, atol=1e-6)


def test_squared_error_actor_and_temperature_losses_by_hand():
    values, target = jnp.asarray([[1.0, 2.0], [0.0, 4.0]]), jnp.asarray([0.0, 4.0])
    assert float(losses.squared_error(values, target)) == (1 + 4) / 2 + (0 + 0) / 2
    found = losses.actor_loss(jnp.asarray([1.0, 2.0]), jnp.asarray([10.0, -20.0]), jnp.asarray(0.1))
    np.testing.assert_allclose(found, (1 - 1 - 2 - 2) / 2, rtol=1e-6)
    value, grad = jax.value_and_grad(losses.temperature_loss)(jnp.log(0.5), jnp.asarray(3.0), -1.0)
    # d/dx exp(x) (H - target) is the loss itself: too much entropy lowers the temperature.
    np.testing.assert_allclose([value, grad], [2.0, 2.0], rtol=1e-6)


def test_log_prob_is_that_of_the_squashed_gaussian():
    """Change of variables: density of u over the slope of tanh at u, the slope by finite differences in float64."""
    rng = np.random.default_rng(0)
    mean, log_std = rng.normal(size=(6, 3)), rng.uniform(-3, 0.5, (6, 3))
    noise = rng.normal(size=(6, 3))
    arguments = [array.astype(np.float32) for array in (mean, log_std, noise)]
    action, log_prob = losses.sample_tanh_gaussian(*arguments)
    pre_tanh = mean + np.exp(log_std) * noise
    slope = (np.tanh(pre_tanh + 1e-5) - np.tanh(pre_tanh - 1e-5)) / 2e-5
    expected = stats.norm.logpdf(pre_tanh, mean, np.exp(log_std)) - np.log(slope)
    np.testing.assert_allclose(action, np.tanh(pre_tanh), rtol=1e-4)
    np.testing.assert_allclose(log_prob, expected.sum(axis=1), rtol=1e-4)


def test_squashed_gaussian_integrates_to_one():
    noise = jnp.linspace(-8, 8, 4001)[:, None]
    action, log_prob = losses.sample_tanh_gaussian(jnp.full((4001, 1), 0.3), jnp.full((4001, 1), -0.5), noise)
    action, density = np.asarray(action[:, 0], np.float64), np.exp(np.asarray(log_prob, np.float64))
    np.testing.assert_allclose(np.trapezoid(density, action), 1, atol=1e-3)


@jax.jit
@functools.partial(jax.value_and_grad, argnums=(0, 1))
def log_prob_and_gradients(mean, log_std):
    return losses.sample_tanh_gaussian(mean, log_std, jnp.full((1, 1), 3.0))[1][0]


@pytest.mark.parametrize("mean", [-1e4, -50.0, -10.0, 0.0, 10.0, 50.0, 1e4])
@pytest.mark.parametrize("log_std", [-10.0, 2.0])
def test_log_prob_and_its_gradients_are_finite_at_extremes(mean, log_std):
    value, grads = log_prob_and_gradients(np.full((1, 1), mean, np.float32), np.full((1, 1), log_std, np.float32))
    assert np.isfinite([value, *(float(grad[0, 0]) for grad in grads)]).all()
    if abs(mean) >= 50:  # the slope of tanh falls as 4 exp(-2|u|): its logarithm has slope -2, taken off the density
        np.testing.assert_allclose(grads[0], 2 * np.sign(mean), rtol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        lambda: losses.squared_error(jnp.zeros((2, 3)), jnp.zeros((3, 1))),
        lambda: losses.cross_entropy(jnp.zeros((2, 3, 5)), jnp.zeros(5)),
        lambda: losses.actor_loss(jnp.zeros(3), jnp.zeros((3, 1)), jnp.float32(1)),
        lambda: losses.project(jnp.zeros((3, 5)), jnp.zeros(5), jnp.linspace(-1, 1, 5)),
    ],
    ids=["squared error", "cross-entropy", "actor", "projection"],
)
def test_shapes_that_would_broadcast_are_refused(loss):
    with pytest.raises(AssertionError):
        loss()
