"""The creature itself: pose, plumage, and the painting of its layers with exact coverage of every part.

In body units, the body is about one unit long; x points towards the bill, y downwards, and the origin is in its middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tlaam.data.synthetic import parts
from tlaam.data.synthetic.geometry import (
    Array,
    Colour,
    Coverage,
    Placement,
    Points,
    blade,
    cover,
    curve,
    mix,
    points,
    rotation,
    shifted,
    smoothstep,
)
from tlaam.data.synthetic.recipes import BILL_SHAPES, CREST_SHAPES, TAILS, Recipe

BODY_COLOURS: tuple[Colour, ...] = (
    (150, 160, 92),  # olive
    (180, 132, 84),  # tan
    (110, 136, 166),  # slate
    (120, 164, 144),  # sage
    (190, 128, 116),  # dusty rose
    (146, 124, 166),  # mauve
    (164, 158, 146),  # dove
    (96, 152, 164),  # teal
    (206, 168, 112),  # sand
    (142, 106, 88),  # umber
)

BELLY_COLOURS: tuple[Colour, ...] = (
    (250, 244, 228),
    (246, 226, 182),
    (240, 200, 160),
    (226, 236, 220),
    (222, 228, 238),
    (244, 214, 206),
)

_HEAD = points((0.285, -0.205))[0]
_BODY = points(
    (0.155, -0.275), (0.265, -0.372), (0.385, -0.345), (0.452, -0.235), (0.425, -0.125), (0.405, 0.02), (0.30, 0.185),
    (0.08, 0.272), (-0.16, 0.235), (-0.36, 0.125), (-0.415, 0.045), (-0.33, -0.035), (-0.16, -0.125), (0.03, -0.205),
)  # fmt: skip
_WING = points(
    (0.20, -0.13), (0.24, -0.05), (0.215, 0.06), (0.12, 0.145), (-0.03, 0.165), (-0.19, 0.125), (-0.30, 0.055),
    (-0.24, -0.03), (-0.08, -0.125), (0.08, -0.18),
)  # fmt: skip
_RUMP = points((-0.335, 0.04))[0]
_CROWN = points((0.27, -0.345))[0]
_GAPE = points((0.435, -0.215))[0]
_EYE = points((0.345, -0.248))[0]


@dataclass(frozen=True)
class Pose:
    """How one creature stands and is built. Nothing here depends on its class.

    Attributes:
        head_turn: degrees by which the head nods.
        head_size: factor on the head and all that it carries.
        plump: factor on the depth of the belly.
        tail_turn: degrees by which the tail is lifted.
        part_scale: factor on bill, crest, wing bar and tail.
    """

    head_turn: float
    head_size: float
    plump: float
    tail_turn: float
    part_scale: float

    def head(self, where: Points) -> Points:
        """Move points of the upright head ``(N, 2)`` with the head."""
        moved: Points = (where - _HEAD) @ rotation(self.head_turn).T * self.head_size + _HEAD
        return moved

    def body(self) -> Points:
        """Return the outline of body and head."""
        outline = _BODY.copy()
        below = outline[:, 1] > 0.05
        outline[below, 1] *= self.plump
        outline[:5] = self.head(outline[:5])
        outline[5] = (outline[5] + self.head(outline[5:6])[0]) / 2
        return curve(outline)

    def feet(self) -> Points:
        """Return where the two feet stand, ``(2, 2)``."""
        return points((0.085, 0.385 * self.plump), (-0.035, 0.385 * self.plump))

    def bill(self, shape: str) -> list[Points]:
        """Return both mandibles of a bill."""
        return [self.head(outline + _GAPE) for outline in parts.bill(shape, self.part_scale)]

    def crest(self, shape: str) -> list[Points]:
        """Return the feathers of a crest."""
        return [self.head(outline + _CROWN) for outline in parts.crest(shape, self.part_scale)]

    def tail(self, shape: str) -> list[Points]:
        """Return the feathers of a tail."""
        return [self.on_rump(outline) for outline in parts.tail(shape, 0.5 + 0.5 * self.part_scale)]

    def on_rump(self, outline: Points) -> Points:
        """Move points given relative to the rump to where the rump is."""
        moved: Points = outline @ rotation(self.tail_turn - 10).T + _RUMP
        return moved

    def face(self) -> Points:
        """Return the centre of the area that head, bill and crest take up, ``(1, 2)``."""
        return self.head(shifted(_EYE[None], 0.06, -0.02))

    def extent(self) -> Points:
        """Return points that span what any class can cover in this pose: the scale must not reveal the class."""
        return np.concatenate(
            [
                self.body(),
                shifted(self.feet(), 0.05, 0.03),
                shifted(self.feet(), -0.05, 0.03),
                *(outline for shape in BILL_SHAPES for outline in self.bill(shape)),
                *(outline for shape in CREST_SHAPES for outline in self.crest(shape)),
                *(outline for shape in TAILS for outline in self.tail(shape)),
            ]
        )


def draw_pose(rng: np.random.Generator, difficulty: float) -> Pose:
    """Draw a pose."""
    turn, size, plump, tail, part = rng.uniform(-1, 1, 5)
    return Pose(
        head_turn=11 * turn,
        head_size=1.02 + 0.09 * size,
        plump=1.0 + 0.1 * plump,
        tail_turn=9 * tail,
        part_scale=1.05 - 0.3 * difficulty + 0.05 * part,
    )


@dataclass(frozen=True)
class Painted:
    """A creature on a transparent image of (H, W) pixels.

    Attributes:
        colour: (H, W, 3) premultiplied by `alpha`, 0 to 255.
        alpha: (H, W), 0 to 1.
        parts: the share of each pixel in which each part is *seen*, (H, W) each.
    """

    colour: Array
    alpha: Array
    parts: dict[str, Array]


class _Easel:
    """Paints layers over one another and keeps track of what stays visible of each part."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.colour = np.zeros((*shape, 3), dtype=np.float32)
        self.alpha = np.zeros(shape, dtype=np.float32)
        self.parts: dict[str, Array] = {}

    def paint(self, layer: Coverage, colour: Colour | Array, part: str | None = None) -> None:
        """Lay a colour, or a (H, W, 3) field of the layer's window, over what is there."""
        a = layer.values
        window = layer.window
        kept = 1 - a
        self.colour[window] *= kept[..., None]
        self.colour[window] += a[..., None] * np.asarray(colour, dtype=np.float32)
        self.alpha[window] = a + self.alpha[window] * kept
        for seen in self.parts.values():
            seen[window] *= kept
        if part is not None:
            self.parts.setdefault(part, np.zeros(self.shape, dtype=np.float32))[window] += a

    def glaze(self, layer: Coverage, factor: float | Array) -> None:
        """Multiply what is there by `factor` where the layer covers it; nothing becomes hidden."""
        self.colour[layer.window] *= (1 + layer.values * (np.asarray(factor, dtype=np.float32) - 1))[..., None]


@dataclass(frozen=True)
class _Light:
    """Where each pixel lies on the body (u, v: body units) and how brightly it is lit, (H, W) each."""

    u: Array
    v: Array
    body: Array
    flat: Array


def _light(shape: tuple[int, int], place: Placement, pose: Pose, sun: Points) -> _Light:
    """Compute the light on an ellipsoid body that passes smoothly into a round head."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    inverse = np.linalg.inv(place.matrix).astype(np.float32)
    x, y = columns + np.float32(0.5 - place.offset[0]), rows + np.float32(0.5 - place.offset[1])
    u, v = inverse[0, 0] * x + inverse[0, 1] * y, inverse[1, 0] * x + inverse[1, 1] * y
    local = place.matrix.T @ sun[:2] / place.scale
    head = smoothstep(0.29, 0.13, np.hypot(u - np.float32(_HEAD[0]), v - np.float32(_HEAD[1])))
    body_x, body_y = (u + 0.01) / np.float32(0.47), (v - 0.03) / np.float32(0.27 * pose.plump)
    head_x, head_y = (u - np.float32(_HEAD[0])) / np.float32(0.2), (v - np.float32(_HEAD[1])) / np.float32(0.19)
    normal_x, normal_y = body_x + (head_x - body_x) * head, body_y + (head_y - body_y) * head
    flat2 = np.minimum(normal_x**2 + normal_y**2, 1.4)
    normal_z = np.sqrt(np.maximum(1.15 - flat2, 0.04))
    length = np.sqrt(flat2 + normal_z**2)
    facing = (
        normal_x * np.float32(local[0]) + normal_y * np.float32(local[1]) + normal_z * np.float32(sun[2])
    ) / length
    bounce = np.maximum(normal_y / length, 0) * np.float32(0.1)
    body = np.float32(0.6) + np.float32(0.62) * np.maximum(facing, 0) + bounce
    flat = np.float32(0.82) + np.float32(0.28) * np.clip(facing, 0, 1)
    return _Light(u, v, body.astype(np.float32), flat.astype(np.float32))


def _rim(seen: Array, sun: Points, width: float) -> Array:
    """Return the band of a silhouette (H, W) that faces the sun: inside it, but outside after it is moved."""
    moved = seen
    for axis, share in ((0, sun[1]), (1, sun[0])):
        moved = np.roll(moved, -round(width * 1.4 * float(share)), axis)
    rim: Array = seen * (1 - moved)
    return rim


def _lit(colour: Colour, layer: Coverage, light: Array) -> Array:
    field: Array = np.clip(light[layer.window][..., None] * np.array(colour, dtype=np.float32), 0, 255)
    return field


class _Plumage:
    """Random colours of body and wing; the same distribution for every class."""

    def __init__(self, rng: np.random.Generator) -> None:
        count = len(BODY_COLOURS)
        pick = rng.integers(0, count, 4)
        amounts = rng.uniform(0, 1, 8)
        jitter = rng.uniform(-9, 9, 3)
        r, g, b = BODY_COLOURS[pick[0]]
        self.body: Colour = (r + jitter[0], g + jitter[1], b + jitter[2])
        self.belly = mix(self.body, BELLY_COLOURS[pick[1] % len(BELLY_COLOURS)], 0.6 + 0.35 * amounts[0])
        self.breast = mix(BODY_COLOURS[pick[2]], (226, 136, 84), 0.5 * amounts[1])
        self.breast_amount = float(0.85 * max(0.0, amounts[2] * 1.6 - 0.5))
        self.cap = mix(mix(self.body, (40, 40, 46), 0.5), BODY_COLOURS[pick[3]], 0.35)
        self.cap_amount = float(0.75 * max(0.0, amounts[3] * 2 - 1))
        self.mask_amount = float(0.6 * max(0.0, amounts[4] * 2 - 1))
        self.wing = mix(mix(self.body, (44, 42, 52), 0.6), BODY_COLOURS[pick[3]], 0.16)
        self.leg = mix((92, 72, 60), (66, 66, 74), float(amounts[5]))
        self.iris = mix((96, 56, 28), (30, 24, 24), float(amounts[6]))
        self.eye_ring = float(0.75 * amounts[7])

    def field(self, light: _Light, pose: Pose) -> Array:
        """Return the body's colour before lighting, (H, W, 3)."""
        u, v = light.u, light.v
        head_x, head_y = np.float32(_HEAD[0]), np.float32(_HEAD[1])
        belly = smoothstep(-0.04, 0.16, v + 0.1 * (u - 0.1)) * 0.95
        breast = np.exp(-(((u - 0.33) / 0.17) ** 2 + ((v - 0.0) / 0.15) ** 2)) * np.float32(self.breast_amount)
        cap = smoothstep(-0.03, -0.1, v - head_y - 0.25 * (head_x - u)) * smoothstep(0.12, 0.2, u)
        eye = pose.head(_EYE[None])[0]
        streak = np.exp(-(((v - eye[1]) / 0.035) ** 2)) * smoothstep(0.16, 0.26, u)
        back = smoothstep(-0.02, -0.22, v + 0.1 * u) * 0.22
        field = np.empty((*u.shape, 3), dtype=np.float32)
        field[:] = self.body
        for amount, colour in (
            (back, mix(self.body, self.wing, 0.8)),
            (belly, self.belly),
            (breast, self.breast),
            (cap * self.cap_amount, self.cap),
            (streak * self.mask_amount, self.cap),
        ):
            field += amount.astype(np.float32)[..., None] * (np.array(colour, dtype=np.float32) - field)
        return field


def _down(rng: np.random.Generator, pose: Pose) -> list[Points]:
    """Return small curved feather tips strewn over the body, in body units."""
    arc = points((0.0, -0.024), (-0.017, -0.012), (-0.021, 0.0), (-0.017, 0.012), (0.0, 0.024))
    rows = [
        (x + 0.025 * (j % 2), y)
        for j, y in enumerate(np.arange(-0.36, 0.3, 0.038))
        for x in np.arange(-0.4, 0.46, 0.05)
    ]
    centres = np.array(rows) + rng.uniform(-0.012, 0.012, (len(rows), 2))
    tilt = rotation(-18).T
    return [arc @ tilt * (0.9, pose.plump) + centre for centre in centres]


def paint_creature(
    shape: tuple[int, int],
    place: Placement,
    pose: Pose,
    recipe: Recipe,
    sun: Points,
    difficulty: float,
    rng: np.random.Generator,
) -> Painted:
    """Paint one creature on an image of `shape` (H, W).

    Args:
        shape: height and width of the image in pixels.
        place: maps body units to the image's pixels.
        pose: how it stands.
        recipe: the class's parts.
        sun: unit vector (3,) towards the light: x right, y down, z towards the viewer.
        difficulty: 0 to 1; reduces the contrast of the parts' colours.
        rng: draws the plumage, the same number of times for every recipe.
    """
    plumage = _Plumage(rng)
    down = _down(rng, pose)
    easel = _Easel(shape)
    light = _light(shape, place, pose, sun)

    def part_colour(name: str) -> Colour:
        return mix(parts.COLOURS[name], plumage.body, 0.16 * difficulty)

    _paint_legs(easel, place, pose, plumage)
    _paint_tail(easel, place, pose, recipe, plumage, light)
    if recipe.crest is not None:
        _paint_crest(easel, place, pose.crest(recipe.crest[1]), part_colour(recipe.crest[0]), light)

    body = cover(shape, [place(pose.body())])
    field = plumage.field(light, pose) * light.body[..., None]
    easel.paint(body, np.clip(field[body.window], 0, 255))
    seen = body.full(shape)
    _paint_down(easel, place, down, seen)
    easel.glaze(Coverage(0, 0, _rim(seen, sun, 0.022 * place.scale)), 1.3)
    _paint_wing(easel, place, pose, recipe, plumage, light, seen, part_colour("white"))
    _paint_eye(easel, place, pose, plumage)
    _paint_bill(easel, place, pose.bill(recipe.bill[1]), part_colour(recipe.bill[0]), light)
    return Painted(np.clip(easel.colour, 0, 255), np.clip(easel.alpha, 0, 1), easel.parts)


def _paint_legs(easel: _Easel, place: Placement, pose: Pose, plumage: _Plumage) -> None:
    unit = place.scale
    for index, foot in enumerate(pose.feet()[::-1]):
        hip = shifted(foot, -0.025, -0.19)
        lines = [(place(np.array([hip, foot])), 0.019 * unit)]
        for toe in ((0.055, 0.022), (0.035, 0.03), (-0.045, 0.024)):
            middle = foot + np.array(toe) * (0.6, 0.15)
            lines.append((place(np.array([foot, middle, foot + toe])), 0.015 * unit))
        easel.paint(cover(easel.shape, [], lines), mix(plumage.leg, (30, 28, 30), 0.35 * (1 - index)))


def _paint_tail(easel: _Easel, place: Placement, pose: Pose, recipe: Recipe, plumage: _Plumage, light: _Light) -> None:
    base = mix(plumage.wing, plumage.body, 0.15)
    feathers = pose.tail(recipe.tail)
    for index, feather in enumerate(feathers):
        layer = cover(easel.shape, [place(feather)])
        easel.paint(layer, _lit(mix(base, (20, 20, 24), 0.12 * (index % 2)), layer, light.flat), "tail")
        if len(feathers) > 1:
            edge = cover(easel.shape, [], [(place(feather), 0.006 * place.scale)])
            easel.glaze(edge, 1.22)
    if recipe.tail == "tipped":
        layer = cover(easel.shape, [place(pose.on_rump(parts.tail_tip(0.5 + 0.5 * pose.part_scale)))])
        easel.paint(layer, _lit((238, 234, 224), layer, light.flat), "tail")
        ribs = [np.array([(0.0, y), (-0.33, y * 1.5)]) for y in (-0.032, 0.0, 0.032)]
        easel.glaze(cover(easel.shape, [], [(place(pose.on_rump(rib)), 0.007 * place.scale) for rib in ribs]), 0.78)


def _paint_crest(easel: _Easel, place: Placement, feathers: list[Points], colour: Colour, light: _Light) -> None:
    for feather in feathers:
        outline = place(feather)
        layer = cover(easel.shape, [outline])
        height = np.linspace(1.12, 0.8, layer.values.shape[0], dtype=np.float32)[:, None, None]
        easel.paint(layer, np.clip(_lit(colour, layer, light.flat) * height, 0, 255), "crest")
        if len(feathers) > 1:
            edge = cover(easel.shape, [], [(np.concatenate([outline, outline[:1]]), 0.007 * place.scale)])
            easel.glaze(edge, 0.78)


def _paint_down(easel: _Easel, place: Placement, down: list[Points], seen: Array) -> None:
    """Draw the feather tips, each with a thin shadow and a thin highlight."""
    unit = place.scale
    mapped = [place(arc) for arc in down]
    easel.glaze(cover(easel.shape, [], [(arc, 0.007 * unit) for arc in mapped]).times(seen), 0.9)
    easel.glaze(
        cover(easel.shape, [], [(shifted(arc, 0, -0.009 * unit), 0.006 * unit) for arc in mapped]).times(seen), 1.07
    )


def _paint_wing(
    easel: _Easel,
    place: Placement,
    pose: Pose,
    recipe: Recipe,
    plumage: _Plumage,
    light: _Light,
    seen: Array,
    pale: Colour,
) -> None:
    unit = place.scale
    shadow = cover(easel.shape, [place(shifted(curve(_WING) * 1.03, 0.0, 0.028))])
    easel.glaze(shadow.times(seen), 0.78)
    for index in range(6):
        tip = (-0.5 + 0.045 * index, 0.05 + 0.021 * index)
        feather = blade((0.06, -0.02 + 0.03 * index), tip, 0.085, 0.75)
        layer = cover(easel.shape, [place(feather)])
        easel.paint(layer, _lit(mix(plumage.wing, (24, 24, 28), 0.3 - 0.03 * index), layer, light.flat))
        easel.glaze(cover(easel.shape, [], [(place(feather), 0.007 * unit)]), 1.4)
    wing = cover(easel.shape, [place(curve(_WING))])
    fade = (1.08 + 0.22 * smoothstep(-0.15, 0.25, light.u))[wing.window][..., None]
    easel.paint(wing, np.clip(_lit(plumage.wing, wing, light.flat) * fade, 0, 255))
    inside = wing.full(easel.shape)
    scallop = points((0.0, -0.03), (-0.03, -0.018), (-0.04, 0.0), (-0.03, 0.018), (0.0, 0.03))
    rows = [(x, y) for x in (0.19, 0.1, 0.0, -0.1, -0.19) for y in np.arange(-0.17, 0.18, 0.056)]
    scallops = [place(shifted(scallop, x - 0.25 * abs(y), y)) for x, y in rows]
    easel.glaze(cover(easel.shape, [], [(s, 0.009 * unit) for s in scallops]).times(inside), 0.76)
    easel.glaze(
        cover(easel.shape, [], [(shifted(s, 0, -0.009 * unit), 0.006 * unit) for s in scallops]).times(inside), 1.18
    )
    bars = parts.wing_bars(recipe.wing_bar, pose.part_scale)
    if bars:
        mapped = [place(bar) for bar in bars]
        easel.glaze(cover(easel.shape, [shifted(bar, 0, 0.014 * unit) for bar in mapped]).times(inside), 0.7)
        layer = cover(easel.shape, mapped).times(inside)
        easel.paint(layer, _lit(pale, layer, light.flat), "wing_bar")


def _paint_eye(easel: _Easel, place: Placement, pose: Pose, plumage: _Plumage) -> None:
    centre = pose.head(_EYE[None])
    circle = points(*((np.cos(t), np.sin(t)) for t in np.linspace(0, 2 * np.pi, 24, endpoint=False)))

    def disc(radius: float) -> Coverage:
        return cover(easel.shape, [place(centre + circle * radius * pose.head_size)])

    ring = disc(0.044)
    easel.paint(
        Coverage(ring.x, ring.y, ring.values * np.float32(plumage.eye_ring)), mix(plumage.body, (248, 240, 224), 0.75)
    )
    easel.paint(disc(0.036), plumage.iris)
    easel.paint(disc(0.026), (12, 10, 12))
    # The glint comes from the sky whichever way the creature looks, so it is placed in pixels.
    glint = shifted(place(centre), -0.010 * place.scale, -0.013 * place.scale) + circle * 0.0115 * place.scale
    easel.paint(cover(easel.shape, [glint]), (255, 255, 255))


def _paint_bill(easel: _Easel, place: Placement, mandibles: list[Points], colour: Colour, light: _Light) -> None:
    upper, lower = (place(outline) for outline in mandibles)
    for outline, factor in ((lower, 0.78), (upper, 1.0)):
        layer = cover(easel.shape, [outline])
        height = np.linspace(1.2, 0.78, layer.values.shape[0], dtype=np.float32)[:, None, None]
        easel.paint(layer, np.clip(_lit(colour, layer, light.flat) * height * factor, 0, 255), "bill")
    ridge = upper[3:13]
    inner = ridge + _towards_middle(ridge, upper) * 0.28
    shine = cover(easel.shape, [], [(inner, 0.013 * place.scale)])
    shine = shine.times(cover(easel.shape, [upper]).full(easel.shape))
    easel.paint(Coverage(shine.x, shine.y, shine.values * np.float32(0.4)), (255, 250, 240), "bill")


def _towards_middle(some: Points, whole: Points) -> Points:
    """Return the vector from the middle of `some` points to the middle of the `whole` outline, ``(2,)``."""
    vector: Points = whole.mean(0) - some.mean(0)
    return vector
