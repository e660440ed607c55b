"""Products in bfloat16, against float32, and the layers' gradients by hand against those that JAX derives."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.learner import brc, critic, layers, losses
from agents.training.device import precision_warning
from conf import identity
from conf.compose import compose
from tests.agents.test_continuous import RETURN_SCALE, TINY, fresh, init, make_batch

LOW = dataclasses.replace(TINY, precision="bfloat16", depth=1)
HIGH = dataclasses.replace(LOW, precision="float32")
TOLERANCE = 0.03
"""Relative error of a few products one after another; a factor in bfloat16 has one of up to 2^-8."""


def rounded(values: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 of each, as float64."""
    return np.asarray(jnp.asarray(values).astype(jnp.bfloat16), np.float64)


def distance(found, expected) -> float:
    """The relative distance of two trees of arrays, taken as one vector."""
    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])  # noqa: E731
    return float(np.linalg.norm(flat(found) - flat(expected)) / np.linalg.norm(flat(expected)))


def test_a_product_and_its_gradients_are_sums_in_float32_of_rounded_factors():
    rng = np.random.default_rng(0)
    x, kernel, grad = (rng.normal(size=shape).astype(np.float32) for shape in ((5, 300), (300, 7), (5, 7)))
    found, pull = jax.vjp(layers.bfloat16_product, x, kernel)
    into_x, into_kernel = pull(jnp.asarray(grad))
    assert {array.dtype for array in (found, into_x, into_kernel)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(found, rounded(x) @ rounded(kernel), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(into_x, rounded(grad) @ rounded(kernel).T, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(into_kernel, rounded(x).T @ rounded(grad), rtol=1e-4, atol=1e-4)


def test_stacks_of_products_are_those_of_their_members_under_two_vmaps():
    rng = np.random.default_rng(0)
    x, kernels = (rng.normal(size=shape).astype(np.float32) for shape in ((3, 4, 5), (3, 2, 5, 6)))

    def total(x, kernel):
        return jnp.sum(jnp.square(layers.bfloat16_product(x, kernel)))

    found = jax.device_get(jax.jit(jax.vmap(jax.vmap(jax.grad(total, (0, 1)), (None, 0))))(x, kernels))
    alone = jax.jit(jax.grad(total, (0, 1)))
    for seed, member in np.ndindex(3, 2):
        expected = alone(x[seed], kernels[seed, member])
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one[seed, member], other, rtol=1e-5, atol=1e-5)


def test_loss_and_gradient_of_the_critic_are_near_those_of_float32():
    state, batch = init(HIGH), make_batch(HIGH, 64)

    def loss_and_gradient(settings):
        target = jax.nn.softmax(jnp.arange(64.0 * settings.num_bins).reshape(64, -1) % 7)

        def objective(params):
            outputs = brc.critic_outputs(settings, params, batch.obs, batch.action, batch.task_ids)
            return critic.critic_loss(settings, outputs, target)

        return jax.jit(jax.value_and_grad(objective))(state.critic)

    (low, low_grad), (high, high_grad) = loss_and_gradient(LOW), loss_and_gradient(HIGH)
    assert 0 < abs(low / high - 1) < TOLERANCE
    assert 0 < distance(low_grad, high_grad) < TOLERANCE
    assert all(leaf.dtype == jnp.float32 and np.isfinite(leaf).all() for leaf in jax.tree.leaves(low_grad))


@pytest.mark.slow
def test_an_update_in_bfloat16_keeps_float32_state_and_metrics_near_those_of_float32():
    batches = make_batch(HIGH, 2, 32)
    before = init(HIGH)
    low, low_metrics = brc.update(LOW, fresh(HIGH), batches, RETURN_SCALE)
    high, high_metrics = brc.update(HIGH, fresh(HIGH), batches, RETURN_SCALE)
    assert [leaf.dtype for leaf in jax.tree.leaves(low)] == [leaf.dtype for leaf in jax.tree.leaves(before)]
    assert jnp.dtype("bfloat16") not in {leaf.dtype for leaf in jax.tree.leaves(before)}
    for name in ("critic/loss", "critic/grad_norm", "actor/entropy", "critic/target_mean"):
        np.testing.assert_allclose(low_metrics[name], high_metrics[name], rtol=TOLERANCE, atol=TOLERANCE)
    assert 0 < distance(low.critic, high.critic) < TOLERANCE


def test_gradients_of_norms_and_expectations_are_the_derived_ones():
    rng = np.random.default_rng(0)
    x, scale, bias, weights = (rng.normal(size=shape).astype(np.float32) for shape in ((4, 9), (9,), (9,), (4, 9)))
    module, bins = nn.LayerNorm(), losses.support(9, 3.0)
    plain_norm = lambda x, scale, bias: module.apply({"params": {"scale": scale, "bias": bias}}, x)  # noqa: E731
    pairs = [
        (lambda *a: jnp.sum(weights * layers.layer_norm(*a)), lambda *a: jnp.sum(weights * plain_norm(*a))),  # pyright: ignore[reportOperatorIssue]
        (
            lambda x, *_: weights[:, 0] @ losses.expectation(x, bins),
            lambda x, *_: weights[:, 0] @ (jax.nn.softmax(x) @ bins),
        ),
    ]
    for found, expected in pairs:
        one, other = (jax.jit(jax.value_and_grad(each, (0, 1, 2)))(x, scale, bias) for each in (found, expected))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, other)


def test_the_precision_marks_a_run_unless_all_is_float32():
    hashes = [identity.hash_of(compose([f"agent.precision={name}"])) for name in ("float32", "bfloat16")]
    assert hashes[0] == identity.hash_of(compose([]))
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize(
    ("precision", "platform", "flags", "warns"),
    [
        ("bfloat16", "cpu", "fpu avx512f", True),
        ("bfloat16", "cpu", "fpu avx512_bf16", False),
        ("bfloat16", "cpu", "fpu amx_bf16 amx_tile", False),
        ("bfloat16", "gpu", "fpu", False),
        ("float32", "cpu", "fpu", False),
    ],
)
def test_a_cpu_without_bfloat16_products_is_named(precision, platform, flags, warns):
    found = precision_warning(precision, platform, f"processor\t: 0\nflags\t\t: {flags}\n")
    assert (found is not None) == warns
