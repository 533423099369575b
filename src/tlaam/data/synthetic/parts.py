"""Outlines and colours of the parts that carry the class.

Bills and crests are in head units, relative to where they are attached (x forwards, y down); tails are in body units,
relative to the rump. One unit is about the length of the body. Each function returns a list of polygons ``(N, 2)``.
"""

from __future__ import annotations

import numpy as np

from tlaam.data.synthetic.geometry import Colour, Points, blade, curve, points, rotation

COLOURS: dict[str, Colour] = {
    "orange": (243, 132, 28),
    "black": (38, 36, 42),
    "ivory": (244, 232, 190),
    "red": (214, 36, 40),
    "yellow": (250, 204, 40),
    "white": (246, 246, 242),
    "blue": (44, 92, 214),
}

_BILLS: dict[str, tuple[Points, Points]] = {
    "hooked": (
        points((-0.03, -0.062), (0.05, -0.078), (0.13, -0.062), (0.18, 0.0), (0.178, 0.088), (0.15, 0.05), (0.11, 0.02),
               (-0.03, 0.012)),
        points((-0.03, 0.0), (0.05, 0.012), (0.115, 0.02), (0.10, 0.058), (0.04, 0.064), (-0.03, 0.05)),
    ),
    "dagger": (
        points((-0.03, -0.046), (0.09, -0.036), (0.22, -0.016), (0.335, 0.004), (0.2, 0.008), (0.09, 0.008),
               (-0.03, 0.004)),
        points((-0.03, 0.0), (0.1, 0.005), (0.335, 0.004), (0.2, 0.024), (0.08, 0.042), (-0.03, 0.046)),
    ),
    "conical": (
        points((-0.03, -0.07), (0.05, -0.064), (0.115, -0.03), (0.155, 0.016), (0.1, 0.014), (0.05, 0.008),
               (-0.03, 0.0)),
        points((-0.03, -0.004), (0.06, 0.006), (0.148, 0.016), (0.1, 0.046), (0.04, 0.058), (-0.03, 0.05)),
    ),
    "sickle": (
        points((-0.03, -0.046), (0.08, -0.062), (0.19, -0.032), (0.265, 0.05), (0.292, 0.148), (0.24, 0.075),
               (0.17, 0.012), (0.08, -0.006), (-0.03, 0.004)),
        points((-0.03, 0.0), (0.08, -0.01), (0.17, 0.008), (0.25, 0.085), (0.278, 0.132), (0.21, 0.072), (0.15, 0.034),
               (0.07, 0.026), (-0.03, 0.044)),
    ),
}  # fmt: skip


def bill(shape: str, scale: float) -> list[Points]:
    """Return the upper and the lower mandible, attached at the origin."""
    return [curve(outline, steps=5) * scale for outline in _BILLS[shape]]


def crest(shape: str, scale: float) -> list[Points]:
    """Return the feathers of a crest, the first farthest back, attached at the origin (the crown)."""
    if shape == "fan":
        return [_ray(-104 + 27 * i, 0.16 + 0.045 * np.sin(np.pi * (i + 1) / 6), 0.066, scale) for i in range(5)]
    if shape == "spiked":
        return [_swept(reach, lift) * scale for reach, lift in ((0.30, -0.03), (0.29, 0.10), (0.21, 0.19))]
    stalks = []
    for bend, height in ((-0.045, 0.22), (0.04, 0.25)):
        spine = curve(points((0.0, 0.04), (bend * 0.2, -height * 0.5), (bend + 0.05, -height)), closed=False, steps=5)
        half = np.linspace(0.008, 0.012, len(spine))[:, None] * points((1, 0))
        drop = blade((bend, -height + 0.04), (bend + 0.125, -height - 0.035), 0.075, 0.62)
        stalks += [np.concatenate([spine - half, (spine + half)[::-1]]) * scale, drop * scale]
    return stalks


def _swept(reach: float, lift: float) -> Points:
    """Return one pointed feather of a swept-back crest, rooted along the forehead."""
    knots = points((0.125, 0.06), (0.09, -0.015 - lift * 0.2), (-0.02, -0.04 - lift * 0.55), (-reach, -0.055 - lift),
                   (-0.09, 0.015 - lift * 0.3), (-0.10, 0.1), (0.0, 0.09))  # fmt: skip
    return curve(knots, steps=6)


def _ray(degrees: float, length: float, width: float, scale: float) -> Points:
    """Return one rounded feather of a fan; -90 degrees points up, -180 backwards."""
    direction = rotation(degrees) @ points((1, 0))[0]
    feather = blade((0.0, 0.05), (float(direction[0] * length), float(0.02 + direction[1] * length)), width, 0.78)
    return feather * scale


def tail(shape: str, scale: float) -> list[Points]:
    """Return the tail's feathers, pointing to negative x, attached at the origin (the rump)."""
    if shape == "forked":
        return [
            _tail_feather(tilt, reach, 0.085) * scale
            for tilt, reach in ((-17, 0.40), (15, 0.41), (-6, 0.24), (5, 0.24))
        ]
    if shape == "pointed":
        return [_tail_feather(tilt, reach, 0.075) * scale for tilt, reach in ((-7, 0.27), (7, 0.27), (0, 0.47))]
    if shape == "rounded":
        rays = ((-26, 0.28), (26, 0.28), (-13, 0.325), (13, 0.325), (0, 0.34))
        return [_tail_feather(tilt, reach, 0.115, 0.85) * scale for tilt, reach in rays]
    return [points((0.06, -0.05), (-0.34, -0.082), (-0.355, 0.0), (-0.34, 0.082), (0.06, 0.05)) * scale]


def tail_tip(scale: float) -> Points:
    """Return the pale end of the ``tipped`` tail."""
    return points((-0.235, -0.073), (-0.34, -0.082), (-0.355, 0.0), (-0.34, 0.082), (-0.235, 0.073)) * scale


def _tail_feather(degrees: float, reach: float, width: float, roundness: float = 0.6) -> Points:
    return blade((0.06, 0.0), (-reach, 0.0), width, roundness) @ rotation(degrees).T


def wing_bars(kind: str, scale: float) -> list[Points]:
    """Return the pale feather tips on the folded wing, in body units (not relative to anything)."""
    if kind == "no-bar":
        return []
    if kind == "patch":
        rows = ((0.0, -0.035), (-0.012, 0.0), (-0.022, 0.035), (-0.04, 0.068))
        return [blade((x + 0.055 * scale, y), (x - 0.11 * scale, y + 0.012), 0.052 * scale, 0.6) for x, y in rows]
    bars = []
    for x in (0.105, -0.045) if kind == "two-bars" else (0.035,):
        for i in range(9):
            y = -0.175 + 0.041 * i
            middle = x - 0.012 * abs(i - 3.5) ** 1.4
            bars.append(blade((middle + 0.03 * scale, y), (middle - 0.03 * scale, y + 0.008), 0.058, 0.5))
    return bars
