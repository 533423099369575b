"""The embedded data set: drawn, bird-like creatures whose classes differ only in bill, crest, wing bar and tail.

Everything else (place, scale, pose, plumage, proportions, lighting, surroundings) is random and has the same
distribution for every class, so that only looking closely tells the classes apart. Needs NumPy, Pillow and tqdm only.
"""

from __future__ import annotations

from tlaam.data.synthetic.options import SyntheticOptions
from tlaam.data.synthetic.recipes import PARTS, Recipe, class_names, recipe
from tlaam.data.synthetic.rendering import Rendered, render
from tlaam.data.synthetic.writing import synthetic_images, write_synthetic

__all__ = [
    "PARTS",
    "Recipe",
    "Rendered",
    "SyntheticOptions",
    "class_names",
    "recipe",
    "render",
    "synthetic_images",
    "write_synthetic",
]
