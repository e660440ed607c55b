"""The reacher with a third link; start, observation and reward are the stock reacher's."""

from __future__ import annotations

from functools import partial
from xml.etree import ElementTree

from dm_control.suite import reacher

from envs.suites.dmc.custom.domain import Domain

BIG_TARGET = 0.05  # m
SMALL_TARGET = 0.015
SPACING = 0.09  # m, from joint to joint and to the finger
RADIUS = 0.01  # m, of the links
# body, its joint, the joint's range in degrees, length of its capsule in m
LINKS = (
    ("arm0", "shoulder0", None, 0.09),
    ("arm1", "shoulder1", 80, 0.09),
    ("hand", "wrist", 80, 0.10),
)


def three_links() -> tuple[str, dict[str, bytes]]:
    """Model and assets: the stock model with its arm and motors replaced."""
    xml, assets = reacher.get_model_and_assets()
    root = ElementTree.fromstring(xml)
    world, motors = _child(root, "worldbody"), _child(root, "actuator")
    world.remove(_child(world, "body"))
    motors.clear()
    parent, position = world, f"0 0 {RADIUS}"
    for body, joint, limit, length in LINKS:
        parent = ElementTree.SubElement(parent, "body", name=body, pos=position)
        _geom(parent, name=body, type="capsule", fromto=f"0 0 0 {length} 0 0", material="self")
        limits = {} if limit is None else {"limited": "true", "range": f"{-limit} {limit}"}
        ElementTree.SubElement(parent, "joint", limits, name=joint)
        ElementTree.SubElement(motors, "motor", name=joint, joint=joint)
        position = f"{SPACING} 0 0"
    finger = ElementTree.SubElement(parent, "body", name="finger", pos=position)
    _geom(finger, name="finger", type="sphere", material="effector")
    return ElementTree.tostring(root, encoding="unicode"), assets


def _child(parent: ElementTree.Element, tag: str) -> ElementTree.Element:
    child = parent.find(tag)
    assert child is not None, f"dm_control's reacher has no {tag}"
    return child


def _geom(body: ElementTree.Element, **attributes: str) -> None:
    ElementTree.SubElement(body, "geom", attributes, size=str(RADIUS))


DOMAIN = Domain(
    tasks={
        "three_easy": partial(reacher.Reacher, BIG_TARGET),
        "three_hard": partial(reacher.Reacher, SMALL_TARGET),
    },
    physics=lambda: reacher.Physics.from_xml_string(*three_links()),
    time_limit=20,
)
