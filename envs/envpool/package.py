"""Imports EnvPool without JAX, which it would load for a feature that is not used here.

Worth importing before workers fork; in a process that has JAX already it is an import like any other.
"""

import sys

if "jax" in sys.modules:
    import envpool
else:
    sys.modules["jax"] = None  # type: ignore[assignment]  # an import of it fails, which EnvPool provides for
    try:
        import envpool
    finally:
        del sys.modules["jax"]

__all__ = ["envpool"]
