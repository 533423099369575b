"""The official layout of CUB-200-2011 (Wah et al. 2011, Caltech-UCSD Birds-200-2011), whole or a subset of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tlaam.data.public.birds import LISTS, read_birds
from tlaam.data.public.official import home_of, mask_at, whole_number
from tlaam.data.sample import LabelledImages, Mask, Sample

FOLDER = "CUB_200_2011"
_HALF = 128  # grey level of a pixel that half of the annotators marked as bird


def is_cub(root: Path) -> bool:
    """Whether `root`, or the folder ``CUB_200_2011`` in it, has the lists of the official layout."""
    return home_of(root, FOLDER, *LISTS) is not None


def read_cub(root: str | Path, *, strict: bool = True) -> LabelledImages:
    """Read the lists of CUB-200-2011 as `read_birds` does; images are neither opened nor looked for.

    Class names are the official ones (``001.Black_footed_Albatross``), ordered by id. Masks are those of the official
    extra archive, ``segmentations/<class>/<image>.png`` in or beside the folder (optional). Their grey levels say how
    many annotators marked a pixel as bird; it counts as bird if at least half of them did.

    Args:
        root: the folder with ``images.txt``, or the one that holds it as ``CUB_200_2011``.
        strict: see `read_birds`.

    Raises:
        DataError: a list is missing, or a line of it is malformed, repeated or missing; the message names file and
            line.
    """
    home = home_of(Path(root), FOLDER, *LISTS) or Path(root)
    images = read_birds(home, "CUB-200-2011", "cub", whole_number, strict=strict)
    folders = [folder for folder in (home / "segmentations", home.parent / "segmentations") if folder.is_dir()]
    if not folders:
        return images
    return images.with_samples([replace(sample, mask=_segmentation(folders[0], sample)) for sample in images.samples])


def _segmentation(folder: Path, sample: Sample) -> Mask | None:
    path = folder / sample.path.parent.name / f"{sample.path.stem}.png"
    return mask_at(path, range(_HALF, 256), range(_HALF))
