"""A trained policy that needs NumPy alone: this file, its card (card.json) and its arrays (arrays.npz).

    from policy import Policy

    policy = Policy()                                   # of the folder that this file is in
    action = policy.act(observation, "dmc/dog-run")     # [A] of [O]; [N, A] of [N, O]

Observations and actions have the task's own width. All is computed in float64: what float32
rounds at each layer adds up to more than 1e-6 in a trained policy. `python policy.py` prints what the folder holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CARD, ARRAYS = "card.json", "arrays.npz"
NORM_EPSILON = 1e-6


class Policy:
    """The policy of one or several tasks, with the numbers of the network in a folder.

    Args:
      folder: where card.json and arrays.npz are.

    Attributes:
      card: what card.json says: tasks, scores, origin, licence, network.
      tasks: by id, what the card says of each task.
    """

    def __init__(self, folder: str | Path = Path(__file__).parent):
        self.card: dict[str, Any] = json.loads((Path(folder) / CARD).read_text())
        self.tasks: dict[str, dict[str, Any]] = {task["id"]: task for task in self.card["tasks"]}
        self._network: dict[str, Any] = self.card["network"]
        with np.load(Path(folder) / ARRAYS, allow_pickle=False) as arrays:
            self._arrays = {name: values.astype(np.float64) for name, values in arrays.items()}

    def act(self, observation: Any, task: str, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return the action for one observation, or the actions `[N, ...]` for several.

        Args:
          observation: `[O]` or `[N, O]`; frames: `[stack, H, W]` or `[N, stack, H, W]`, the newest last.
          task: the task's id, or the part of the id after the slash.
          rng: draws the action from the policy, as evaluation never does for continuous actions; None: the best one.
        Raises:
          KeyError: the policy has not learned the task.
          ValueError: the observation has another shape than the task's.
        """
        number = self._number(task)
        spec = self.card["tasks"][number]
        observations = np.asarray(observation)
        single = observations.ndim == len(spec["obs_shape"])
        if single:
            observations = observations[None]
        shape = list(observations.shape[1:])
        if shape != spec["obs_shape"]:
            raise ValueError(f"observations of {spec['id']} have the shape {spec['obs_shape']}, not {shape}")
        outputs = self.outputs(observations, number)
        if self._network["head"] == "gaussian":
            mean, log_std = outputs
            actions = self._continuous(mean, log_std, rng)[:, : spec["action_dim"]]
        else:
            actions = self._discrete(outputs[0], rng)
        return actions[0] if single else actions

    def outputs(self, observations: np.ndarray, number: int) -> list[np.ndarray]:
        """Return what the network says of observations `[N, ...]` of the task of this number.

        A Gaussian policy gives mean and log standard deviation `[N, A]` before tanh, another one values `[N, A]`.
        """
        network, arrays = self._network, self._arrays
        observations = np.asarray(observations)
        if observations.ndim == 2:
            surplus = network["obs_dim"] - observations.shape[1]
            features = np.pad(observations.astype(np.float64), ((0, 0), (0, surplus)))
        else:
            frames = np.moveaxis(observations, 1, -1) / 255
            features = apply(network["encoder"], frames, arrays)
        told = np.repeat(arrays["task_features"][number][None], len(features), axis=0)
        x = apply(network["torso"], np.concatenate([features, told], axis=-1), arrays)
        found = []
        for name in network["outputs"]:
            output = dense(x, arrays, name)
            heads = output.reshape(*output.shape[:-1], network["heads"], -1)
            found.append(heads[..., number if network["heads"] > 1 else 0, :])
        if network["head"] == "gaussian":
            mean, raw = found
            low, high = network["log_std"]
            return [mean, low + (high - low) * 0.5 * (1 + np.tanh(raw))]
        return [self._values(found[0])]

    def _values(self, outputs: np.ndarray) -> np.ndarray:
        """The values `[N, A]` of outputs `[E, N, A * K]`."""
        network = self._network
        each = outputs.reshape(*outputs.shape[:-1], network["action_dim"], -1)
        if "bins" in self._arrays:
            weights = np.exp(each - each.max(axis=-1, keepdims=True))
            values = weights / weights.sum(axis=-1, keepdims=True) @ self._arrays["bins"]
        else:
            values = each[..., 0]
        return values.min(axis=0) if network["ensemble"] == "min" else values.mean(axis=0)

    def _continuous(self, mean: np.ndarray, log_std: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        noise = 0.0 if rng is None else rng.standard_normal(mean.shape)
        return np.tanh(mean + np.exp(log_std) * noise).astype(np.float32)

    def _discrete(self, values: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        best = values.argmax(axis=-1).astype(np.int32)
        if rng is None:
            return best
        random = rng.integers(values.shape[-1], size=best.shape, dtype=np.int32)
        return np.where(rng.random(best.shape) < self._network["epsilon"], random, best)

    def _number(self, task: str) -> int:
        ids = list(self.tasks)
        found = [number for number, one in enumerate(ids) if task in (one, one.split("/", 1)[-1])]
        if len(found) != 1:
            raise KeyError(
                f"{task}: {'several tasks are' if found else 'no task is'} called so; tasks: {', '.join(ids)}"
            )
        return found[0]


def apply(program: Sequence[Any], x: np.ndarray, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what a network makes of `x`.

    Args:
      program: the layers in order, as the card has them: a name, and what the layer needs.
      x: `[N, I]`, or images `[N, H, W, C]`.
      arrays: the numbers of the layers; those of an ensemble have its members on axis 0.
    """
    for layer, *arguments in program:
        if layer == "dense":
            x = dense(x, arrays, *arguments)
        elif layer == "norm":
            x = norm(x, arrays, *arguments)
        elif layer == "relu":
            x = np.maximum(x, 0)
        elif layer == "add":  # what the layers within make of x is added to x
            x = x + apply(arguments, x, arrays)
        elif layer == "conv":
            x = conv(x, arrays, *arguments)
        elif layer == "pool":
            x = windows(x, 3, 2, -np.inf).max(axis=(-2, -1))
        elif layer == "flatten":
            x = x.reshape(len(x), -1)
        else:
            raise ValueError(f"card.json has a layer that this file does not know: {layer}")
    return x


def dense(x: np.ndarray, arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Return `x` `[N, I]` through a dense layer: `[N, O]`, or `[E, N, O]` by an ensemble."""
    return x @ arrays[f"{name}/kernel"] + arrays[f"{name}/bias"][..., None, :]


def norm(x: np.ndarray, arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Return `x` `[..., I]` through a layer norm."""
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + NORM_EPSILON)
    return centred / deviation * arrays[f"{name}/scale"][..., None, :] + arrays[f"{name}/bias"][..., None, :]


def conv(x: np.ndarray, arrays: Mapping[str, np.ndarray], name: str, stride: int) -> np.ndarray:
    """Return images `[N, H, W, I]` through a convolution with kernel `[k, k, I, O]`, padded to keep their borders.

    Args:
      x: the images.
      arrays: the numbers of all layers.
      name: of the layer.
      stride: pixels from one window to the next.
    """
    kernel = arrays[f"{name}/kernel"]
    seen = windows(x, kernel.shape[0], stride, 0.0)
    return np.tensordot(seen, kernel, ([3, 4, 5], [2, 0, 1])) + arrays[f"{name}/bias"]


def windows(x: np.ndarray, size: int, stride: int, fill: float) -> np.ndarray:
    """Return windows `[N, H', W', C, size, size]` of images `[N, H, W, C]`.

    Args:
      x: the images.
      size: pixels of a window's side.
      stride: pixels from one window to the next.
      fill: the value that pads the images at their borders.
    """
    padding = [(0, 0)]
    for length in x.shape[1:3]:
        surplus = max((-(-length // stride) - 1) * stride + size - length, 0)
        padding.append((surplus // 2, surplus - surplus // 2))
    padded = np.pad(x, [*padding, (0, 0)], constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))[:, ::stride, ::stride]


if __name__ == "__main__":
    card = Policy().card
    print(f"{card['name']}, trained for {card['env_steps']:,} environment steps of each task; {card['licence']}")
    for entry in card["tasks"]:
        print(f"  {entry['id']:40s} score {'unknown' if entry['score'] is None else round(entry['score'], 3)}")
