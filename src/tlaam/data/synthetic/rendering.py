"""From (options, split, index) to one finished picture with its label, boxes and mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from tlaam.data.sample import SPLITS, Box, Split
from tlaam.data.synthetic.creature import Painted, Pose, draw_pose, paint_creature
from tlaam.data.synthetic.geometry import Array, Placement, Points, rotation, shifted, smoothstep
from tlaam.data.synthetic.options import SyntheticOptions
from tlaam.data.synthetic.recipes import PARTS, Recipe, recipe
from tlaam.data.synthetic.scenery import Scene
from tlaam.errors import ConfigError, did_you_mean

AREA = (0.08, 0.40)
"""Smallest and largest share of the image that a creature's box covers."""

_MARGIN = 5  # pixels between any creature and the border
_SEEN = 0.5  # a pixel belongs to what covers at least half of it


@dataclass(frozen=True)
class Rendered:
    """One picture and its ground truth.

    Attributes:
        image: RGB, W x H.
        label: index of the class.
        box: tight box of `mask`, xyxy pixels, x1/y1 exclusive.
        parts: tight boxes of the visible pixels of each part; a part that the class lacks has none.
        mask: (H, W) bool, the creature's pixels.
    """

    image: Image.Image
    label: int
    box: Box
    parts: dict[str, Box]
    mask: npt.NDArray[np.bool_]


def render(options: SyntheticOptions, split: Split, index: int) -> Rendered:
    """Draw image `index` of a split; its class is ``index % options.classes``.

    The picture depends on seed, split, index, size, difficulty and class, not on how many others are drawn.

    Raises:
        ConfigError: there is no such split, or `index` is negative.
    """
    if split not in SPLITS:
        raise ConfigError(f"split is {split!r}, but must be one of {', '.join(SPLITS)}.{did_you_mean(split, SPLITS)}")
    if index < 0:
        raise ConfigError(f"index is {index}, but must be at least 0.")
    label = index % options.classes
    image, painted = compose(options, split, index, recipe(label))
    mask = painted.alpha >= _SEEN
    seen = {name: tight_box(painted.parts[name] >= _SEEN) for name in PARTS if name in painted.parts}
    return Rendered(image, label, tight_box(mask), seen, mask)


def tight_box(mask: npt.NDArray[np.bool_]) -> Box:
    """Return the xyxy box (x1/y1 exclusive) around the true pixels of a mask (H, W), which must have some."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def compose(options: SyntheticOptions, split: Split, index: int, parts: Recipe) -> tuple[Image.Image, Painted]:
    """Draw an image with any recipe; return the picture and the creature on the whole image.

    Pose, scene and light have separate streams of random numbers, none of which depends on the recipe: two recipes at
    the same index give the same picture except for the parts.
    """
    streams = np.random.SeedSequence([options.seed, SPLITS.index(split), index]).spawn(4)
    layout, plumage, scenery, camera = (np.random.default_rng(stream) for stream in streams)
    size = _input_image(layout, options.size)
    pose = draw_pose(layout, options.difficulty)
    place, reference = _placed(layout, size, pose, options.difficulty)
    sun = np.array([layout.uniform(-0.55, 0.55), -0.72, 0.62])
    sun /= np.linalg.norm(sun)

    scene = Scene(size, place.scale, options.difficulty, scenery)
    behind = scene.behind(place(pose.feet()), place(pose.face())[0], reference)
    window, painted = _painted_near(size, place, pose, parts, sun, options.difficulty, plumage, reference)
    pixels = np.array(behind, dtype=np.float32)
    near = pixels[window]
    near *= ((1 - _contact_shadow(size, place, pose)[window]) * (1 - painted.alpha))[..., None]
    near += painted.colour
    image = scene.in_front(Image.fromarray(pixels.astype(np.uint8)), reference)
    whole = Painted(
        _widened(painted.colour, window, size),
        _widened(painted.alpha, window, size),
        {name: _widened(field, window, size) for name, field in painted.parts.items()},
    )
    return _photographed(image, camera), whole


def _input_image(rng: np.random.Generator, longer: int) -> tuple[int, int]:
    """Draw a width and height with an aspect ratio between 3:4 and 4:3."""
    shorter = round(longer * rng.uniform(0.75, 1.0))
    return (longer, shorter) if rng.uniform() < 0.6 else (shorter, longer)


def _placed(rng: np.random.Generator, size: tuple[int, int], pose: Pose, difficulty: float) -> tuple[Placement, Box]:
    """Draw scale, place, turn, lean and side; return the placement and the box that any class would fit into.

    The scale is drawn for the extent common to all classes. A class with small parts covers less, but never less than
    about 0.6 of it, so the lower end is raised to stay within `AREA`.
    """
    flip = 1.0 if rng.uniform() < 0.5 else -1.0
    lean = rng.uniform(-0.1, 0.1)
    matrix = np.array([[flip, 0.0], [0.0, 1.0]]) @ rotation(rng.uniform(-24, 12)) @ np.array([[1.0, lean], [0.0, 1.0]])
    spread = pose.extent() @ matrix.T
    low, high = spread.min(0), spread.max(0)
    span = high - low
    wanted = 0.15 + (AREA[1] - 0.01 - 0.15) * rng.uniform() ** (0.4 + 2.8 * difficulty)
    unit = float(np.sqrt(wanted * size[0] * size[1] / np.prod(span)))
    room = np.array(size) - 2 * _MARGIN
    unit = min(unit, float((room / span).min()))
    corner = _MARGIN + rng.uniform(0, 1, 2) * (room - span * unit)
    offset = corner - low * unit
    box = (*corner, *(corner + span * unit))
    return Placement(matrix * unit, offset), (float(box[0]), float(box[1]), float(box[2]), float(box[3]))


def _painted_near(
    size: tuple[int, int],
    place: Placement,
    pose: Pose,
    parts: Recipe,
    sun: Points,
    difficulty: float,
    rng: np.random.Generator,
    box: Box,
) -> tuple[tuple[slice, slice], Painted]:
    """Paint the creature on an image just large enough; also return its rows and columns in the whole image."""
    pad = round(0.15 * place.scale)
    x0, y0 = max(0, int(box[0]) - pad), max(0, int(box[1]) - pad)
    x1, y1 = min(size[0], int(box[2]) + pad), min(size[1], int(box[3]) + pad)
    near = Placement(place.matrix, place.offset - (x0, y0))
    painted = paint_creature((y1 - y0, x1 - x0), near, pose, parts, sun, difficulty, rng)
    return (slice(y0, y1), slice(x0, x1)), painted


def _widened(field: Array, window: tuple[slice, slice], size: tuple[int, int]) -> Array:
    whole = np.zeros((size[1], size[0], *field.shape[2:]), dtype=np.float32)
    whole[window] = field
    return whole


def _contact_shadow(size: tuple[int, int], place: Placement, pose: Pose) -> Array:
    """Return how much the creature darkens what it stands on, (H, W)."""
    x, y = shifted(place(pose.feet()).mean(0), 0.0, 0.05 * place.scale)
    columns = ((np.arange(size[0], dtype=np.float32) - np.float32(x)) / np.float32(0.2 * place.scale)) ** 2
    rows = ((np.arange(size[1], dtype=np.float32) - np.float32(y)) / np.float32(0.06 * place.scale)) ** 2
    shadow: Array = np.float32(0.34) * np.exp(-(rows[:, None] + columns[None, :]))
    return shadow


def _photographed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Apply exposure, colour temperature, vignette and sensor noise."""
    pixels = np.array(image, dtype=np.float32)
    height, width = pixels.shape[:2]
    exposure, warmth = rng.uniform(0.92, 1.14), rng.uniform(-0.05, 0.05)
    rows, columns = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
    distance = np.sqrt(rows[:, None] ** 2 + columns[None, :] ** 2)
    vignette = 1 - np.float32(rng.uniform(0.05, 0.25)) * smoothstep(0.55, 1.5, distance)
    grain = rng.standard_normal((height, width), dtype=np.float32) * np.float32(rng.uniform(0.5, 2.5))
    for channel, gain in enumerate((1 + warmth, 1.0, 1 - warmth)):
        pixels[..., channel] *= vignette * np.float32(gain * exposure)
        pixels[..., channel] += grain
    return Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8))
