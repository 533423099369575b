"""How pages for a general audience word numbers and settings."""

from __future__ import annotations

from tlaam.utils.text import per_cent

ARITHMETIC = {
    "32-true": "float32",
    "fp32": "float32",
    "16-mixed": "float16",
    "fp16": "float16",
    "bf16-mixed": "bfloat16",
    "int8": "8-bit integers",
}
"""Display names of precisions, by their names in options and files."""
SPLITS = {"train": "training", "val": "validation", "test": "test"}
"""Display names of splits."""
_CONFIDENCE = 0.95


def arithmetic(precision: str) -> str:
    """Return the display name of a precision: "bf16-mixed" becomes bfloat16."""
    return ARITHMETIC.get(precision, precision)


def points(difference: float) -> str:
    """Return the difference of two shares in percentage points: 0.067 becomes "+6.7"."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def interval(right: int, images: int) -> str:
    """Return the 95 % Wilson score interval of a share in per cent: "88 to 98 %"."""
    from scipy.stats import binomtest

    found = binomtest(right, images).proportion_ci(_CONFIDENCE, method="wilson")
    return f"{100 * found.low:.0f} to {per_cent(found.high, 0)}"


def images_of(split: str) -> str:
    """Return the display name of a split's images: "validation images"."""
    return f"{SPLITS[split]} images" if split in SPLITS else f"images of '{split}'"
