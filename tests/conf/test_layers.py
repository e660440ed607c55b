"""Files are laid over each other as Hydra lays them, and what only Hydra can decide is left to Hydra."""

import pytest

from conf import layers, yaml_groups
from conf.typed import ConfigError
from tests.yaml_copy import forget

PLAIN = {
    "config": "defaults:\n  - base\n  - agent: one\n  - model: small\n  - place: here\n  - _self_\nseed: 3",
    "base": "seed: 1\ntrain: {steps: 10, tasks: [a, b], rate: 1e-3, other: 1.5E3, none: null}\nmodel: {width: 0}",
    "agent/one": "name: one\nrate: .5e-2\nnested: {a: 1, b: {c: 2}}",
    "agent/two": "defaults: [one]\nname: two\nnested: {b: null}",
    "agent/three": "defaults: [_self_, two]\nname: three\nnested: {b: {d: '1e5'}}",
    "model/small": "width: 1",
    "model/large": "width: 2",
    "place/here": "# where\nhost: a  # @package of the text only\n",
    "place/there": "# @package _global_\ndefaults: [override /agent: two, override /model: large]\ntrain: {tasks: [c]}",
    "experiment/first": "# @package _global_\ndefaults: [override /place: there, override /agent: three]\nseed: 4",
    "experiment/last": "# @package _global_\ntrain: null\nagent: {nested: {b: {e: 1}}}",
    "sweep/many": "params: {seed: [1, 2]}",
}
CHOICES = [
    (),
    (("agent", "two"),),
    (("agent", "three"), ("model", "large")),
    (("place", "there"),),
    (("model", "small"), ("place", "there")),
    (("experiment", "first"),),
    (("agent", "one"), ("experiment", "first"), ("sweep", "many")),
    (("experiment", "last"), ("place", "there"), ("sweep", "many")),
]
NOT_PLAIN = {
    "an interpolation": ("agent/one", "name: ${seed}"),
    "a value to be given": ("agent/one", "name: ???"),
    "a list of defaults that chooses with an interpolation": ("agent/one", "defaults: ['${model}']\nname: x"),
    "an optional file": ("config", PLAIN["config"].replace("model:", "optional model:")),
    "a package": ("agent/one", "# @package model\nname: x"),
    "a package within the file": ("agent/one", "name: x\n# @package _global_"),
    "a package in a list of defaults": ("config", PLAIN["config"].replace("agent:", "agent@model:")),
    "a file of another group": ("agent/one", "defaults: [/model: large]\nname: x"),
    "a choice that comes too late": ("agent/one", "defaults: [override /place: there]\nname: x"),
    "a choice before a file": ("place/here", "defaults: [override /model: large, there]\nhost: x"),
    "a choice of its own group": ("agent/one", "defaults: [override /agent: two]\nname: x"),
    "a file that holds itself": ("agent/one", "defaults: [one]\nname: x"),
    "a file that is not there": ("agent/one", "defaults: [four]\nname: x"),
    "a file without keys": ("agent/one", "- 1"),
    "a file that is empty": ("agent/one", ""),
    "a key twice": ("agent/one", "name: x\nname: y"),
    "a date": ("agent/one", "name: 2026-01-01"),
    "a key that is a number": ("agent/one", "1: x"),
    "a list over a group": ("experiment/first", "# @package _global_\ntrain: [1]"),
    "a group over a list": ("experiment/first", "# @package _global_\ntrain: {tasks: {a: 1}}"),
    "no place for the file itself": ("config", PLAIN["config"].replace("  - _self_\n", "")),
    "another encoding": ("agent/one", "\ufeffname: x".encode("utf-16")),
}


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A function that writes files, which are read from then on."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / f"{name}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    monkeypatch.setattr(yaml_groups, "CONF_DIR", tmp_path)
    forget()
    yield write
    forget()


def order_too(values):
    """Keys in their order, which a dictionary's equality does not look at."""
    return [(key, order_too(value)) for key, value in values.items()] if isinstance(values, dict) else values


@pytest.mark.parametrize("choices", CHOICES, ids=lambda found: " ".join(f"{a}={b}" for a, b in found) or "none")
def test_plain_files_are_laid_as_hydra_lays_them(conf, choices):
    conf(PLAIN)
    laid = layers.overlaid(yaml_groups._layer, choices, yaml_groups.OPTIONAL_GROUPS)
    assert order_too(laid) == order_too(yaml_groups.by_hydra(choices))


@pytest.mark.parametrize("changed", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_other_files_are_left_to_hydra(conf, changed):
    conf(PLAIN | dict([changed]))
    choices = (("experiment", "first"),) if changed[0].startswith("experiment") else ()
    with pytest.raises(layers.NotPlainError):
        layers.overlaid(yaml_groups._layer, choices, yaml_groups.OPTIONAL_GROUPS)


def test_what_is_left_to_hydra_is_merged_by_hydra(conf):
    conf(PLAIN | {"agent/one": "# @package _global_.model\nheight: ${seed}"})
    assert yaml_groups.merged(())["model"]["height"] == "${seed}"
    conf({"agent/one": "name: x\nname: y"})
    forget()
    with pytest.raises(ConfigError, match="duplicate key name"):
        yaml_groups.merged(())


@pytest.mark.slow
def test_every_choice_of_the_project_is_laid_as_hydra_lays_it():
    groups = yaml_groups.groups()
    ends = [tuple((group, names[place]) for group, names in sorted(groups.items())) for place in (0, -1)]
    for choices in [*ends, *(((group, name),) for group, names in groups.items() for name in names)]:
        laid = layers.overlaid(yaml_groups._layer, choices, yaml_groups.OPTIONAL_GROUPS)
        assert order_too(laid) == order_too(yaml_groups.by_hydra(choices)), choices
