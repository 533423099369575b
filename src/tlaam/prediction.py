"""Predicting image files: names, probabilities, and what the network looked at."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlaam.canvas import canvas_to_image, load_for_canvas, to_canvas
from tlaam.data.folder import image_files, unsupported_files, unsupported_types
from tlaam.data.manifest import image_paths
from tlaam.data.sample import Sample
from tlaam.errors import DataError, ModelError, TlaamError
from tlaam.extras import require_extra
from tlaam.gallery import FILE, Confidence, Gallery, Judge, LookAlike, read_gallery
from tlaam.hub.download import local_folder
from tlaam.images import ImageBytes
from tlaam.runtime.answers import Answers, Floats, Model, Precision

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image, or why it says nothing.

    Attributes:
        path: the image, as it was asked for.
        error: why there is no answer; None when there is one. Then every other field below is empty.
        size: ``(width, height)`` of the image in pixels.
        classes: class names, by index.
        probabilities: by branch (``raw``, ``object``, ``parts``, ``fused``), each ``(C,)``; branches that the model
            does not have are absent.
        heatmap: OAAM's map on the whole image, ``(h, w)``, not normalised; None without an object level.
        object_box: ``(4,)`` xyxy in pixels of the image; None without an object level.
        part_boxes: ``(N, 4)`` xyxy in pixels of the image; None without a part level.
        banner: pixels at the bottom of the file that were left out (`tlaam.data.sample.Sample.banner`); the image is
            what remains.
        familiarity: how much the image looks like those that the model learnt from, the cosine to the nearest class;
            None without a gallery (docs/strangers.md).
        confidence: whether the answer is ``sure`` or ``unsure``, or the image a ``stranger``; None without a gallery.
        embedding: ``(E,)``, what look-alikes are found by; None without a gallery, unless it was asked for.
    """

    path: str
    error: str | None = None
    size: tuple[int, int] = (0, 0)
    classes: tuple[str, ...] = field(default=(), repr=False)
    probabilities: dict[str, Floats] = field(default_factory=dict, repr=False)
    heatmap: Floats | None = field(default=None, repr=False)
    object_box: Floats | None = None
    part_boxes: Floats | None = field(default=None, repr=False)
    banner: int = 0
    familiarity: float | None = None
    confidence: Confidence | None = None
    embedding: Floats | None = field(default=None, repr=False)

    def top(self, k: int = 5, branch: str = "fused") -> list[tuple[str, float]]:
        """Return the k most probable classes with their probabilities, best first."""
        if branch not in self.probabilities:
            return []
        scores = self.probabilities[branch]
        order = np.argsort(-scores, kind="stable")[:k]
        return [(self.classes[i], float(scores[i])) for i in order]

    def to_dict(self, k: int = 5) -> dict[str, Any]:
        """Return one line of ``predict --json``: plain values, boxes as ``[x0, y0, x1, y1]`` in pixels of the file."""
        return {
            "path": self.path,
            "predictions": _rows(self.top(k)),
            "branches": {name: _rows(self.top(k, name)) for name in self.probabilities if name != "fused"},
            "confidence": self.confidence,
            "familiarity": None if self.familiarity is None else round(self.familiarity, 4),
            "object_box": None if self.object_box is None else _rounded(self.object_box),
            "part_boxes": None if self.part_boxes is None else [_rounded(box) for box in self.part_boxes],
            "error": self.error,
        }


class Predictor:
    """A trained model that takes image files.

    Where its gallery lies with it (``gallery.npz`` in a run folder, ``model.gallery.npz`` beside ``model.onnx``),
    answers say how familiar an image is, and `look_alikes` finds training images. An ONNX file alone tells strangers
    too.

    Args:
        model: a run folder, an ONNX file that ``tlaam export`` wrote, a model that `load_model` returned, or the name
            of one on the Hugging Face hub, ``hf://owner/name`` (`tlaam.hub.download`).
        batch_size: images a pass.
        device: where to compute; by itself the GPU where there is one. An ONNX file is computed on the CPU.
        precision: ``32-true`` or ``bf16-mixed``; by itself bfloat16 where the device has instructions for it. An ONNX
            file computes as it was exported.
        workers: threads that read and decode images while the network computes.
        compiled: compile the network before it answers (`tlaam.inference.compile_for_answers`): minutes at the first
            batch, less time for each one after. Not of an ONNX file.
        gallery: training images of this model, where it is given loaded; by itself those that lie with the model.
        embeddings: give each prediction its embedding, gallery or not.

    Attributes:
        gallery: training images to show beside what looks like them; None where there are none.
        judge: tells strangers; None where nothing is known of what the model learnt from.

    Raises:
        ModelError: the folder holds no usable model, the file is none, it is not computed on that device, or its
            gallery is damaged or another model's.
        MissingPackageError: a run folder or a name is given, and PyTorch is not installed.
    """

    def __init__(
        self,
        model: Model | Path | str,
        *,
        batch_size: int = 16,
        device: torch.device | str | None = None,
        precision: Precision | None = None,
        workers: int = 2,
        compiled: bool = False,
        gallery: Gallery | None = None,
        embeddings: bool = False,
    ) -> None:
        path = local_folder(model) if isinstance(model, (str, Path)) else None
        given = _loaded(path) if path is not None else model
        assert not isinstance(given, (str, Path))
        ready = given.ready(device, precision)
        self.model = ready.compiled(batch_size) if compiled else ready
        self.gallery = gallery or (getattr(given, "gallery", None) if path is None else _gallery_of(path, given))
        # An ONNX file brings one in its metadata; what a run folder has is its gallery's.
        self.judge: Judge | None = self.gallery.judge if self.gallery else getattr(given, "judge", None)
        if self.gallery is not None and self.gallery.classes != given.classes:
            raise ModelError("the gallery is of another model, with other classes; write it again (tlaam gallery).")
        self._embeddings = embeddings or self.gallery is not None
        self.batch_size, self.workers = batch_size, workers

    def predict(self, paths: Iterable[str | Path | Sample]) -> Iterator[Prediction]:
        """Yield one prediction a path, in order; a file that cannot be read yields its error, never an answer.

        Args:
            paths: image files, or samples of a data set: of these the banner is cut off. A file alone does not say
                that it has one.
        """
        with ThreadPoolExecutor(self.workers) as readers:
            remaining = iter(paths)
            pending = [readers.submit(self.read, path) for path in islice(remaining, 2 * self.batch_size)]
            while pending:
                batch, pending = pending[: self.batch_size], pending[self.batch_size :]
                pending += [readers.submit(self.read, path) for path in islice(remaining, self.batch_size)]
                yield from self.answer([future.result() for future in batch])

    def predict_images(self, images: Sequence[Image.Image], names: Sequence[str] | None = None) -> list[Prediction]:
        """Predict decoded RGB images; `names` become the predictions' paths."""
        names = names or [f"image {index}" for index in range(len(images))]
        read = [
            ReadImage(name, image.size, to_canvas(image, self.model.source_size))
            for name, image in zip(names, images, strict=True)
        ]
        answers: list[Prediction] = []
        for start in range(0, len(read), self.batch_size):
            answers += self.answer(read[start : start + self.batch_size])
        return answers

    def look_alikes(self, prediction: Prediction, k: int = 5) -> list[LookAlike]:
        """Return the k training images of the gallery that look most like a predicted one, the most alike first.

        There are none of a prediction with an error, or without a gallery.

        Raises:
            ModelError: a thumbnail of the gallery is damaged.
        """
        if self.gallery is None or prediction.embedding is None:
            return []
        return self.gallery.nearest(prediction.embedding, k)

    def read(self, given: str | Path | ImageBytes | Sample) -> ReadImage:
        """Read one image as the network takes it, or why it cannot be read. Several threads may."""
        path, banner = (given.path, given.banner) if isinstance(given, Sample) else (given, 0)
        try:
            file = path if isinstance(path, ImageBytes) else Path(path)
            image, size = load_for_canvas(file, self.model.source_size, banner=banner)
            return ReadImage(str(path), size, to_canvas(image, self.model.source_size), banner=banner)
        except TlaamError as error:
            return ReadImage(str(path), error=str(error))

    def answer(self, batch: Sequence[ReadImage]) -> list[Prediction]:
        """Answer for images that `read` returned, in one pass. One thread at a time may."""
        canvases = [read.canvas for read in batch if read.canvas is not None]
        if not canvases:
            return [Prediction(read.path, error=read.error) for read in batch]
        readable = [read for read in batch if read.canvas is not None]
        answers = map(_sound, self._unpack(self.model.answer(np.stack(canvases)), readable))
        return [Prediction(read.path, error=read.error) if read.canvas is None else next(answers) for read in batch]

    def _unpack(self, answers: Answers, batch: Sequence[ReadImage]) -> Iterator[Prediction]:
        heatmaps, objects, parts = answers.heatmaps, answers.object_boxes, answers.part_boxes
        size, embeddings = self.model.source_size, answers.embeddings
        familiarity = self.judge.familiarity(embeddings) if self.judge and embeddings is not None else None
        for row, read in enumerate(batch):
            of_row = None if familiarity is None else float(familiarity[row])
            sureness = float(answers.probabilities["fused"][row].max())
            yield Prediction(
                path=read.path,
                size=read.size,
                classes=self.model.classes,
                probabilities={name: values[row] for name, values in answers.probabilities.items()},
                heatmap=None if heatmaps is None else heatmaps[row],
                object_box=None if objects is None else canvas_to_image(objects[row], size, *read.size),
                part_boxes=None if parts is None else canvas_to_image(parts[row], size, *read.size),
                banner=read.banner,
                familiarity=of_row,
                confidence=self.judge.confidence(of_row, sureness) if self.judge and of_row is not None else None,
                embedding=embeddings[row] if self._embeddings and embeddings is not None else None,
            )


@dataclass(frozen=True)
class ReadImage:
    """An image as the network takes it; fields as of `Prediction`, and `canvas`, ``(3, P, P)``, None with an error."""

    path: str
    size: tuple[int, int] = (0, 0)
    canvas: NDArray[np.uint8] | None = None
    error: str | None = None
    banner: int = 0


def _loaded(path: Path) -> Model:
    if not path.is_dir() and (path.exists() or path.suffix.lower() == ".onnx"):
        from tlaam.runtime.onnx_model import OnnxModel

        return OnnxModel(path)
    require_extra("a run folder")
    from tlaam.model.store import load_model

    return load_model(path)


def _gallery_of(path: Path, model: Model) -> Gallery | None:
    """Return the gallery that lies with a model; None where there is none.

    Raises:
        ModelError: it is damaged, or not that of this ONNX file.
    """
    if path.is_dir():
        return read_gallery(path / FILE) if (path / FILE).exists() else None
    digest = getattr(model, "gallery_digest", None)
    beside = path.with_name(f"{path.stem}.{FILE}")
    if digest is None or not beside.exists():
        return None
    gallery = read_gallery(beside)
    if gallery.digest != digest:
        raise ModelError(f"{beside} is not the gallery that {path} was exported with; export again, or remove it.")
    return gallery


def _sound(answer: Prediction) -> Prediction:
    """Return an answer, or in its place the error that it is none, as of a model whose weights are damaged."""
    told: dict[str, Floats | None] = {
        f"probabilities of branch '{name}'": values for name, values in answer.probabilities.items()
    }
    told |= {"object box": answer.object_box, "part boxes": answer.part_boxes}
    told |= {"embedding": answer.embedding}
    for what, values in told.items():
        if values is not None and not np.isfinite(values).all():
            error = (
                f"The model gives no answer for '{answer.path}': its {what} are not finite. The model may be damaged."
            )
            return Prediction(answer.path, error=error)
    return answer


def predict(model: Path | str, images: str | Path | Iterable[str | Path], **options: Any) -> list[Prediction]:
    """Predict a file, folder or glob pattern, or several, with a model as `Predictor` takes it; see there for
    the options.

    Raises:
        ModelError, MissingPackageError: as of `Predictor`.
        DataError: a folder or pattern holds no image.
    """
    return list(Predictor(model, **options).predict(find_images(images)))


def find_images(inputs: str | Path | Iterable[str | Path]) -> list[str]:
    """Return what `iter_images` yields, as a list."""
    return list(iter_images(inputs))


def iter_images(inputs: str | Path | Iterable[str | Path]) -> Iterator[str]:
    """Turn files, folders (searched to the bottom), glob patterns and CSV manifests (their column ``image``) into image
    paths: inputs in the order given, what a folder or pattern holds sorted by name, what a manifest names one by one.
    One path alone may be given as it is.

    Folders are searched as for training: hidden files and folders and ``__MACOSX`` inside them are left out, links are
    followed, and broken ones count. A file is taken as it is, so that a wrong one gets its error.

    Raises:
        DataError: a folder or pattern holds no image, a folder cannot be listed, or a manifest cannot be read.
    """
    for given in [inputs] if isinstance(inputs, (str, Path)) else inputs:
        path = Path(given)
        is_folder, is_there = _kind_of(path)
        if is_there and not is_folder and path.suffix.lower() in (".csv", ".tsv"):
            yield from image_paths(path)
            continue
        if is_folder:
            try:
                inside = sorted(str(path / file) for file in image_files(path))
            except OSError as error:
                raise DataError(
                    f"Cannot list folder '{error.filename or path}': {error.strerror or error}. Check its rights."
                ) from error
        elif not is_there and glob.has_magic(str(given)):
            inside = sorted(p for p in glob.glob(str(given), recursive=True) if Path(p).is_file())  # noqa: PTH207
        else:
            inside = [str(given)]
        if not inside:
            other = unsupported_types(unsupported_files(path)) if is_folder else ""
            instead = f", but {other}, to be converted to JPEG or PNG" if other else ""
            raise DataError(
                f"{given} holds no image{instead}; give image files, folders of images or a pattern such as '*.jpg'."
            )
        yield from inside


def _kind_of(path: Path) -> tuple[bool, bool]:
    """Return whether a path is a folder, and whether it is there; one that the system refuses counts as a file."""
    try:
        return path.is_dir(), path.exists()
    except (OSError, ValueError):  # a name that is too long, or a folder on the way that may not be entered
        return False, True


def _rows(top: list[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"label": label, "probability": round(probability, 6)} for label, probability in top]


def _rounded(box: Floats) -> list[float]:
    return [round(float(value), 2) for value in box]
