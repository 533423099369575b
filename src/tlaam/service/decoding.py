"""Decoding uploaded files to the network's input, within the limits on size and format."""

from __future__ import annotations

from PIL import Image, UnidentifiedImageError

from tlaam.data.images import ImageBytes, ImageError, image_size
from tlaam.inference.engine import Engine, ReadImage
from tlaam.service.limits import MIB, Limits
from tlaam.service.refusal import Refusal

MAX_SCANS = 100
"""Maximum number of scans in a JPEG file. A progressive one has about ten. Each scan costs a pass over all pixels but
may take only a few bytes."""

_START_OF_SCAN = b"\xff\xda"


def read_upload(engine: Engine, upload: ImageBytes, limits: Limits) -> ReadImage:
    """Decode an upload to an input image.

    Raises:
        Refusal: the upload is empty, too large, damaged or not an image.
    """
    require_size(upload, limits)
    try:
        width, height = image_size(upload)
    except ImageError as error:
        raise _refusal(error) from error
    if width * height > limits.pixels:
        raise Refusal(
            413,
            "too_many_pixels",
            f"'{upload}' has {width} x {height} pixels; at most {limits.pixels / 1e6:g} million are taken.",
        )
    if upload.content.startswith(b"\xff\xd8") and upload.content.count(_START_OF_SCAN) > MAX_SCANS:
        raise Refusal(422, "corrupt", f"'{upload}' is a JPEG file of more than {MAX_SCANS} scans, as no camera writes.")
    read = engine.read(upload)
    if read.error is not None:
        raise Refusal(422, "corrupt", read.error)
    return read


def require_size(upload: ImageBytes, limits: Limits) -> None:
    """Refuse a file that is too large or empty."""
    if len(upload.content) > limits.upload_bytes:
        raise Refusal(
            413, "too_large", f"'{upload}' is larger than the {limits.upload_bytes / MIB:g} MiB that are taken."
        )
    if not upload.content:
        raise Refusal(422, "empty", f"'{upload}' is empty (0 bytes).")


def _refusal(error: ImageError) -> Refusal:
    cause = error.__cause__
    if isinstance(cause, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return Refusal(413, "too_many_pixels", str(error))
    if isinstance(cause, UnidentifiedImageError):
        return Refusal(422, "not_an_image", str(error))
    return Refusal(422, "corrupt", str(error))
