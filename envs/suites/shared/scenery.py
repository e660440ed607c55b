# pyright: reportAttributeAccessIssue=false
# (mujoco has no type stubs)
"""Leaves out of a MuJoCo scene what is only looked at: less memory, a quicker start and quicker steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco


def strip(spec: mujoco.MjSpec, needless: Callable[[Any], bool], *, weighed: bool = False) -> None:
    """Delete textures, skins, lights, cameras, the geoms that are `needless`, and the meshes that no other geom has.

    What remains moves as before, bit by bit, where needless geoms touch nothing. If they count for the inertia of their
    bodies, they have to be `weighed` first, which compiles the scene once.
    """
    for material in spec.materials:
        material.textures = [""] * len(material.textures)
    for element in (*spec.textures, *spec.skins, *spec.lights, *spec.cameras):
        element.delete()
    if weighed:
        _fix_inertia(spec)
    for geom in list(spec.geoms):
        if needless(geom):
            geom.delete()
    meshes = {geom.meshname for geom in spec.geoms}
    for mesh in list(spec.meshes):
        if mesh.name not in meshes:
            mesh.delete()


def _fix_inertia(spec: mujoco.MjSpec) -> None:
    """Give every body explicitly the mass and inertia that it has from its geoms."""
    model = spec.compile()
    for body in spec.bodies:
        if body.name != "world":
            compiled = model.body(body.name)
            body.explicitinertial = True
            body.mass, body.inertia = compiled.mass[0], compiled.inertia
            body.ipos, body.iquat = compiled.ipos, compiled.iquat
    spec.compiler.inertiafromgeom = mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_FALSE


def touches(geom: Any) -> bool:
    """Whether a geom of a spec may touch others."""
    return bool(geom.contype or geom.conaffinity)
