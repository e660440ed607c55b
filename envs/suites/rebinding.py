"""Library classes with other names in reach of their methods: faster stand-ins for what those call."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from typing import Any


def rebound_methods(cls: type, packages: Iterable[str], stand_ins: Mapping[str, Any]) -> dict[str, Any]:
    """All methods that `cls` has from modules of `packages`, each reading `stand_ins` instead of the globals so named.

    Only names that a method's module has are replaced. The classes themselves stay as they are.
    """
    methods: dict[str, Any] = {}
    for ancestor in reversed(cls.__mro__):
        if ancestor.__module__.startswith(tuple(packages)):
            for name, value in vars(ancestor).items():
                if isinstance(value, types.FunctionType) and name != "__init__":
                    methods[name] = rebound(value, stand_ins)
    return methods


def rebound(function: types.FunctionType, stand_ins: Mapping[str, Any]) -> types.FunctionType:
    """A copy of a function that finds `stand_ins` where it would find its module's globals of the same names."""
    names = {name: stand_ins[name] for name in stand_ins.keys() & function.__globals__.keys()}
    copy = types.FunctionType(
        function.__code__, function.__globals__ | names, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
