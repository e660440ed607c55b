"""How networks start, layer by layer, beside the table of the paper's release.

A kernel `[I, O]` is orthogonal with a scale where its shorter side is made of vectors at right angles of that length:
all its singular values are the scale.
"""

import jax
import numpy as np
import pytest

from agents.learner import brc, brc_discrete
from agents.learner.types import Params
from tests.agents.settings import brc_settings, discrete_settings

KEY = jax.random.key(0)
ROOT_2 = 2**0.5
BRONET = {f"BroNet_0/Dense_{number}": ROOT_2 for number in range(3)}
ACTOR = BRONET | {"mean": ROOT_2, "raw_log_std": 1.0}  # the release's `log_std_scale`
ENSEMBLE = {f"ensemble/{layer}": ROOT_2 for layer in (*BRONET, "Dense_0")}
ENCODER = {f"encoder/{layer}": ROOT_2 for layer in (*(f"Conv_{number}" for number in range(15)), "Dense_0")}
COMMON = {"num_tasks": 400, "width": 8, "depth": 1, "num_bins": 11, "embedding_dim": 32}


@pytest.fixture(scope="module")
def continuous_state() -> brc.LearnerState:
    settings = brc_settings(obs_dim=5, action_dim=3, actor_width=8, actor_depth=1, **COMMON)
    return jax.device_get(brc.init(settings, KEY))


@pytest.fixture(scope="module")
def discrete_state() -> brc_discrete.LearnerState:
    settings = discrete_settings(obs_shape=(1, 24, 24), action_dim=3, encoder_channels=1, encoder_stride=3, **COMMON)
    return jax.device_get(brc_discrete.init(settings, KEY))


def leaves(params: Params, name: str) -> dict[str, np.ndarray]:
    """The arrays called `name`, by their layer's path."""
    paths = jax.tree_util.tree_leaves_with_path(params)
    named = {"/".join(part.key for part in path): np.asarray(leaf) for path, leaf in paths}
    return {path.removesuffix(f"/{name}"): leaf for path, leaf in named.items() if path.endswith(f"/{name}")}


def assert_orthogonal(params: Params, scales: dict[str, float]) -> None:
    """Every kernel, member by member of an ensemble, has the scale that the table gives its layer."""
    kernels = leaves(params, "kernel")
    assert kernels.keys() == scales.keys()
    for layer, kernel in kernels.items():
        for member in kernel if layer.startswith("ensemble/") else [kernel]:
            found = np.linalg.svd(member.reshape(-1, member.shape[-1]), compute_uv=False)
            np.testing.assert_allclose(found, scales[layer], rtol=1e-5, err_msg=layer)


def assert_biases_0_and_norms_1(params: Params) -> None:
    biases, norms = leaves(params, "bias"), leaves(params, "scale")
    assert norms.keys() < biases.keys()
    assert all((bias == 0).all() for bias in biases.values())
    assert all((norm == 1).all() for norm in norms.values())


def test_critic_of_continuous_actions(continuous_state):
    assert_orthogonal(continuous_state.critic, ENSEMBLE)
    assert_biases_0_and_norms_1(continuous_state.critic)


def test_actor_has_a_smaller_scale_in_its_log_std_head_alone(continuous_state):
    assert_orthogonal(continuous_state.actor, ACTOR)
    assert_biases_0_and_norms_1(continuous_state.actor)


def test_critic_of_discrete_actions_and_its_encoder(discrete_state):
    assert_orthogonal(discrete_state.critic, ENSEMBLE | ENCODER)
    assert_biases_0_and_norms_1(discrete_state.critic)


def test_ensemble_members_start_apart(continuous_state):
    for kernel in leaves(continuous_state.critic["ensemble"], "kernel").values():
        assert not np.allclose(kernel[0], kernel[1])


def test_embeddings_start_as_flax_embed_does(continuous_state, discrete_state):
    """Normal with variance 1 / width, before each row is divided by its norm."""
    for state in (continuous_state, discrete_state):
        table = state.critic["conditioning"]["embedding"]
        assert table.shape == (400, 32)
        np.testing.assert_allclose([table.mean(), table.std()], [0, 32**-0.5], atol=0.01)


def test_temperature_and_targets_start_where_they_should(continuous_state, discrete_state):
    np.testing.assert_allclose(np.exp(continuous_state.log_temperature), 0.1, rtol=1e-6)
    for state in (continuous_state, discrete_state):
        jax.tree.map(np.testing.assert_array_equal, state.critic, state.target_critic)
