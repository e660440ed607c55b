# ruff: noqa: E501 (the lines of a table)
"""The two Shadow hands of the robot `h1hand`, without their forearms, on a wrist that turns.

The numbers are those of MuJoCo Menagerie's Shadow hand (Shadow Robot, Apache-2.0). The left hand is the mirror image of
the right one, but for a few numbers that have no mirror image in HumanoidBench either.
"""

from __future__ import annotations

import dataclasses

from envs.suites.humanoidbench.parts import Parts, lines

# What the text of both hands has in braces: side; prefix of names; signs of numbers that are negative on the left hand
# (`s`) and on the right one (`o`); the orientation of the thumb, and the depth of the box at its root.
LEFT = {"side": "left", "p": "lh", "s": "-", "o": "", "thumb": "0 -0.382682898 0 0.9238797538", "root": "0.0112"}
RIGHT = {"side": "right", "p": "rh", "s": "", "o": "-", "thumb": "0.9238797538 0 0.382682898 0", "root": "0.012"}

CONTACT = "solref 0.005 1 | solimp 0.5 0.99 0.0001 0.5 2 | rgba 0.1 0.1 0.1 1"
HINGE = "damping 0.05 | armature 0.0002 | frictionloss 0.01"
WRIST_HINGE = "damping 0.5 | armature 0.0002 | frictionloss 0.01"

WRIST_YAW = Parts(
    bodies="""
    {side}_hand | {side}_elbow_link | 0.169 0 -0.02912 | 0 0.7071067811865476 0 0.7071067811865476
    """,
    joints="""
    {side}_wrist_yaw | {side}_hand | hinge | axis 0 0 {o}1 | range -0.15 1.57 | damping 1 | armature 0.1
    """,
    masses="""
    {side}_hand | 0.001 | 0 0 0.001 | 1e-05 1e-05 1e-05 | -
    """,
    actuators="""
    {side}_wrist_yaw | joint {side}_wrist_yaw | 100 | 2 | -0.15 1.57 | -18 18
    """,
)

PALM = Parts(
    bodies="""
    {p}_wrist | {side}_hand | 0.01 0 0.15301 | 0.7071067811865476 0 0 0.7071067811865476
    {p}_palm  | {p}_wrist   | 0 0 0.034      | -
    """,
    joints=f"""
    {{p}}_WRJ2 | {{p}}_wrist | hinge | axis 0 {{s}}1 0 | range -0.523599 0.174533 | {WRIST_HINGE}
    {{p}}_WRJ1 | {{p}}_palm  | hinge | axis 1 0 0      | range -0.698132 0.488692 | {WRIST_HINGE}
    """,
    masses="""
    {p}_wrist | 0.1 | 0 0 0.029 | 6.4e-05 4.38e-05 3.5e-05     | 0.5 0.5 0.5 0.5
    {p}_palm  | 0.3 | 0 0 0.035 | 0.0005287 0.0003581 0.000191 | 0.7071067811865476 0 0 0.7071067811865476
    """,
    geoms="""
    {p}_wrist | - | VC | cylinder | 0.011 0.005          | {o}0.026 0 0.034        | {across}
    {p}_wrist | - | VC | cylinder | 0.011 0.005          | {s}0.031 0 0.034        | {across}
    {p}_wrist | - | VC | box      | 0.0135 0.009 0.005   | {o}0.021 0 0.011        | {s}0.9238792538 0 0.3826841051 0
    {p}_wrist | - | VC | box      | 0.0135 0.009 0.005   | {s}0.026 0 0.01         | {s}0.9238792538 0 -0.3826841051 0
    {p}_palm  | - | VC | box      | 0.031 0.0035 0.049   | {s}0.011 0.0085 0.038   | -
    {p}_palm  | - | VC | box      | 0.018 0.0085 0.049   | {o}0.002 -0.0035 0.038  | -
    {p}_palm  | - | VC | box      | 0.013 0.0085 0.005   | {s}0.029 -0.0035 0.082  | -
    {p}_palm  | - | VC | box      | 0.013 0.007 0.009    | {s}0.0265 -0.001 0.07   | {slanted}
    {p}_palm  | - | VC | box      | 0.0105 0.0135 {root} | {s}0.0315 -0.0085 0.001 | -
    {p}_palm  | - | VC | box      | 0.011 0.0025 0.015   | {s}0.0125 -0.015 0.004  | {s}0.97133789 0 0 -0.2377029731
    {p}_palm  | - | VC | box      | 0.009 0.012 0.002    | {s}0.011 0 0.089        | -
    {p}_palm  | - | VC | box      | 0.01 0.012 0.02      | {o}0.03 0 0.009         | -
    """,
    actuators="""
    {p}_A_WRJ2 | joint {p}_WRJ2 | 10 | 0 | -0.523599 0.174533 | -10 10
    {p}_A_WRJ1 | joint {p}_WRJ1 | 8  | 0 | -0.698132 0.488692 | -5 5
    """,
)

THUMB = Parts(
    bodies="""
    {p}_thbase     | {p}_palm       | {s}0.034 -0.00858 0.029 | {thumb}
    {p}_thproximal | {p}_thbase     | 0 0 0                   | -
    {p}_thhub      | {p}_thproximal | 0 0 0.038               | -
    {p}_thmiddle   | {p}_thhub      | 0 0 0                   | -
    {p}_thdistal   | {p}_thmiddle   | 0 0 0.032               | 0.7071067811865476 0 0 -0.7071067811865476
    """,
    joints=f"""
    {{p}}_THJ5 | {{p}}_thbase     | hinge | axis 0 0 {{o}}1 | range -1.0472 1.0472     | {HINGE}
    {{p}}_THJ4 | {{p}}_thproximal | hinge | axis {{s}}1 0 0 | range 0 1.22173          | {HINGE}
    {{p}}_THJ3 | {{p}}_thhub      | hinge | axis {{s}}1 0 0 | range -0.20944 0.20944   | {HINGE}
    {{p}}_THJ2 | {{p}}_thmiddle   | hinge | axis 0 -1 0     | range -0.698132 0.698132 | {HINGE}
    {{p}}_THJ1 | {{p}}_thdistal   | hinge | axis 1 0 0      | range -0.261799 1.5708   | {HINGE}
    """,
    masses="""
    {p}_thbase     | 0.01  | 0 0 0         | 1.6e-07 1.6e-07 1.6e-07       | -
    {p}_thproximal | 0.04  | 0 0 0.019     | 1.36e-05 1.36e-05 3.13e-06    | -
    {p}_thhub      | 0.005 | 0 0 0         | 1e-06 1e-06 3e-07             | -
    {p}_thmiddle   | 0.02  | 0 0 0.016     | 5.1e-06 5.1e-06 1.21e-06      | -
    {p}_thdistal   | 0.017 | 0 0 0.0145588 | 2.37794e-06 2.27794e-06 1e-06 | 0.7071067811865476 0 0 0.7071067811865476
    """,
    geoms="""
    {p}_thbase     | - | VC | sphere  | 0.013                | 0 0 0     | -
    {p}_thproximal | - | VC | capsule | 0.0105 0.009         | 0 0 0.02  | -
    {p}_thhub      | - | VC | sphere  | 0.011                | 0 0 0     | -
    {p}_thmiddle   | - | VC | capsule | 0.009 0.009          | 0 0 0.012 | -
    {p}_thmiddle   | - | VC | sphere  | 0.01                 | 0 0 0.03  | -
    {p}_thdistal   | - | VC | mesh    | {side}_th_distal_pst | -         | -
    """,
    actuators="""
    {p}_A_THJ5 | joint {p}_THJ5 | 0.4 | 0 | -1.0472 1.0472     | -3 3
    {p}_A_THJ4 | joint {p}_THJ4 | 1   | 0 | 0 1.22173          | -2 2
    {p}_A_THJ3 | joint {p}_THJ3 | 0.5 | 0 | -0.20944 0.20944   | -1 1
    {p}_A_THJ2 | joint {p}_THJ2 | 1.5 | 0 | -0.698132 0.698132 | -1 1
    {p}_A_THJ1 | joint {p}_THJ1 | 1   | 0 | -0.261799 1.5708   | -1 1
    """,
)

# In braces beside the hand's: the finger in lower and in upper case, its knuckle's parent and place, and the sign of the
# axis about which the knuckle turns.
FINGER = Parts(
    bodies="""
    {p}_{f}knuckle  | {parent}        | {place}   | -
    {p}_{f}proximal | {p}_{f}knuckle  | 0 0 0     | -
    {p}_{f}middle   | {p}_{f}proximal | 0 0 0.045 | -
    {p}_{f}distal   | {p}_{f}middle   | 0 0 0.025 | -
    """,
    joints=f"""
    {{p}}_{{F}}J4 | {{p}}_{{f}}knuckle  | hinge | axis 0 {{turn}}1 0 | range -0.349066 0.349066 | {HINGE}
    {{p}}_{{F}}J3 | {{p}}_{{f}}proximal | hinge | axis 1 0 0         | range -0.261799 1.5708   | {HINGE}
    {{p}}_{{F}}J2 | {{p}}_{{f}}middle   | hinge | axis 1 0 0         | range 0 1.5708           | {HINGE}
    {{p}}_{{F}}J1 | {{p}}_{{f}}distal   | hinge | axis 1 0 0         | range 0 1.5708           | {HINGE}
    """,
    masses="""
    {p}_{f}knuckle  | 0.008 | 0 0 0         | 3.2e-07 2.6e-07 2.6e-07         | 0.5 0.5 -0.5 0.5
    {p}_{f}proximal | 0.03  | 0 0 0.0225    | 1e-05 9.8e-06 1.8e-06           | 0.7071067811865476 0 0 0.7071067811865476
    {p}_{f}middle   | 0.017 | 0 0 0.0125    | 2.7e-06 2.6e-06 8.7e-07         | 0.7071067811865476 0 0 0.7071067811865476
    {p}_{f}distal   | 0.013 | 0 0 0.0130769 | 1.28092e-06 1.12092e-06 5.3e-07 | 0.7071067811865476 0 0 0.7071067811865476
    """,
    geoms="""
    {p}_{f}knuckle  | - | VC | cylinder | 0.009 0.009         | 0 0 0      | {across}
    {p}_{f}proximal | - | VC | capsule  | 0.009 0.02          | 0 0 0.025  | -
    {p}_{f}middle   | - | VC | capsule  | 0.009 0.0125        | 0 0 0.0125 | -
    {p}_{f}distal   | - | VC | mesh     | {side}_f_distal_pst | -          | -
    """,
    actuators="""
    {p}_A_{F}J4 | joint {p}_{F}J4  | 1   | 0 | -0.349066 0.349066 | -1 1
    {p}_A_{F}J3 | joint {p}_{F}J3  | 1   | 0 | -0.261799 1.5708   | -1 1
    {p}_A_{F}J0 | tendon {p}_{F}J0 | 0.5 | 0 | 0 3.1415           | -1 1
    """,
    tendons="""
    {p}_{F}J0 | {p}_{F}J2 {p}_{F}J1
    """,
)

METACARPAL = Parts(
    bodies="""
    {p}_lfmetacarpal | {p}_palm | {o}0.033 0 0.02071 | -
    """,
    joints=f"""
    {{p}}_LFJ5 | {{p}}_lfmetacarpal | hinge | axis 0.573576 0 {{s}}0.819152 | range 0 0.785398 | {HINGE}
    """,
    masses="""
    {p}_lfmetacarpal | 0.03 | 0 0 0.04 | 1.638e-05 1.45e-05 4.272e-06 | 0.7071067811865476 0 0 0.7071067811865476
    """,
    geoms="""
    {p}_lfmetacarpal | - | VC | box | 0.011 0.012 0.025 | {s}0.002 0 0.033 | -
    """,
    actuators="""
    {p}_A_LFJ5 | joint {p}_LFJ5 | 1 | 0 | 0 0.785398 | -1 1
    """,
)

FINGERS = {"ff": ("{p}_palm", "{s}0.033 0 0.095", "{o}"), "mf": ("{p}_palm", "{s}0.011 0 0.099", "{o}"),
           "rf": ("{p}_palm", "{o}0.011 0 0.095", "{s}"), "lf": ("{p}_lfmetacarpal", "0 0 0.06579", "{s}")}  # fmt: skip
"""Finger -> the parent of its knuckle, the place there, the sign of the axis about which the knuckle turns."""

ACROSS = "0.7071067811865476 0 0.7071067811865476 0"
SLANTED = "0.9872408 0.09905447994 0.01244669748 {s}0.1240519749"
EXCLUDES = Parts(excludes="{p}_wrist | {side}_elbow_link\n{p}_thproximal | {p}_thmiddle")


def wrist(hand: dict[str, str]) -> Parts:
    """Return the body and joint by which a hand, LEFT or RIGHT, turns at the end of its arm."""
    return _filled(WRIST_YAW, hand)


def hand(hand: dict[str, str]) -> Parts:
    """Return all of a hand, LEFT or RIGHT, that follows its `wrist`."""
    parts = _filled(PALM, hand | {"across": ACROSS, "slanted": SLANTED.format(**hand)}) + _filled(EXCLUDES, hand)
    thumb, fingers = _filled(THUMB, hand), Parts()
    for name, (parent, place, turn) in FINGERS.items():
        own = {"parent": parent.format(**hand), "place": place.format(**hand), "turn": turn.format(**hand)}
        if name == "lf":
            fingers += _filled(METACARPAL, hand)
        fingers += _filled(FINGER, hand | own | {"f": name, "F": name.upper(), "across": ACROSS})
    # Bodies and joints are numbered fingers first, actuators thumb first.
    whole = dataclasses.replace(parts + fingers + thumb, actuators=(parts + thumb + fingers).actuators)
    return dataclasses.replace(whole, geoms="\n".join(f"{line} | {CONTACT}" for line in lines(whole.geoms)))


def _filled(parts: Parts, words: dict[str, str]) -> Parts:
    """Return the parts with words in the place of braces."""
    return Parts(**{name: table.format(**words) for name, table in vars(parts).items()})
