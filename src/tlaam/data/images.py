"""Reading image files as RGB pixels, whatever their format, mode and orientation. The only place that decodes."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from tlaam.data.container import Member
from tlaam.data.deep import Declared, DeepPixels, UnreadDepth, declared_of, grey_pixels, is_deep_grey, read_deep
from tlaam.data.depth import Depth
from tlaam.data.png import png_chunk
from tlaam.data.signature import LENGTH, signature, signature_of
from tlaam.errors import DataError
from tlaam.utils.extras import install_hint

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".tif", ".tiff"),
        *(".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
    )
)
"""Suffixes (lower case) of files that are taken for images when a folder is searched."""

HEIF_SUFFIXES = frozenset((".heic", ".heif", ".hif"))
"""Suffixes (lower case) of photographs that phones write; read with the extra ``heif`` (`reads_heif`)."""

ARCHIVE_SUFFIXES = frozenset((".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar", ".parquet"))
"""Suffixes of files that may contain images but are not images themselves."""

UNSUPPORTED_SUFFIXES = HEIF_SUFFIXES | frozenset(
    (
        *(".jxl", ".svg", ".psd", ".raw", ".dng", ".cr2", ".cr3"),
        *(".nef", ".arw", ".orf", ".rw2", ".raf"),
    )
)
"""Suffixes (lower case) of pictures that are not read unless their content is of another format (`is_disguised`).

They are mentioned rather than overlooked."""

MAX_PIXELS = 300_000_000
"""Images with more pixels are refused. Pillow's own, lower limit also applies unless the caller has lifted it."""

# Only formats with pixels behind a clear signature: Pillow would also pass PostScript to an interpreter.
_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")

_EXIF_ORIENTATION, _EXIF_OF_SHOT, _EXIF_OF_PLACE = 0x0112, 0x8769, 0x8825
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageBytes:
    """An image file that is held in memory, such as an upload.

    Attributes:
        name: its name in messages; nothing is looked up by it.
        content: the file's bytes.
    """

    name: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.name

    @property
    def suffix(self) -> str:
        """The suffix of its name, as for a `Path`."""
        dot = self.name.rfind(".")
        return self.name[dot:] if dot > 0 else ""


class ImageError(DataError):
    """An image file cannot be read; the message names the file, the fault and a remedy."""

    fault: str = ""
    """The fault alone, in short, for lists that already name the file."""


def load_image(
    path: str | Path | Member | ImageBytes, *, max_side: int | None = None, depth: Depth | None = None
) -> Image.Image:
    """Decode one image file to 8-bit RGB.

    EXIF orientation is applied, and transparency is laid on white. Samples of more than 8 bits are scaled from black to
    white (`tlaam.data.depth`). An animation yields its first frame. The result holds no open file and no metadata.

    Args:
        path: a regular file in one of the common formats, a file inside a container (`tlaam.data.container`), or one in
            memory; its content counts, not its suffix.
        max_side: if the longer side has more pixels than this, reduce the image to it with antialiasing, keeping the
            aspect ratio. JPEG files are then decoded at a reduced size, which is several times faster.
        depth: black and white levels of the data set or model, for samples of more than 8 bits whose file does not
            declare them. By default the image is treated as a data set of its own.

    Returns:
        An image of mode ``RGB``.

    Raises:
        ImageError: the file is missing, empty, truncated, too large or not an image; the message names it and
            the fault.
        ValueError: `max_side` is below 1.
    """
    if max_side is not None and max_side < 1:
        raise ValueError(f"max_side is {max_side}, but must be at least 1 pixel")
    file = _file(path)
    with _opened(file) as image:
        target = _fitted(image.size, max_side)
        # JPEG decodes at 1/2, 1/4 or 1/8, never below the target; other formats answer None and decode in full.
        reduced = image.draft(None, target) if target != image.size else None
        deep = read_deep(image, lambda: _opened(file))
        image.load()
        if (image.width > image.height) != (target[0] > target[1]):
            target = target[::-1]  # some Pillow versions turn a TIFF upright only while they decode it
        rgb = to_rgb(image) if deep is None else to_rgb(deep.to_8_bit(depth or Depth()))
        if rgb.size != target:
            # If the reduced size is not a whole number, its last row and column cover only a part of a pixel.
            window = reduced[1] if reduced is not None else None
            rgb = rgb.resize(target, Image.Resampling.BICUBIC, window)
        turn = _UPRIGHT.get(_orientation(image))
        rgb = rgb.transpose(turn) if turn is not None else rgb
        # A leftover EXIF block would invite the caller to turn the image a second time.
        rgb.info = {}
        return rgb


def load_deep(path: str | Path | Member | ImageBytes) -> DeepPixels | None:
    """Decode an image file with more than 8 bits per sample to its samples as stored; return None for any other.

    Raises:
        ImageError: see `load_image`.
    """
    file = _file(path)
    with _opened(file) as image:
        return read_deep(image, lambda: _opened(file))


def load_levels(path: str | Path | Member | ImageBytes) -> npt.NDArray[np.uint8]:
    """Decode a mask: the 8-bit grey levels of its pixels as stored, or their indices if it has a palette.

    EXIF orientation is applied, as in `load_image`.

    Args:
        path: see `load_image`.

    Returns:
        ``(H, W)``.

    Raises:
        ImageError: see `load_image`; also raised if the pixels are deeper than 8 bits.
    """
    with _opened(_file(path)) as image:
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
            raise unreadable(_file(path), f"its pixels are of mode {image.mode}, and not of 256 levels")
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
        plane = image if image.mode in ("L", "P") else image.convert("L")
        return np.array(plane.transpose(turn) if turn is not None else plane)


def image_size(path: str | Path | Member | ImageBytes) -> tuple[int, int]:
    """Return ``(width, height)`` in pixels as `load_image` would give them, reading only the header.

    Raises:
        ImageError: see `load_image`, except that damage after the header goes unnoticed.
    """
    with _opened(_file(path)) as image:
        width, height = image.size
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            # Whether the size is upright on opening depends on Pillow's version; the tags are as stored.
            width, height = image.tag_v2[TiffImagePlugin.IMAGEWIDTH], image.tag_v2[TiffImagePlugin.IMAGELENGTH]
        if _orientation(image) >= 5:
            width, height = height, width
        return width, height


class Exif(NamedTuple):
    """EXIF metadata by tag, as stored in the file: of the image, of how it was taken, and of where."""

    image: dict[int, Any]
    shot: dict[int, Any]
    place: dict[int, Any]


def load_exif(path: str | Path | Member | ImageBytes) -> Exif:
    """Return the EXIF metadata of an image file, reading only its header; a damaged block is empty.

    Raises:
        ImageError: see `image_size`.
    """
    with _opened(_file(path)) as image:
        exif = _exif(image) or Image.Exif()

        def block(tag: int) -> dict[int, Any]:
            try:  # while the file is open: some formats read a block only on request
                return dict(exif if tag == 0 else exif.get_ifd(tag))
            except Exception:  # Pillow raises many kinds here
                return {}

        return Exif(block(0), block(_EXIF_OF_SHOT), block(_EXIF_OF_PLACE))


def reduced(image: Image.Image, max_side: int | None) -> Image.Image:
    """Return an image whose longer side has at most `max_side` pixels, as `load_image` reduces it."""
    target = _fitted(image.size, max_side)
    return image if image.size == target else image.resize(target, Image.Resampling.BICUBIC)


def _file(path: str | Path | Member | ImageBytes) -> Path | Member | ImageBytes:
    return path if isinstance(path, (Member, ImageBytes)) else Path(path)


def require_jpeg(content: bytes, max_side: int) -> None:
    """Check that bytes are a JPEG file that can be decoded, with neither side longer than `max_side` pixels.

    Raises:
        DataError: they are not.
    """
    try:
        with Image.open(BytesIO(content), formats=["JPEG"]) as image:
            if image.format != "JPEG" or max(image.size) > max_side:
                raise DataError(f"it is no JPEG file of at most {max_side} pixels a side.")
            image.load()
    except DataError:
        raise
    except Exception as error:  # decoders that are fed damaged bytes raise nearly anything
        raise DataError(f"it is no JPEG file ({_one_line(error)}).") from error


@contextmanager
def _opened(path: Path | Member | ImageBytes) -> Iterator[ImageFile.ImageFile]:
    """Open an image, close it in any case, and turn every fault inside the block into an `ImageError`."""
    try:
        _require_regular_file(path)
        Image.init()
        formats = [name for name in _FORMATS if name in Image.OPEN]
        opened = BytesIO(path.content) if isinstance(path, ImageBytes) else _stream(path)
        with opened as stream, _identified(path, stream, formats) as image:
            if image.width * image.height > MAX_PIXELS:
                raise unreadable(path, f"it claims {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
            yield image
    except DataError:
        raise
    except UnreadDepth as error:
        raise unreadable(path, str(error), "Convert it to 8 or 16 bits with interleaved channels.") from error
    except UnidentifiedImageError as error:
        suffix = path.suffix.lower()
        if _signature(path) == "HEIF":
            raise unreadable(path, "it is a damaged HEIC photograph") from error
        if _signature(path) == "TIFF" and suffix not in UNSUPPORTED_SUFFIXES:
            fault = "it is a TIFF of a kind that is not read (bits, sample format, planes), or its header is damaged"
            raise unreadable(path, fault, "Convert it to 8 or 16 bits, or to PNG.") from error
        unread = UNSUPPORTED_SUFFIXES - HEIF_SUFFIXES if reads_heif() else UNSUPPORTED_SUFFIXES
        if suffix in unread or (suffix == ".avif" and "AVIF" not in Image.OPEN):
            fault = f"files of type {suffix} are not read"
            raise unreadable(path, fault, "Convert it to JPEG or PNG.") from error
        if suffix in ARCHIVE_SUFFIXES:
            raise unreadable(path, "it is an archive, not an image", "Unpack it and name its folder.") from error
        raise unreadable(path, "it is not an image of a known format, or its header is damaged") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise unreadable(path, f"it claims more pixels than is safe to decode ({_one_line(error)})") from error
    except MemoryError as error:
        raise unreadable(path, "decoding it needs more memory than there is") from error
    except Exception as error:  # decoders that are fed damaged bytes raise nearly anything
        raise unreadable(path, _one_line(error)) from error


def reads_heif() -> bool:
    """Return whether HEIC photographs can be decoded, by pi-heif or by an opener registered with Pillow."""
    return "HEIF" in Image.OPEN or find_spec("pi_heif") is not None


def is_disguised(path: Path | str) -> bool:
    """Return whether a file with one of `UNSUPPORTED_SUFFIXES` has the content of an image that can be read."""
    suffix, found = Path(path).suffix.lower(), signature_of(path)
    if found is None or found == "HEIF":  # a damaged file must be reported
        return suffix in HEIF_SUFFIXES and reads_heif()
    return found != "TIFF" or suffix in HEIF_SUFFIXES  # raw photographs are TIFF files, too


def _signature(path: Path | Member | ImageBytes) -> str | None:
    return signature(path.content[:LENGTH]) if isinstance(path, ImageBytes) else signature_of(path)


def _identified(path: Path | Member | ImageBytes, stream: IO[bytes], formats: list[str]) -> ImageFile.ImageFile:
    """Open a file as the format that its first bytes indicate: one of these formats, or HEIF."""
    found = signature(stream.read(LENGTH))
    stream.seek(0)
    if found == "HEIF":
        _require_heif(path)
        formats = ["HEIF"]
    return Image.open(stream, formats=formats)


def _require_heif(path: Path | Member | ImageBytes) -> None:
    """Register an opener of HEIC photographs with Pillow."""
    if "HEIF" in Image.OPEN:
        return
    try:
        from pi_heif import register_heif_opener
    except ImportError as error:
        fault = "it is a HEIC photograph, which needs pi-heif to be read"
        raise unreadable(path, fault, f"Install it ({install_hint('heif')}), or convert it to JPEG or PNG.") from error
    register_heif_opener()


def _stream(path: Path | Member) -> IO[bytes]:
    return path.open() if isinstance(path, Member) else path.open("rb")


def _require_regular_file(path: Path | Member | ImageBytes) -> None:
    """Refuse what cannot be an image, without opening it: opening a pipe would block until someone writes to it."""
    if isinstance(path, ImageBytes):
        if not path.content:
            raise unreadable(path, "the file is empty (0 bytes)")
        return
    if isinstance(path, Member):
        if not path.size:
            raise unreadable(path, "the file is empty (0 bytes)")
        return
    try:
        status = path.stat()
    except FileNotFoundError as error:
        fault = "it is a link to a file that does not exist" if path.is_symlink() else "it is missing"
        raise unreadable(path, fault, "Check the path.") from error
    if stat.S_ISDIR(status.st_mode):
        raise unreadable(path, "it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise unreadable(path, "it is not a regular file (a pipe, socket or device)")
    if status.st_size == 0:
        raise unreadable(path, "the file is empty (0 bytes)")


def unreadable(
    path: Path | Member | ImageBytes, fault: str, remedy: str = "Replace, repair or remove it."
) -> ImageError:
    """Return the error for an image that cannot be used; it names the image, the fault and a remedy."""
    error = ImageError(f"Cannot read image '{path}': {fault}. {remedy}")
    error.fault = fault  # not an argument, so that the error can be raised again from its message in another process
    return error


def _one_line(error: BaseException) -> str:
    """Return an exception's text on one line without a full stop, or its class name if it has no text."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__


def _fitted(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    longer = max(size)
    if max_side is None or longer <= max_side:
        return size
    return max(1, round(size[0] * max_side / longer)), max(1, round(size[1] * max_side / longer))


def _orientation(image: ImageFile.ImageFile) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none or its block is damaged."""
    try:
        exif = _exif(image)
        value = 1 if exif is None else exif.get(_EXIF_ORIENTATION, 1)
    except Exception:  # the value is damaged; Pillow raises many kinds here
        return 1
    return value if value in _UPRIGHT else 1


def _exif(image: ImageFile.ImageFile) -> Image.Exif | None:
    """Return the EXIF metadata; None if its block is damaged, since the pixels are good even then."""
    try:
        # Pillow's PNG reader decodes all pixels to look for EXIF data after them: allow it only if there are any.
        if image.format == "PNG" and not _png_has_late_exif(image):
            return Image.Image.getexif(image)
        return image.getexif()
    except Exception:  # Pillow raises many kinds here
        return None


def _png_has_late_exif(image: ImageFile.ImageFile) -> bool:
    """Whether an ``eXIf`` chunk follows the pixels of a PNG that has not been decoded."""
    return "exif" not in image.info and png_chunk(image, b"eXIf") is not None


def to_rgb(image: Image.Image, depth: Depth | None = None, declared: Declared | None = None) -> Image.Image:
    """Convert a decoded image of any mode to a new RGB image: transparency on white, deep grey as 8 bits.

    Args:
        image: the decoded image.
        depth: see `load_image`.
        declared: what its file declares, if `image` is not the object that was opened from it (`declared_of`).
    """
    if is_deep_grey(image):
        image = grey_pixels(image, declared or declared_of(image)).to_8_bit(depth or Depth())
    if image.mode in ("La", "RGBa"):  # colours multiplied by their opacity
        image = image.convert(image.mode.upper())
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")
