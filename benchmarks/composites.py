"""Pictures of several objects and of none, made of photographs of one boxed object each; used by objects.py.

Birds are cut out by their boxes and pasted at known places on what other photographs show outside theirs, or on drawn
scenery. Boxes are xyxy in pixels, x1 and y1 exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tlaam.data.sample import Box, Sample
from tlaam.data.synthetic.geometry import points
from tlaam.data.synthetic.scenery import Scene

SIZE = (640, 480)
SIDES = (0.22, 0.45)
"""Of a pasted bird's longer side, in shares of the picture's height."""
LEAST = 64
"""Pixels of the shorter side of what a photograph shows outside its box, for it to serve as a ground."""
GAP = 8
"""Pixels that stay free around a pasted bird."""
FEATHER = 3


@dataclass(frozen=True)
class Picture:
    """A picture with what it shows, boxes ``(x0, y0, x1, y1)`` and labels by index; none where it shows nothing."""

    image: Image.Image
    boxes: tuple[Box, ...]
    labels: tuple[int, ...]
    ground: str


def composite(rng: np.random.Generator, birds: Sequence[Sample], grounds: Sequence[Sample], *, drawn: bool) -> Picture:
    """Return a picture of several birds that do not touch each other.

    Args:
        rng: decides places and sizes.
        birds: what is pasted, cut out by their boxes.
        grounds: photographs of which one serves as the ground, by what it shows outside its box.
        drawn: stand on drawn scenery instead.
    """
    ground = scenery(rng) if drawn else birdless(rng, grounds)
    taken: list[Box] = []
    labels: list[int] = []
    for bird in birds:
        assert bird.box is not None
        cut = _cut(bird.picture(), bird.box)
        for _ in range(40):
            scale = rng.uniform(*SIDES) * SIZE[1] / max(cut.size)
            width, height = max(8, round(cut.width * scale)), max(8, round(cut.height * scale))
            x, y = int(rng.integers(SIZE[0] - width + 1)), int(rng.integers(SIZE[1] - height + 1))
            box = (float(x), float(y), float(x + width), float(y + height))
            if not any(_near(box, other) for other in taken):
                ground.paste(cut.resize((width, height), Image.Resampling.LANCZOS), (x, y), _soft(width, height))
                taken.append(box)
                labels.append(bird.label)
                break
    return Picture(ground, tuple(taken), tuple(labels), "drawn" if drawn else "photograph")


def scenery(rng: np.random.Generator) -> Image.Image:
    """Return drawn scenery without a creature."""
    width, height = SIZE
    unit = float(rng.uniform(40, 110))
    x, y = float(rng.uniform(0.2, 0.8) * width), float(rng.uniform(0.5, 0.9) * height)
    feet, face = points((x - unit / 4, y), (x + unit / 4, y)), points((x, y - 2 * unit))[0]
    scene = Scene(SIZE, unit, float(rng.uniform(0.2, 0.8)), rng)
    return scene.behind(feet, face, (x - unit, y - 2 * unit, x + unit, y)).convert("RGB")


def birdless(rng: np.random.Generator, photographs: Sequence[Sample]) -> Image.Image:
    """Return what one of some photographs shows outside its box, the largest rectangle, enlarged to `SIZE`."""
    while True:
        sample = photographs[int(rng.integers(len(photographs)))]
        assert sample.box is not None
        image = sample.picture()
        free = outside(image.size, sample.box)
        if min(free[2] - free[0], free[3] - free[1]) >= LEAST:
            return _covering(_cut(image, free))


def outside(size: tuple[int, int], box: Box) -> Box:
    """Return the largest rectangle of an image of ``(width, height)`` that lies beside, above or below a box."""
    width, height = size
    x0, y0, x1, y1 = (float(np.clip(value, 0, side)) for value, side in zip(box, (*size, *size), strict=True))
    free = [(0.0, 0.0, x0, float(height)), (x1, 0.0, float(width), float(height)),
            (0.0, 0.0, float(width), y0), (0.0, y1, float(width), float(height))]  # fmt: skip
    return max(free, key=lambda each: (each[2] - each[0]) * (each[3] - each[1]))


def _cut(image: Image.Image, box: Box) -> Image.Image:
    x0, y0, x1, y1 = map(round, box)
    return image.crop((x0, y0, x1, y1))


def _covering(image: Image.Image) -> Image.Image:
    """Return the middle of an image that has the form of `SIZE`, enlarged to it."""
    scale = min(image.width / SIZE[0], image.height / SIZE[1])
    width, height = SIZE[0] * scale, SIZE[1] * scale
    x, y = (image.width - width) / 2, (image.height - height) / 2
    return image.resize(SIZE, Image.Resampling.LANCZOS, box=(x, y, x + width, y + height))


def _near(box: Box, other: Box) -> bool:
    return not (
        box[2] + GAP <= other[0] or other[2] + GAP <= box[0] or box[3] + GAP <= other[1] or other[3] + GAP <= box[1]
    )


def _soft(width: int, height: int) -> Image.Image:
    """Return a mask that fades at the rim, so that no hard edge gives a bird away."""
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).rectangle((FEATHER, FEATHER, width - 1 - FEATHER, height - 1 - FEATHER), fill=255)
    return mask.filter(ImageFilter.GaussianBlur(FEATHER / 2))
