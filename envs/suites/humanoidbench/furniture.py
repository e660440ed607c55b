# ruff: noqa: E501 (the lines of a table)
"""The furniture and the things that several scenes have, and how a scene says what lies or stands in it."""

from __future__ import annotations

from envs.suites.humanoidbench.parts import Parts

WOOD = "rgba 0.63 0.45 0.28 1"
METAL = "rgba 0.55 0.57 0.6 1"
WHITE = "rgba 0.92 0.92 0.9 1"
RED = "rgba 0.8 0.28 0.28 1"
BLUE = "rgba 0.25 0.4 0.75 1"
BLACK = "rgba 0.15 0.15 0.17 1"
GREY = "rgba 0.6 0.6 0.62 1"
GOLD = "rgba 0.85 0.68 0.2 1"
CLEAR = "rgba 0.92 0.92 0.9 0.25"
GLASS = "rgba 0.6 0.8 0.95 0.4"
NET = "rgba 0.95 0.95 0.95 0.35"
ORANGE = "rgba 0.85 0.45 0.15 1"
TARPAULIN = "rgba 0.3 0.5 0.4 0.35"
INVISIBLE = "rgba 0 0 0 0"
CARDBOARD = "rgba 0.72 0.55 0.36 1"


def fixed(name: str, pos: str, geoms: str = "", quat: str = "-", *, parent: str = "-") -> Parts:
    """Return a body that is fixed to the world, or to its parent.

    Args:
      name: of the body.
      pos: its position in the frame of the parent.
      geoms: lines as those of `Parts.geoms`, without the name of the body.
      quat: its orientation in the frame of the parent.
      parent: what it hangs on; `-` is the world.
    """
    return Parts(bodies=f"{name} | {parent} | {pos} | {quat}", geoms=_of_body(name, geoms))


def free(name: str, pos: str, geoms: str = "", mass: str = "", quat: str = "-") -> Parts:
    """Return a body that moves freely, by a joint called `free_<name>`.

    Args:
      name: of the body.
      pos: its position in the model, which the start of an episode may override.
      geoms: lines as those of `Parts.geoms`, without the name of the body.
      mass: a line as those of `Parts.masses`, without the name of the body.
      quat: its orientation in the model.
    """
    return fixed(name, pos, geoms, quat) + Parts(joints=f"free_{name} | {name} | free", masses=_of_body(name, mass))


def site_at_origin(name: str) -> Parts:
    """Return a site at the origin of a body, with the body's name."""
    return Parts(sites=f"{name} | {name} | 0 0 0")


def _of_body(name: str, lines: str) -> str:
    return "\n".join(f"{name} | {line}" for line in lines.splitlines() if line.strip())


_CORNERS = ((1, "0.4 0.4"), (2, "0.4 -0.4"), (3, "-0.4 0.4"), (4, "-0.4 -0.4"))


def square_table(pos: str) -> Parts:
    """Return a table of 1 m by 1 m whose collision legs reach through its top."""
    seen = [f"table_leg_{i} | V | box | 0.05 0.05 0.45 | {xy} 0 | - | {WOOD}" for i, xy in _CORNERS]
    touched = [f"table_leg_{i}_collision | C | box | 0.05 0.05 0.5 | {xy} 0 | -" for i, xy in _CORNERS]
    top = f"table_top / table_top_collision | VC | box | 0.5 0.5 0.05 | 0 0 0.45 | - | {WOOD}"
    return fixed("table", pos, "\n".join([top, *seen, *touched]))


SHELF_BOARDS = f"""
    shelf_board_3  | VC | box | 0.3 0.4 0.025    | 0 0 0.025        | - | {WOOD}
    shelf_board_4  | VC | box | 0.3 0.4 0.025    | 0 0 0.325        | - | {WOOD}
    shelf_board_5  | VC | box | 0.3 0.4 0.025    | 0 0 0.625        | - | {WOOD}
    shelf_board_6  | VC | box | 0.3 0.4 0.025    | 0 0 0.925        | - | {WOOD}
    shelf_board_7  | VC | box | 0.3 0.4 0.025    | 0 0 1.225        | - | {WOOD}
    shelf_board_8  | VC | box | 0.3 0.4 0.025    | 0 0 1.525        | - | {WOOD}
    shelf_board_9  | VC | box | 0.325 0.45 0.025 | 0.025 0 1.825    | - | {WOOD}
    shelf_board_1  | VC | box | 0.325 0.025 0.9  | 0.025 0.425 0.9  | - | {WOOD}
    shelf_board_2  | VC | box | 0.325 0.025 0.9  | 0.025 -0.425 0.9 | - | {WOOD}
    shelf_board_10 | VC | box | 0.025 0.4 0.9    | 0.325 0 0.9      | - | {WOOD}
"""


def shelf(pos: str) -> Parts:
    """Return a bookshelf: six boards between two sides, a back and a top."""
    return fixed("shelf", pos, SHELF_BOARDS)


CHAIR = f"""
    - | V | box | 0.02 0.02 0.225  | 0.19 0.19 0.225    | - | {WOOD}
    - | V | box | 0.02 0.02 0.225  | 0.19 -0.19 0.225   | - | {WOOD}
    - | V | box | 0.02 0.02 0.225  | -0.19 0.19 0.225   | - | {WOOD}
    - | V | box | 0.02 0.02 0.225  | -0.19 -0.19 0.225  | - | {WOOD}
    - | V | box | 0.21 0.21 0.025  | 0 0 0.45           | - | {WOOD}
    - | V | box | 0.02 0.02 0.2125 | -0.23 0.19 0.6375  | - | {WOOD}
    - | V | box | 0.02 0.02 0.2125 | -0.23 -0.19 0.6375 | - | {WOOD}
    - | V | box | 0.02 0.21 0.08   | -0.23 0 0.77       | - | {WOOD}
    - | C | box | 0.02 0.21 0.2    | -0.23 0 0.65       | -
    - | C | box | 0.21 0.21 0.2375 | 0 0 0.2375         | -
"""
CHAIR_MASS = """
    15.748 | -0.0591211582423 0 0.479664719329 | 1.02448531299 0.925289033215 0.546397586894 | 0.949395449841 0 -0.314083237092 0
"""

TROPHY = f"""
    trophy_a | VC | cylinder | 0.1 0.015 | 0 0 0.015 | - | {BLACK}
    trophy_b | VC | cylinder | 0.025 0.1 | 0 0 0.115 | - | {GOLD}
    trophy_c | VC | sphere   | 0.035     | 0 0 0.2   | - | {GOLD}
"""
TROPHY_MASS = "1.51477125781 | 0 0 0.0628586242655 | 0.0104893415436 0.0104893415436 0.00492310868963 | -"

SNOW_GLOBE = f"""
    snow_globe_a | VC | cylinder | 0.1 0.015 | 0 0 0.015 | - | {RED}
    snow_globe_b | VC | sphere   | 0.1       | 0 0 0.101 | - | {GLASS}
"""
SNOW_GLOBE_MASS = "5.13126800086 | 0 0 0.0852040816327 | 0.0248722989235 0.0248722989235 0.0214675497995 | -"

HEADPHONE = f"""
    headphone_a | VC | cylinder | 0.08 0.025    | 0.1 -0.07 0.08 | axis 0 1 0 | {BLACK}
    headphone_b | VC | cylinder | 0.08 0.025    | 0.1 0.07 0.08  | axis 0 1 0 | {BLACK}
    headphone_c | VC | box      | 0.1 0.02 0.02 | 0.2 -0.07 0.08 | -          | {GREY}
    headphone_d | VC | box      | 0.1 0.02 0.02 | 0.2 0.07 0.08  | -          | {GREY}
    headphone_e | VC | box      | 0.02 0.08 0.02 | 0.3 0 0.08    | -          | {GREY}
"""
HEADPHONE_MASS = """
    2.9066192983 | 0.139633673411 0 0.08 | 0.0314970386158 0.0207951159109 0.0173748377927 | 0 0.707106781187 0 0.707106781187
"""
HEADPHONE_QUAT = "0.87758256 0 0 0.47942554"

_PACKAGES = {
    "a": ("0.2 0.1 0.15", "0.70710548 -0.70710808 0 0", "24 | 0 0 0 | 0.5 0.4 0.26 | 0.5 0.5 0.5 0.5"),
    "b": (
        "0.25 0.2 0.1",
        "0.70675184 0 0 0.70746154",
        "40 | 0 0 0 | 1.36666666667 0.966666666667 0.666666666667 | 0 0.707106781187 0 0.707106781187",
    ),
    "c": ("0.2 0.3 0.1", "0.70710548 0.70710808 0 0", "48 | 0 0 0 | 2.08 1.6 0.8 | 0.5 0.5 -0.5 0.5"),
    "d": ("0.25 0.3 0.1", "-", "60 | 0 0 0 | 3.05 2 1.45 | 0.5 0.5 -0.5 0.5"),
    "e": ("0.2 0.2 0.2", "-", "64 | 0 0 0 | 1.70666666667 1.70666666667 1.70666666667 | -"),
}
"""Half lengths, orientation in the model and mass of each package."""


def package(letter: str, pos: str) -> Parts:
    """Return a package, one of a to e, which weighs 24 to 64 kg."""
    size, quat, mass = _PACKAGES[letter]
    name = f"package_{letter}"
    return free(name, pos, f"{name} / {name}_collision | VC | box | {size} | 0 0 0 | - | {CARDBOARD}", mass, quat)
