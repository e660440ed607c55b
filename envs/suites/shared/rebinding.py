"""Library classes with other names in reach of their methods: faster stand-ins for what those call."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def rebound_class(cls: type, packages: Iterable[str], stand_ins: Mapping[str, Any]) -> type:
    """A subclass of `cls` whose methods read `stand_ins` instead of the globals so named, wherever those are inherited.

    Every ancestor from a module of `packages` gets such a subclass, in the same hierarchy, so that `super()` leads to a
    rebound method too. Only names that a method's module has are replaced. The classes themselves stay as they are.
    """
    if not cls.__module__.startswith(tuple(packages)):
        return cls
    bases = [new for old in cls.__bases__ if (new := rebound_class(old, packages, stand_ins)) is not old]
    own_class = types.CellType()
    methods = {
        name: rebound(value, stand_ins, own_class)
        for name, value in vars(cls).items()
        if isinstance(value, types.FunctionType) and name != "__init__"
    }
    own_class.cell_contents = type(f"Lean{cls.__name__}", (*bases, cls), methods | {"__module__": __name__})
    return own_class.cell_contents


def rebound(
    function: types.FunctionType, stand_ins: Mapping[str, Any], own_class: types.CellType | None = None
) -> types.FunctionType:
    """A copy of a function that finds `stand_ins` where it would find its module's globals of the same names.

    `own_class`, if given, is what its `super()` starts from.
    """
    names = {name: stand_ins[name] for name in stand_ins.keys() & function.__globals__.keys()}
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    closure = tuple(own_class if own_class and name == "__class__" else cell for name, cell in cells)
    copy = types.FunctionType(
        function.__code__, function.__globals__ | names, function.__name__, function.__defaults__, closure or None
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def hstack(parts: Sequence[Any]) -> Any:
    """`np.hstack`, quick for floats and short vectors of them."""
    values: list[float] = []
    for part in parts:
        if isinstance(part, float):
            values.append(part)
        elif isinstance(part, np.ndarray) and part.ndim == 1 and part.dtype == np.float64:
            values += part.tolist()
        else:
            return np.hstack(parts)
    return np.array(values)
