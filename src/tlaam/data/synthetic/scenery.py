"""The surroundings: a blurred, natural-looking distance, a perch, sharp distractors, and blurred things in front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tlaam.data.sample import Box
from tlaam.data.synthetic import parts
from tlaam.data.synthetic.creature import BODY_COLOURS
from tlaam.data.synthetic.geometry import (
    SUPERSAMPLING,
    Array,
    Colour,
    Points,
    blade,
    curve,
    mix,
    points,
    rotation,
    shifted,
    stroke,
    tone,
)
from tlaam.data.synthetic.recipes import BILL_COLOURS, BILL_SHAPES, CREST_COLOURS, CREST_SHAPES

_FAR = 2  # the distance is blurred anyway: it is drawn at half the size


@dataclass(frozen=True)
class _Mood:
    """Colours of one kind of place."""

    top: Colour
    bottom: Colour
    shapes: tuple[Colour, ...]
    leaves: tuple[Colour, ...]
    lights: tuple[Colour, ...]
    bark: Colour


_MOODS = (
    _Mood((150, 178, 120), (62, 92, 54), ((84, 122, 62), (118, 150, 78), (52, 84, 56), (164, 178, 104), (70, 92, 78)),
          ((96, 148, 62), (126, 168, 74), (70, 118, 62)), ((232, 238, 176), (200, 226, 160)), (112, 90, 70)),
    _Mood((150, 196, 226), (206, 220, 214), ((170, 200, 206), (122, 158, 134), (206, 218, 208), (142, 172, 158)),
          ((112, 156, 84), (140, 168, 92), (96, 136, 96)), ((255, 250, 236), (224, 240, 250)), (120, 104, 88)),
    _Mood((214, 172, 108), (126, 82, 52),
          ((196, 118, 52), (222, 164, 78), (142, 92, 60), (168, 76, 46), (118, 104, 66)),
          ((206, 122, 46), (190, 84, 44), (216, 164, 66)), ((255, 226, 160), (250, 206, 140)), (104, 78, 62)),
    _Mood((214, 208, 196), (138, 126, 114),
          ((182, 166, 148), (134, 134, 132), (206, 190, 168), (146, 158, 138), (188, 154, 140)),
          ((126, 146, 92), (152, 152, 104), (104, 126, 98)), ((244, 236, 220), (226, 228, 226)), (112, 98, 88)),
    _Mood((222, 178, 178), (96, 112, 138), ((190, 140, 150), (122, 126, 156), (226, 186, 166), (92, 116, 130)),
          ((96, 134, 112), (124, 144, 116), (142, 116, 126)), ((255, 226, 206), (242, 206, 214)), (98, 82, 82)),
    _Mood((116, 160, 152), (54, 88, 92), ((76, 122, 116), (48, 86, 88), (122, 162, 140), (92, 132, 108)),
          ((92, 148, 108), (116, 160, 96), (72, 122, 104)), ((216, 240, 224), (190, 226, 220)), (100, 88, 76)),
    _Mood((216, 214, 152), (118, 138, 66), ((176, 178, 88), (138, 158, 72), (210, 190, 104), (104, 128, 66)),
          ((134, 168, 66), (164, 180, 80), (106, 146, 64)), ((255, 250, 196), (250, 236, 170)), (122, 100, 74)),
)  # fmt: skip


class Scene:
    """Draws everything around a creature, from far to near.

    Args:
        size: width and height of the image in pixels.
        unit: pixels per body unit of the creature that will stand in it.
        difficulty: 0 to 1; adds clutter and fragments that resemble parts.
        rng: draws everything here; nothing depends on the creature's class.
    """

    def __init__(self, size: tuple[int, int], unit: float, difficulty: float, rng: np.random.Generator) -> None:
        self.size = size
        self.unit = unit
        self.difficulty = difficulty
        self.rng = rng
        self.nodes: list[Points] = []
        self.mood = _MOODS[int(rng.integers(len(_MOODS)))]

    def behind(self, feet: Points, face: Points, box: Box) -> Image.Image:
        """Return the RGB picture of everything behind a creature.

        Args:
            feet: where its two feet stand, (2, 2) pixels.
            face: the middle of its head and bill, (2,) pixels; nothing sharp grows there.
            box: what a creature of any class may cover, xyxy pixels.
        """
        width, height = self.size
        # The blurred distance needs no finer grid: repeating pixels is fast and reduces to the same.
        distance = self._distance().resize(self.size, Image.Resampling.BILINEAR)
        image = distance.resize((width * SUPERSAMPLING, height * SUPERSAMPLING), Image.Resampling.NEAREST)
        draw = ImageDraw.Draw(image)
        self._twigs(draw, face)
        self._distractors(draw, box)
        if self.rng.uniform() < 0.82:
            self._branch(draw, feet)
        else:
            self._rock(draw, feet)
        return image.reduce(SUPERSAMPLING)

    def _some(self, colours: tuple[Colour, ...]) -> Colour:
        return mix(colours[int(self.rng.integers(len(colours)))], BODY_COLOURS[int(self.rng.integers(10))], 0.1)

    def _distance(self) -> Image.Image:
        rng, mood = self.rng, self.mood
        width, height = self.size[0] // _FAR, self.size[1] // _FAR
        longer = max(width, height)
        bend = rng.uniform(0.6, 1.6)
        ramp = (np.linspace(0, 1, height) ** bend)[:, None, None]
        slope = rng.uniform(-0.25, 0.25) * np.linspace(-1, 1, width)[None, :, None]
        share = np.clip(ramp + slope, 0, 1)
        base = np.array(mood.top) * (1 - share) + np.array(mood.bottom) * share
        image = Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))
        draw = ImageDraw.Draw(image)
        for _ in range(22 + int(20 * self.difficulty)):
            self._blob(draw, rng.uniform(-0.1, 1.1, 2) * (width, height), rng.uniform(0.06, 0.2) * longer)
        image = image.filter(ImageFilter.GaussianBlur(longer * 0.045))
        draw = ImageDraw.Draw(image)
        for _ in range(6 + int(10 * self.difficulty)):
            self._blob(draw, rng.uniform(-0.1, 1.1, 2) * (width, height), rng.uniform(0.03, 0.11) * longer)
        for _ in range(int(rng.integers(1, 5))):
            ends = np.array([rng.uniform(-0.1, 1.1, 2), rng.uniform(-0.1, 1.1, 2)]) * (width, height)
            stroke(draw, ends, longer * rng.uniform(0.008, 0.03), tone(mix(mood.bark, mood.bottom, 0.4), 0.95))
        image = image.filter(ImageFilter.GaussianBlur(longer * 0.017))
        image = self._bokeh(image)
        return _mottled(image, rng)

    def _blob(self, draw: ImageDraw.ImageDraw, centre: Points, radius: float) -> None:
        rng = self.rng
        colour = BODY_COLOURS[int(rng.integers(10))] if rng.uniform() < 0.22 else self._some(self.mood.shapes)
        turn = rotation(rng.uniform(0, 180))
        circle = np.linspace(0, 2 * np.pi, 9, endpoint=False)
        outline = np.stack([np.cos(circle), rng.uniform(0.35, 1.0) * np.sin(circle)], 1) * rng.uniform(
            0.75, 1.25, (9, 1)
        )
        flat = curve(outline * radius @ turn.T + centre, steps=4)
        draw.polygon(flat.ravel().tolist(), fill=tone(colour, rng.uniform(0.82, 1.15)))

    def _bokeh(self, image: Image.Image) -> Image.Image:
        rng = self.rng
        longer = max(image.size)
        mask = Image.new("L", image.size)
        draw = ImageDraw.Draw(mask)
        for _ in range(int(rng.integers(3, 22))):
            x, y = rng.uniform(0, 1) * image.width, rng.uniform(0, 0.8) * image.height
            radius = longer * rng.uniform(0.012, 0.05)
            level = int(rng.integers(24, 90))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=level, outline=level + 22)
        mask = mask.filter(ImageFilter.GaussianBlur(longer * 0.004))
        image.paste(tone(self._some(self.mood.lights), 1.0), mask=mask)
        return image

    def _twigs(self, draw: ImageDraw.ImageDraw, face: Points) -> None:
        """Draw thin twigs with leaves, in focus, so that sharpness alone does not give the creature away."""
        rng = self.rng
        for _ in range(4 + int(rng.integers(0, 2 + int(4 * self.difficulty)))):
            width, height = self.size
            start = rng.uniform(0, 1, 2) * (width, height)
            side = int(rng.integers(4))
            start[side % 2] = (0, 0, width, height)[side]
            heading = np.array([width, height]) * rng.uniform(0.2, 0.8, 2) - start
            heading = heading / max(float(np.hypot(*heading)), 1) * self.unit * rng.uniform(0.7, 1.7)
            sway = rotation(90) @ heading * rng.uniform(-0.25, 0.25)
            spine = curve(np.array([start, start + heading * 0.5 + sway, start + heading]), closed=False)
            if np.hypot(*(spine - face).T).min() < 0.4 * self.unit:
                continue
            bark = mix(self.mood.bark, self.mood.bottom, rng.uniform(0, 0.4))
            stroke(draw, spine * SUPERSAMPLING, self.unit * 0.022 * SUPERSAMPLING, tone(bark, 0.8))
            self.nodes += [spine[t] for t in (5, 9, 12, 16)]
            for t in range(3, len(spine), 4):
                away = rotation(rng.uniform(35, 80) * (1 if t % 8 < 4 else -1)) @ heading
                away = away / max(float(np.hypot(*away)), 1) * self.unit * rng.uniform(0.14, 0.3)
                if np.hypot(*(spine[t] + away / 2 - face)) > 0.5 * self.unit:
                    self._leaf(draw, spine[t], away)

    def _leaf(self, draw: ImageDraw.ImageDraw, root: Points, along: Points, colour: Colour | None = None) -> None:
        rng = self.rng
        colour = colour or self._some(self.mood.leaves)
        shade = rng.uniform(0.75, 1.12)
        tip = root + along
        outline = blade(tuple(root), tuple(tip), float(np.hypot(*along)) * rng.uniform(0.3, 0.5), 0.5) * SUPERSAMPLING
        draw.polygon(outline.ravel().tolist(), fill=tone(colour, shade))
        half = np.concatenate([outline[: len(outline) // 2], (tip * SUPERSAMPLING)[None]])
        draw.polygon(half.ravel().tolist(), fill=tone(colour, shade * 1.12))
        stroke(draw, np.array([root, root + along * 0.94]) * SUPERSAMPLING, 0.008 * self.unit * SUPERSAMPLING,
               tone(colour, shade * 0.8))  # fmt: skip

    def _distractors(self, draw: ImageDraw.ImageDraw, box: Box) -> None:
        """Scatter leaves, berries, flowers, fruit and fragments like bills and crests around the creature's box."""
        rng = self.rng
        count = 5 + int(rng.integers(0, 4)) + int(9 * self.difficulty)
        kinds = (
            self._berries,
            self._flower,
            self._leaves,
            self._fruit,
            self._bill_like,
            self._crest_like,
            self._striped,
        )
        margin = 0.42 * self.unit
        for _ in range(count):
            # most of them grow on a twig, as such things do
            grows = self.nodes and rng.uniform() < 0.75
            centre = self.nodes[int(rng.integers(len(self.nodes)))] if grows else rng.uniform(0.02, 0.98, 2) * self.size
            kind = kinds[int(rng.integers(len(kinds)))]
            inside = box[0] - margin < centre[0] < box[2] + margin and box[1] - margin < centre[1] < box[3] + margin
            if not inside:
                kind(draw, centre)

    def _leaves(self, draw: ImageDraw.ImageDraw, centre: Points) -> None:
        first = self.rng.uniform(0, 360)
        for spread in (0, 55, 110)[: int(self.rng.integers(1, 4))]:
            along = rotation(first + spread) @ points((1, 0))[0] * self.unit * self.rng.uniform(0.15, 0.34)
            self._leaf(draw, centre, along)

    def _striped(self, draw: ImageDraw.ImageDraw, centre: Points) -> None:
        """Draw a dark leaf with pale marks like wing bars."""
        rng = self.rng
        along = rotation(rng.uniform(0, 360)) @ points((1, 0))[0] * self.unit * rng.uniform(0.22, 0.38)
        self._leaf(draw, centre, along, mix(BODY_COLOURS[int(rng.integers(10))], (60, 66, 56), 0.55))
        across = rotation(90) @ along * 0.11
        for t in rng.uniform(0.3, 0.7, int(rng.integers(1, 3))):
            middle = centre + along * t
            mark = blade(tuple(middle - across), tuple(middle + across), self.unit * 0.035, 0.5)
            draw.polygon((mark * SUPERSAMPLING).ravel().tolist(), fill=(232, 230, 218))

    def _ball(self, draw: ImageDraw.ImageDraw, centre: Points, radius: float, colour: Colour) -> None:
        for shrink, lift, factor in ((1.0, 0.0, 0.66), (0.86, 0.1, 0.9), (0.6, 0.22, 1.08), (0.2, 0.42, 1.6)):
            x, y = (centre - radius * lift) * SUPERSAMPLING
            r = radius * shrink * SUPERSAMPLING
            draw.ellipse((x - r, y - r, x + r, y + r), fill=tone(colour, factor))

    def _berries(self, draw: ImageDraw.ImageDraw, centre: Points) -> None:
        rng = self.rng
        colour = parts.COLOURS[("red", "orange", "blue", "yellow", "black")[int(rng.integers(5))]]
        for _ in range(int(rng.integers(2, 6))):
            place = centre + rng.uniform(-0.1, 0.1, 2) * self.unit
            stem = np.array([shifted(centre, 0, -0.14 * self.unit), place]) * SUPERSAMPLING
            stroke(draw, stem, 0.01 * self.unit * SUPERSAMPLING, tone(self.mood.bark, 0.8))
            self._ball(draw, place, self.unit * rng.uniform(0.028, 0.045), colour)

    def _fruit(self, draw: ImageDraw.ImageDraw, centre: Points) -> None:
        """Draw a hanging fruit in a body's colours: a creature's bulk without a creature."""
        rng = self.rng
        colour = BODY_COLOURS[int(rng.integers(10))]
        tall = rng.uniform(0.1, 0.2) * self.unit
        turn = rotation(rng.uniform(-25, 25)).T
        outline = points((0, -1), (0.42, -0.72), (0.68, 0.05), (0.5, 0.72), (0, 0.95), (-0.5, 0.72), (-0.68, 0.05),
                         (-0.42, -0.72)) * tall  # fmt: skip
        hung = shifted(centre, 0, tall * 1.3)
        stroke(draw, np.array([centre, hung]) * SUPERSAMPLING, 0.014 * self.unit * SUPERSAMPLING,
               tone(self.mood.bark, 0.8))  # fmt: skip
        for shrink, factor in ((1.0, 0.6), (0.9, 0.76), (0.76, 0.9), (0.58, 1.02), (0.34, 1.14)):
            lift = np.array((-0.16, -0.3)) * (1 - shrink) * tall
            shape = (curve(outline * shrink, steps=5) @ turn + hung + lift) * SUPERSAMPLING
            draw.polygon(shape.ravel().tolist(), fill=tone(colour, factor))

    def _flower(self, draw: ImageDraw.ImageDraw, centre: Points) -> None:
        rng = self.rng
        colour = parts.COLOURS[CREST_COLOURS[int(rng.integers(4))]]
        count, first = int(rng.integers(5, 8)), rng.uniform(0, 72)
        length = self.unit * rng.uniform(0.07, 0.13)
        foot = shifted(centre, self.unit * rng.uniform(-0.15, 0.15), self.unit * rng.uniform(0.25, 0.5))
        stalk = curve(np.array([centre, shifted((centre + foot) / 2, 0.05 * self.unit, 0), foot]), closed=False)
        stroke(draw, stalk * SUPERSAMPLING, 0.014 * self.unit * SUPERSAMPLING, tone(self.mood.leaves[0], 0.75))
        for i in range(count):
            tip = centre + rotation(first + 360 / count * i) @ (length, 0)
            petal = blade(tuple(centre), tuple(tip), length * 0.55, 0.72) * SUPERSAMPLING
            draw.polygon(petal.ravel().tolist(), fill=tone(colour, 0.78 + 0.22 * ((i * 3) % 4) / 3))
        self._ball(draw, centre, length * 0.28, (226, 176, 62))

    def _fragment(self, draw: ImageDraw.ImageDraw, centre: Points, outlines: list[Points], colour: Colour) -> None:
        turn = rotation(self.rng.uniform(0, 360)).T
        for index, outline in enumerate(outlines):
            shape = (outline @ turn * self.unit * 0.85 + centre) * SUPERSAMPLING
            draw.polygon(shape.ravel().tolist(), fill=tone(colour, (1.0, 0.8)[index % 2]))

    def _bill_like(self, draw: ImageDraw.ImageDraw, centre: Points) -> None:
        """Draw a pod or thorn with the shape of a bill."""
        rng = self.rng
        colour = parts.COLOURS[BILL_COLOURS[int(rng.integers(3))]]
        stem = np.array([centre, centre + rng.uniform(-0.2, 0.2, 2) * self.unit]) * SUPERSAMPLING
        stroke(draw, stem, 0.016 * self.unit * SUPERSAMPLING, tone(self.mood.bark, 0.85))
        self._fragment(draw, centre, parts.bill(BILL_SHAPES[int(rng.integers(4))], 0.9), colour)

    def _crest_like(self, draw: ImageDraw.ImageDraw, centre: Points) -> None:
        """Draw a blossom with the shape of a crest."""
        rng = self.rng
        stem = np.array([centre, centre + rng.uniform(-0.25, 0.25, 2) * self.unit]) * SUPERSAMPLING
        stroke(draw, stem, 0.016 * self.unit * SUPERSAMPLING, tone(self.mood.leaves[0], 0.7))
        colour = parts.COLOURS[CREST_COLOURS[int(rng.integers(4))]]
        self._fragment(draw, centre, parts.crest(CREST_SHAPES[int(rng.integers(3))], 0.85), colour)

    def _branch(self, draw: ImageDraw.ImageDraw, feet: Points) -> None:
        rng, unit = self.rng, self.unit
        half = unit * rng.uniform(0.035, 0.06)
        direction = feet[0] - feet[1]
        direction = direction / float(np.hypot(*direction)) * np.sign(direction[0] or 1.0)
        normal = np.array([-direction[1], direction[0]])
        middle = feet.mean(0) + normal * (half + 0.02 * unit)
        reach = np.hypot(*self.size) * 1.1
        left_sag, right_sag = rng.uniform(-0.14, 0.16, 2) * reach
        knots = [
            middle - direction * reach + normal * left_sag,
            middle - direction * reach * 0.4 + normal * left_sag * 0.22,
            middle - direction * unit * 0.12,
            middle + direction * unit * 0.12,
            middle + direction * reach * 0.4 + normal * right_sag * 0.22,
            middle + direction * reach + normal * right_sag,
        ]
        spine = curve(np.array(knots), closed=False, steps=10)
        taper = rng.uniform(-0.25, 0.25)
        girth = half * np.linspace(1 - taper, 1 + taper, len(spine))[:, None]
        girth = girth * rng.uniform(0.94, 1.06, girth.shape)
        bark = mix(self.mood.bark, BODY_COLOURS[int(rng.integers(10))], 0.15)
        # from the shaded underside up to the lit ridge
        for top, bottom, factor in (
            (-1, 1, 0.5),
            (-1, 0.7, 0.68),
            (-1, 0.4, 0.85),
            (-1, 0.05, 1.0),
            (-0.95, -0.45, 1.18),
        ):
            outline = np.concatenate([spine + normal * girth * top, (spine + normal * girth * bottom)[::-1]])
            draw.polygon((outline * SUPERSAMPLING).ravel().tolist(), fill=tone(bark, factor))
        for _ in range(90):
            at = int(rng.integers(len(spine) - 1))
            offset = normal * girth[at] * rng.uniform(-0.85, 0.85)
            start = spine[at] + (spine[at + 1] - spine[at]) * rng.uniform() + offset
            scratch = np.array([start, start + direction * unit * rng.uniform(0.03, 0.1)]) * SUPERSAMPLING
            stroke(draw, scratch, 0.009 * unit * SUPERSAMPLING, tone(bark, rng.uniform(0.5, 1.15)))

    def _rock(self, draw: ImageDraw.ImageDraw, feet: Points) -> None:
        rng, unit = self.rng, self.unit
        width, height = self.size
        top = float(feet[:, 1].max()) + 0.012 * unit
        x = float(feet[:, 0].mean())
        wide = unit * rng.uniform(0.5, 0.95)
        colour = mix((150, 140, 128), self._some(self.mood.shapes), 0.3)
        moss = self._some(self.mood.leaves)
        knots = points((x - wide * 2.6, height + unit), (x - wide * 1.5, top + unit * 0.5),
                       (x - wide * 0.8, top + unit * 0.1),
                       (x - unit * 0.16, top), (x + unit * 0.16, top), (x + wide * 0.8, top + unit * 0.1),
                       (x + wide * 1.4, top + unit * 0.55), (x + wide * 2.3, height + unit))  # fmt: skip
        knots[[0, 1, 2, 5, 6, 7]] += rng.uniform(-0.13, 0.13, (6, 2)) * unit * (1.6, 0.7)
        knots[[2, 5], 1] = np.maximum(knots[[2, 5], 1], top + 0.03 * unit)
        ridge = curve(knots, closed=False)
        rough = ridge + rng.uniform(-0.012, 0.012, ridge.shape) * unit * (np.abs(ridge[:, :1] - x) > 0.2 * unit)
        for depth in np.linspace(0, 1, 28):
            sunk = shifted(rough, 0.05 * depth * unit, depth * unit * 0.8)
            draw.polygon((sunk * SUPERSAMPLING).ravel().tolist(), fill=tone(colour, 1.14 - 0.5 * depth**0.6))
        for count, tint, reach, sizes in ((60, colour, 0.5, (0.008, 0.04)), (120, moss, 0.16, (0.006, 0.022))):
            for _ in range(count):
                left = np.clip(x + rng.normal() * wide, 0, width)
                down = float(np.interp(left, rough[:, 0], rough[:, 1])) + (0.02 + abs(rng.normal()) * reach) * unit
                shade = (0.98 if tint is colour else 1.1) - 0.5 * min(1.0, (down - top) / unit) + rng.uniform(-0.1, 0.1)
                radius = unit * rng.uniform(*sizes) * SUPERSAMPLING
                sx, sy = left * SUPERSAMPLING, down * SUPERSAMPLING
                draw.ellipse(
                    (sx - radius * 1.7, sy - radius * 0.6, sx + radius * 1.7, sy + radius * 0.6), fill=tone(tint, shade)
                )

    def in_front(self, image: Image.Image, box: Box) -> Image.Image:
        """Return the RGB image with blurred leaves at its border, none of which reach the creature's `box`."""
        rng = self.rng
        width, height = self.size
        blur = 0.05 * self.unit
        for _ in range(int(rng.integers(0, 2 + int(3 * self.difficulty)))):
            side = int(rng.integers(4))
            root = rng.uniform(0, 1, 2) * self.size
            root[side % 2] = (-0.02 * width, -0.02 * height, 1.02 * width, 1.02 * height)[side]
            heading = np.array([width, height]) / 2 - root
            along = rotation(rng.uniform(-50, 50)) @ heading / max(float(np.hypot(*heading)), 1)
            along = along * self.unit * rng.uniform(0.3, 0.65)
            outline = blade(tuple(root), tuple(root + along), float(np.hypot(*along)) * rng.uniform(0.3, 0.55), 0.5)
            colour = tone(self._some(self.mood.leaves), rng.uniform(0.7, 1.15))
            low, high = outline.min(0) - 3 * blur, outline.max(0) + 3 * blur
            if low[0] < box[2] and high[0] > box[0] and low[1] < box[3] and high[1] > box[1]:
                continue
            mask = Image.new("L", (width // 2, height // 2))
            ImageDraw.Draw(mask).polygon((outline / 2).ravel().tolist(), fill=225)
            mask = mask.filter(ImageFilter.GaussianBlur(blur / 2)).resize(self.size, Image.Resampling.BILINEAR)
            image.paste(colour, mask=mask)
        return image


def _mottled(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Add value noise of three octaves to a picture."""
    width, height = image.size
    noise: Array = np.zeros((height, width), dtype=np.float32)
    for cells, strength in ((5, 0.09), (13, 0.055), (40, 0.03)):
        coarse = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
        noise += np.float32(strength) * np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    pixels = np.asarray(image, dtype=np.float32) * (1 + noise[..., None])
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
