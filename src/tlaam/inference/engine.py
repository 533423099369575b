"""The engine turns images into predictions, whatever computes the model. Every prediction takes this path."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlaam.data.container import Member
from tlaam.data.given_boxes import GivenBoxes
from tlaam.data.images import ImageBytes
from tlaam.data.in_memory import rgb_image
from tlaam.data.input_image import image_to_input, input_to_image, load_for_input, to_input
from tlaam.data.sample import Sample
from tlaam.errors import ConfigError, DataError, ModelError, TlaamError
from tlaam.hub.download import local_folder
from tlaam.inference.backend import Answers, Backend, Floats, Precision
from tlaam.inference.batching import read_ahead
from tlaam.inference.objects import Photograph, found_in, surroundings
from tlaam.inference.prediction import NOTHING, Prediction, Source
from tlaam.reference.file import index_file_of, read_index
from tlaam.reference.index import LookAlike, ReferenceIndex
from tlaam.reference.ood_detector import OODDetector
from tlaam.taxonomy.answers import Answering, TaxonAnswer
from tlaam.taxonomy.shares import HeldOutAnswers
from tlaam.taxonomy.tree import Taxonomy
from tlaam.utils.extras import require_extra

if TYPE_CHECKING:
    import torch

CLOSEST = 0.25
"""Smallest share of a photograph's side that still gets as many pixels as the input image has."""


@dataclass(frozen=True)
class ReadImage:
    """An image in the form that the network takes, or the reason why it cannot be read.

    Attributes:
        path: see `Prediction`.
        size: ``(width, height)`` of the photograph.
        pixels: the input image, uint8 ``(3, P, P)``; None with an error.
        error: why there is no input image.
        source: see `Prediction`.
        boxes: where its objects are, ``(n, 4)`` xyxy in pixels of the photograph, if the engine is given boxes.
    """

    path: str
    size: tuple[int, int] = (0, 0)
    pixels: NDArray[np.uint8] | None = None
    error: str | None = None
    source: Source | None = field(default=None, repr=False)
    boxes: Floats | None = field(default=None, repr=False)


class Engine:
    """A model that answers for images.

    Args:
        model: a model that is ready to answer.
        index: the reference index that shows look-alikes and detects out-of-distribution images; by default the model's
            own, if it has one.
        batch_size: images per pass.
        workers: threads that read and decode images while the network computes; 0 counts as 1.
        embeddings: give each prediction its embedding, with or without an index.
        pooled: give each prediction the pooled features of its branches.
        keep_images: keep each image, as decoded for the network, in `Prediction.source`, for drawing on it. The image
            may be reduced: both sides keep at least as many pixels as the input image has.
        origin: the folder or file that the model was loaded from; None if it was not loaded from one.

    Attributes:
        detector: detects out-of-distribution images; None if nothing is known about the training images.
        held_out: what the model answered for held-out images; None if it keeps no such answers.
        taxonomy: the taxonomy that the model was trained with; None if it was trained without one.
        answering: at which ranks, how sure and among which classes to answer; None to give the most probable class.
        objects: the largest number of objects to name per image; None to assume one object.
        boxes: where the objects are; None if the model is to find them.
        answered: number of images answered for so far.
        seconds: time spent on them, including reading but not loading the model.

    Raises:
        ModelError: the index belongs to another model.
    """

    def __init__(
        self,
        model: Backend,
        *,
        index: ReferenceIndex | None = None,
        batch_size: int = 16,
        workers: int = 2,
        embeddings: bool = False,
        pooled: bool = False,
        keep_images: bool = False,
        origin: Path | None = None,
    ) -> None:
        self.model, self.origin = model, origin
        self.batch_size, self.workers = batch_size, max(1, workers)
        self.embeddings, self.pooled, self.keep_images = embeddings, pooled, keep_images
        self.answered, self.seconds = 0, 0.0
        self.objects: int | None = None
        self.boxes: GivenBoxes | None = None
        self.index: ReferenceIndex | None = None
        self.detector: OODDetector | None = model.detector
        self.held_out: HeldOutAnswers | None = getattr(model, "held_out", None)
        self.taxonomy: Taxonomy | None = getattr(model, "taxonomy", None)
        self.answering: Answering | None = Answering.own(self.taxonomy, self.held_out)
        if (index := index or model.index) is not None:
            self.use_index(index)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in index order."""
        return self.model.classes

    @property
    def tells_strangers(self) -> bool:
        """Whether it can detect out-of-distribution images; if not, no answer is ever called sure."""
        return self.detector is not None and self.detector.tells_strangers

    def use_index(self, index: ReferenceIndex) -> None:
        """Use another reference index from now on.

        Raises:
            ModelError: the index belongs to another model.
        """
        if index.classes != self.model.classes:
            raise ModelError(
                "the reference index is of another model, with other classes; remove it (gallery.npz), or write it "
                "again (tlaam index)."
            )
        self.index, self.detector = index, index.detector
        self.held_out, self.taxonomy = index.held_out, index.taxonomy
        self.use_answering(Answering.own(index.taxonomy, index.held_out))

    def use_answering(self, answering: Answering | None) -> None:
        """Answer in this way from now on (`tlaam.inference.answering.answer_by`)."""
        self.answering = answering

    def use_objects(self, most: int | None = None, boxes: GivenBoxes | None = None) -> None:
        """Name several objects per image from now on; without arguments, name one.

        Args:
            most: the largest number of objects; objects that are not large or not sure enough do not count.
            boxes: where they are; by default the model finds them.

        Raises:
            ModelError: the model cannot find several objects, or was exported by a version without given boxes.
        """
        if boxes is not None:
            _ = self.model.takes_boxes
        elif most is not None:
            self.model.require_objects()
            _ = self.model.takes_boxes
        self.objects, self.boxes = most, boxes

    def predict(self, images: Iterable[object]) -> Iterator[Prediction]:
        """Yield one prediction per image, in order; a file that cannot be read gives an error, never an answer.

        Args:
            images: paths of image files, samples of a data set, or images in memory (`tlaam.data.in_memory`).

        Raises:
            InputError: an object in memory is not an image.
        """
        began = time.perf_counter()
        numbered = ((number, image) for number, image in enumerate(images))
        batches = read_ahead(numbered, self._read_numbered, batch_size=self.batch_size, workers=self.workers)
        for batch in batches:
            answers = self.answer(batch)
            self.answered += len(answers)
            self.seconds += time.perf_counter() - began
            yield from answers
            began = time.perf_counter()

    def read(self, given: object, name: str | None = None, number: int = 0) -> ReadImage:
        """Read one image in the form that the network takes, or say why it cannot be read. This is thread-safe.

        Args:
            given: an image, see `predict`.
            name: name for an image in memory.
            number: position of the image among those to predict.

        Raises:
            InputError: an object in memory is not an image; the message says what is accepted.
        """
        side = self.model.source_size
        if not isinstance(given, (str, Path, Sample, Member, ImageBytes)):
            image = rgb_image(given, self.model.depth)
            name = str(getattr(given, "filename", "") or name or "image")
            return self._boxed(ReadImage(name, image.size, to_input(image, side), source=image), name, number)
        source = Path(given) if isinstance(given, str) else given
        path = str(source.source if isinstance(source, Sample) else source)
        if isinstance(source, Sample) and source.depth != self.model.depth:
            source = replace(source, depth=self.model.depth)  # read at the model's levels, whatever data set it is in
        try:
            image, size = load_for_input(source, side, depth=self.model.depth)
        except TlaamError as error:
            return ReadImage(path, error=str(error), source=source)
        kept = image if self.keep_images else source
        return self._boxed(ReadImage(path, size, to_input(image, side), source=kept), path, number)

    def answer(self, batch: Sequence[ReadImage]) -> list[Prediction]:
        """Answer for images that `read` returned, in one batch. Only one thread at a time may call this."""
        readable = [read for read in batch if read.pixels is not None]
        if not readable:
            return [_unread(read) for read in batch]
        if self.objects is not None or self.boxes is not None:
            several = iter(self._answer_several(readable))
            return [_unread(read) if read.pixels is None else next(several) for read in batch]
        return self._answer_whole(batch, readable)

    def _answer_whole(self, batch: Sequence[ReadImage], readable: Sequence[ReadImage]) -> list[Prediction]:
        """Answer for the single object of each image."""
        inputs = np.stack([read.pixels for read in readable if read.pixels is not None])
        answers = map(self._settled, self._unpack(self._asked(inputs), readable))
        return [_unread(read) if read.pixels is None else next(answers) for read in batch]

    def _asked(self, inputs: NDArray[np.uint8], *boxes: Floats) -> Answers:
        """Return the model's answers, with pooled features only if they are requested."""
        return self.model.answer(inputs, *boxes, pooled=True) if self.pooled else self.model.answer(inputs, *boxes)

    def look_alikes(self, prediction: Prediction, k: int = 5) -> list[LookAlike]:
        """Return the k training images of the index that look most like a predicted image, the most alike first.

        Without an index, the list is empty.

        Raises:
            DataError: the prediction has an error.
            ModelError: a thumbnail of the index is damaged.
        """
        if prediction.error is not None:
            raise DataError(prediction.error)
        if self.index is None or prediction.embedding is None:
            return []
        return self.index.nearest(prediction.embedding, k)

    def with_verdict(self, prediction: Prediction) -> Prediction:
        """Return a prediction that was made before there was an index, with a verdict by the index."""
        if self.answering is not None and self.answering.residents is not None:
            return prediction  # its probabilities are no longer the model's own
        if self.detector is None or prediction.embedding is None or prediction.score is None:
            return prediction
        return self._judged(prediction, float(self.detector.similarity(prediction.embedding[None])[0]))

    def _answer_several(self, batch: Sequence[ReadImage]) -> list[Prediction]:
        """Answer for the objects in each of several readable images."""
        with ThreadPoolExecutor(self.workers) as readers:
            opened = dict(enumerate(readers.map(self._photograph, batch)))
        faults = {row: fault for row, fault in opened.items() if isinstance(fault, str)}
        photographs = {row: one for row, one in opened.items() if isinstance(one, Photograph)}
        boxes = self._boxes_in(batch, photographs)
        answers = {row: _unread(replace(batch[row], error=fault)) for row, fault in faults.items()}
        answers |= self._of_lone_objects(batch, boxes)
        several = {row: of_row for row, of_row in boxes.items() if row not in answers}
        for row, named in self._named_in(batch, photographs, several).items():
            answers[row] = _joined(batch[row], self.model, named)
        return [answers[row] for row in range(len(batch))]

    def _boxes_in(self, batch: Sequence[ReadImage], photographs: Mapping[int, Photograph]) -> dict[int, Floats]:
        """Return the given or found boxes of the objects in photographs, by row of the batch."""
        if self.boxes is not None:
            return {row: _of(batch[row].boxes)[: self.objects] for row in photographs}
        several = list(photographs.values())
        found = found_in(self.model, several, most=self.objects or 0, batch_size=self.batch_size)
        return dict(zip(photographs, found, strict=True))

    def _of_lone_objects(self, batch: Sequence[ReadImage], boxes: Mapping[int, Floats]) -> dict[int, Prediction]:
        """Answer for photographs with exactly one found object: the whole photograph is its surroundings."""
        rows = [] if self.boxes is not None else [row for row, found in boxes.items() if len(found) == 1]
        if not rows:
            return {}
        reads = [batch[row] for row in rows]
        answers = self._answer_whole(reads, reads)
        return {
            row: answer if answer.error is not None else replace(answer, objects=(answer,))
            for row, answer in zip(rows, answers, strict=True)
        }

    def _named_in(
        self, batch: Sequence[ReadImage], photographs: Mapping[int, Photograph], boxes: Mapping[int, Floats]
    ) -> dict[int, list[Prediction]]:
        """Name what is in each box of several photographs, one batch per pass."""
        named: dict[int, list[Prediction]] = {row: [] for row in boxes}
        asked = [(row, box) for row, of_row in boxes.items() for box in of_row]
        for start in range(0, len(asked), self.batch_size):
            some = asked[start : start + self.batch_size]
            rows = [row for row, _ in some]
            answers = self._named(
                [batch[row] for row in rows], [photographs[row] for row in rows], [b for _, b in some]
            )
            for row, answer in zip(rows, answers, strict=True):
                named[row].append(answer)
        return named

    def _named(
        self, reads: Sequence[ReadImage], photographs: Sequence[Photograph], boxes: Sequence[Floats]
    ) -> list[Prediction]:
        """Name what is in one box per photograph, in one pass."""
        side, told = self.model.source_size, self.model.takes_boxes
        pairs = list(zip(photographs, boxes, strict=True))
        cuts = [surroundings(box, photograph.size) if told else box for photograph, box in pairs]
        inputs = np.stack([photograph.input_of(cut, side) for photograph, cut in zip(photographs, cuts, strict=True)])
        inside = [
            image_to_input(box - np.tile(cut[:2], 2), side, *(cut[2:] - cut[:2]))
            for box, cut in zip(boxes, cuts, strict=True)
        ]
        answers = self._asked(inputs, np.stack(inside)) if told else self._asked(inputs)
        return [
            self._settled(replace(answer, object_box=box, heatmap=None))
            for answer, box in zip(self._unpack(answers, reads, cuts), boxes, strict=True)
        ]

    def _photograph(self, read: ReadImage) -> Photograph | str:
        """Return a photograph with enough pixels for its parts, or the reason why it can no longer be read."""
        if isinstance(read.source, Image.Image):
            return Photograph(read.source, read.size)
        assert read.source is not None
        smallest = CLOSEST
        if read.boxes is not None:
            sides = [surroundings(box, read.size) for box in read.boxes]
            shares = [min((cut[2:] - cut[:2]) / np.array(read.size)) for cut in sides]
            smallest = min([1.0, *shares])
        try:
            image, size = load_for_input(
                read.source,
                self.model.source_size,
                smallest_side=max(float(smallest), CLOSEST),
                depth=self.model.depth,
            )
        except TlaamError as error:
            return str(error)
        return Photograph(image, size)

    def _boxed(self, read: ReadImage, path: str, number: int) -> ReadImage:
        """Return an image with the boxes given for it, or with the reason why they cannot be used."""
        if self.boxes is None:
            return read
        try:
            return replace(read, boxes=self.boxes.of(path, read.size, number))
        except DataError as error:
            return ReadImage(read.path, error=str(error), source=read.source)

    def _settled(self, prediction: Prediction) -> Prediction:
        checked = _finite(prediction)
        return checked if checked.error is not None else self._judged(checked, checked.similarity)

    def _judged(self, prediction: Prediction, similarity: float | None) -> Prediction:
        """Return a prediction with its verdict and its answer by ranks, from the model's own probabilities."""
        answering, outside = self.answering, None
        probabilities = prediction.probabilities
        answer = None if answering is None else answering.answer(probabilities["fused"])
        if answering is not None and (residents := answering.residents) is not None:
            place = residents.outside(probabilities["fused"])
            outside = None if place is None else (self.classes[place], float(probabilities["fused"][place]))
            probabilities = {name: residents.probabilities(values) for name, values in probabilities.items()}
        verdict = None
        if self.detector is not None and similarity is not None:
            sure = answer.depth == 0 if answer is not None else None
            probability = float(probabilities["fused"].max()) if sure is None else float(sure)
            verdict = self.detector.verdict(similarity, 0.0 if outside is not None else probability)
        if answer is not None and verdict == "stranger":
            answer = TaxonAnswer()
        return replace(
            prediction, probabilities=probabilities, similarity=similarity, verdict=verdict, answer=answer,
            outside=outside,
        )  # fmt: skip

    def _read_numbered(self, given: tuple[int, object]) -> ReadImage:
        number, image = given
        return self.read(image, f"image {number}", number)

    def _unpack(
        self, answers: Answers, batch: Sequence[ReadImage], cuts: Sequence[Floats] | None = None
    ) -> Iterator[Prediction]:
        """Yield the answers, with boxes in pixels of the photographs.

        Args:
            answers: the model's answers.
            batch: the images that they belong to.
            cuts: the parts ``(4,)`` of the photographs that the model saw; by default the whole photographs.
        """
        heatmaps, objects, parts = answers.heatmaps, answers.object_boxes, answers.part_boxes
        side, embeddings = self.model.source_size, answers.embeddings
        similarity = self.detector.similarity(embeddings) if self.detector and embeddings is not None else None
        wanted = self.embeddings or self.index is not None
        for row, read in enumerate(batch):
            cut = np.array([0.0, 0.0, *read.size]) if cuts is None else cuts[row]
            corner, size = np.tile(cut[:2], 2), cut[2:] - cut[:2]
            yield Prediction(
                path=read.path,
                size=read.size,
                classes=self.model.classes,
                probabilities={name: values[row] for name, values in answers.probabilities.items()},
                heatmap=None if heatmaps is None else heatmaps[row],
                object_box=None if objects is None else input_to_image(objects[row], side, *size) + corner,
                part_boxes=None if parts is None else input_to_image(parts[row], side, *size) + corner,
                similarity=None if similarity is None else float(similarity[row]),
                embedding=embeddings[row] if wanted and embeddings is not None else None,
                pooled=None if answers.pooled is None else answers.pooled[row].astype(np.float32),
                source=read.source,
                depth=self.model.depth,
            )


def load_engine(
    model: Engine | Backend | Path | str,
    *,
    device: torch.device | str | None = None,
    precision: Precision | None = None,
    compiled: bool = False,
    index: ReferenceIndex | None = None,
    find_index: bool = True,
    keep_trained: bool = False,
    batch_size: int = 16,
    workers: int = 2,
    embeddings: bool = False,
    keep_images: bool = False,
) -> Engine:
    """Load a model and its reference index, ready to answer.

    If the reference index is stored with the model (``gallery.npz`` in a run folder, ``model.gallery.npz`` beside
    ``model.onnx``), answers say how similar an image is to the training images, and `Engine.look_alikes` finds training
    images. An ONNX file can detect out-of-distribution images even without its index.

    Args:
        model: a run folder, an ONNX file that ``tlaam export`` wrote, the name of a model on the Hugging Face hub,
            ``hf://owner/name`` (`tlaam.hub.download`), or a model that is already loaded.
        device: where to compute; by default the GPU if there is one. An ONNX file is computed on the CPU.
        precision: ``32-true`` or ``bf16-mixed``; by default bfloat16 if the device has instructions for it. An ONNX
            file computes as it was exported.
        compiled: compile the network before it answers (`tlaam.inference.pytorch.compile_for_answers`). The first batch
            then takes minutes, and each later one less time. Not for an ONNX file.
        find_index: read the reference index stored with the model; if False, answers come without it.
        keep_trained: keep the network as trained beside the one that answers, for export.
        index, batch_size, workers, embeddings, keep_images: see `Engine`.

    Raises:
        ModelError: the folder holds no usable model, the file is not a model, the file cannot be computed on that
            device, or the reference index is damaged or belongs to another model.
        MissingPackageError: a run folder or a name is given, and PyTorch is not installed.
    """
    if isinstance(model, Engine):
        return model
    _require_possible(batch_size, workers, precision)
    origin = local_folder(model) if isinstance(model, (str, Path)) else None
    backend: Backend = _loaded(origin) if origin is not None else model  # type: ignore[assignment]
    if origin is not None and index is None and find_index:
        index = _index_of(origin, backend)
    ready = backend.ready(device, precision)
    if keep_trained:
        ready = ready.with_trained(backend)
    return Engine(
        ready.compiled(batch_size) if compiled else ready,
        index=index, batch_size=batch_size, workers=workers, embeddings=embeddings, keep_images=keep_images,
        origin=origin,
    )  # fmt: skip


def _require_possible(batch_size: int, workers: int, precision: str | None) -> None:
    """Refuse options that would lose images, or a precision that no backend supports.

    Raises:
        ConfigError: one of them is impossible.
    """
    for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{name} is {value!r}; it must be a whole number, {least} or more.")
    if precision not in (None, *get_args(Precision)):
        raise ConfigError(f"precision is {precision!r}; it must be {' or '.join(get_args(Precision))}.")


def _loaded(path: Path) -> Backend:
    if not path.is_dir() and (path.exists() or path.suffix.lower() == ".onnx"):
        from tlaam.inference.onnx import OnnxModel

        return OnnxModel(path)
    require_extra("a run folder")
    from tlaam.inference.store import load_model

    return load_model(path)


def _index_of(path: Path, model: Backend) -> ReferenceIndex | None:
    """Return the reference index that is stored with a model; None if there is none.

    Raises:
        ModelError: the index is damaged, or does not belong to this ONNX file.
    """
    file = index_file_of(path)
    digest = getattr(model, "index_digest", None)  # a file states its index's digest; a run folder contains its index
    if not file.exists() or (digest is None and not path.is_dir()):
        return None
    index = read_index(file)
    if digest is not None and index.digest != digest:
        raise ModelError(
            f"{file} is not the reference index that {path} was exported with; export again, or remove it."
        )
    return index


def _unread(read: ReadImage) -> Prediction:
    return Prediction(read.path, error=read.error, source=read.source)


def _joined(read: ReadImage, model: Backend, objects: Sequence[Prediction]) -> Prediction:
    """Return the answer for an image with several objects: that for the first object, with the list of all."""
    if faulty := [answer for answer in objects if answer.error is not None]:
        return faulty[0]
    if not objects:
        return Prediction(
            read.path, size=read.size, classes=model.classes, verdict=NOTHING, source=read.source, depth=model.depth,
            objects=(),
        )  # fmt: skip
    return replace(objects[0], objects=tuple(objects))


def _of(boxes: Floats | None) -> Floats:
    return np.zeros((0, 4)) if boxes is None else boxes


def _finite(answer: Prediction) -> Prediction:
    """Return an answer, or an error if an output is not finite, as for a model with damaged weights."""
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
            return Prediction(answer.path, error=error, source=answer.source)
    return answer


__all__ = ["CLOSEST", "Engine", "ReadImage", "load_engine"]
