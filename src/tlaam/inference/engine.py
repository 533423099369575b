"""The engine: images in, predictions out, whatever the model is computed by. The one path of every answer."""

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

_CLOSEST = 0.25
"""Smallest share of a photograph's side that still gets as many pixels as the input image."""


@dataclass(frozen=True)
class ReadImage:
    """An image as the network takes it, or why it cannot be read.

    Attributes:
        path: as of `Prediction`.
        size: ``(width, height)`` of the photograph.
        pixels: the input image, uint8 ``(3, P, P)``; None with an error.
        error: why there is none.
        source: as of `Prediction`.
        boxes: of an engine that is given them, where its objects are, ``(n, 4)`` xyxy in pixels of the photograph.
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
        model: ready to answer.
        index: the reference index to show look-alikes from and to tell what is out of distribution by; by default the
            model's own, where it has one.
        batch_size: images a pass.
        workers: threads that read and decode images while the network computes; 0 counts as 1.
        embeddings: give each prediction its embedding, index or not.
        pooled: give each prediction the pooled features of its branches.
        keep_images: keep each image as it was decoded for the network, in `Prediction.source`, for drawing on it. It
            may be reduced: both sides keep at least the input image's pixels.
        origin: the folder or file that the model was loaded from; None of one that was not.

    Attributes:
        detector: tells what is out of distribution; None where nothing is known of what the model learnt from.
        held_out: what the model answered for images that it had not seen; None where it keeps none.
        taxonomy: that the model was trained with; None of any other.
        answering: at which ranks, how sure and among which classes; None for the most probable class alone.
        objects: how many objects of an image are named at most; None for one, which is taken to be there.
        boxes: where the objects are; None where they are to be found.
        answered: images answered for so far.
        seconds: time spent on them, reading included, loading the model not.

    Raises:
        ModelError: the index is of another model.
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
        """Class names, by index."""
        return self.model.classes

    @property
    def tells_strangers(self) -> bool:
        """Whether it can say that an image is out of distribution; else no answer is ever called sure."""
        return self.detector is not None and self.detector.tells_strangers

    def use_index(self, index: ReferenceIndex) -> None:
        """Answer by another reference index from now on.

        Raises:
            ModelError: it is of another model.
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
        """Answer so from now on (`tlaam.inference.answering.answer_by`)."""
        self.answering = answering

    def use_objects(self, most: int | None = None, boxes: GivenBoxes | None = None) -> None:
        """Name several objects of an image from now on, or by default one.

        Args:
            most: how many at most; one that is neither large nor sure enough is none.
            boxes: where they are; by default they are found.

        Raises:
            ModelError: the model cannot find several, or was exported before it could be told where they are.
        """
        if boxes is not None:
            _ = self.model.takes_boxes
        elif most is not None:
            self.model.require_objects()
            _ = self.model.takes_boxes
        self.objects, self.boxes = most, boxes

    def predict(self, images: Iterable[object]) -> Iterator[Prediction]:
        """Yield one prediction an image, in order; a file that cannot be read yields its error, never an answer.

        Args:
            images: paths of image files, samples of a data set, or images in memory (`tlaam.data.in_memory`).

        Raises:
            InputError: an image in memory is none.
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
        """Read one image as the network takes it, or why it cannot be read. Several threads may.

        Args:
            given: as of `predict`.
            name: what to call an image in memory.
            number: its place among the images asked for.

        Raises:
            InputError: an image in memory is none; the message says what is accepted.
        """
        side = self.model.source_size
        if not isinstance(given, (str, Path, Sample, Member, ImageBytes)):
            image = rgb_image(given, self.model.depth)
            name = str(getattr(given, "filename", "") or name or "image")
            return self._boxed(ReadImage(name, image.size, to_input(image, side), source=image), name, number)
        source = Path(given) if isinstance(given, str) else given
        path = str(source.source if isinstance(source, Sample) else source)
        if isinstance(source, Sample) and source.depth != self.model.depth:
            source = replace(source, depth=self.model.depth)  # whatever it lies among, as the model learnt
        try:
            image, size = load_for_input(source, side, depth=self.model.depth)
        except TlaamError as error:
            return ReadImage(path, error=str(error), source=source)
        kept = image if self.keep_images else source
        return self._boxed(ReadImage(path, size, to_input(image, side), source=kept), path, number)

    def answer(self, batch: Sequence[ReadImage]) -> list[Prediction]:
        """Answer for images that `read` returned, in one pass. One thread at a time may."""
        readable = [read for read in batch if read.pixels is not None]
        if not readable:
            return [_unread(read) for read in batch]
        if self.objects is not None or self.boxes is not None:
            several = iter(self._answer_several(readable))
            return [_unread(read) if read.pixels is None else next(several) for read in batch]
        return self._answer_whole(batch, readable)

    def _answer_whole(self, batch: Sequence[ReadImage], readable: Sequence[ReadImage]) -> list[Prediction]:
        """Answer for the one object of each image."""
        inputs = np.stack([read.pixels for read in readable if read.pixels is not None])
        answers = map(self._settled, self._unpack(self._asked(inputs), readable))
        return [_unread(read) if read.pixels is None else next(answers) for read in batch]

    def _asked(self, inputs: NDArray[np.uint8], *boxes: Floats) -> Answers:
        """Return the model's answers, with features only where they are to be given."""
        return self.model.answer(inputs, *boxes, pooled=True) if self.pooled else self.model.answer(inputs, *boxes)

    def look_alikes(self, prediction: Prediction, k: int = 5) -> list[LookAlike]:
        """Return the k training images of the index that look most like a predicted one, the most alike first.

        There are none without an index.

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
        """Return a prediction that was made before there was an index, with what the index says of it."""
        if self.answering is not None and self.answering.residents is not None:
            return prediction  # its probabilities are not the model's any more
        if self.detector is None or prediction.embedding is None or prediction.score is None:
            return prediction
        return self._judged(prediction, float(self.detector.similarity(prediction.embedding[None])[0]))

    def _answer_several(self, batch: Sequence[ReadImage]) -> list[Prediction]:
        """Answer for the objects of each of some readable images."""
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
        """Return where the objects of photographs are, as given or as found, by their rows in the batch."""
        if self.boxes is not None:
            return {row: _of(batch[row].boxes)[: self.objects] for row in photographs}
        several = list(photographs.values())
        found = found_in(self.model, several, most=self.objects or 0, batch_size=self.batch_size)
        return dict(zip(photographs, found, strict=True))

    def _of_lone_objects(self, batch: Sequence[ReadImage], boxes: Mapping[int, Floats]) -> dict[int, Prediction]:
        """Answer for photographs in which one object was found: they are its surroundings, and asked so."""
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
        """Name what is in each box of some photographs, a batch a pass."""
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
        """Name what is in a box of each of some photographs, in one pass."""
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
        """Return a photograph with the pixels that its parts need, or why it cannot be read any more."""
        if isinstance(read.source, Image.Image):
            return Photograph(read.source, read.size)
        assert read.source is not None
        smallest = _CLOSEST
        if read.boxes is not None:
            sides = [surroundings(box, read.size) for box in read.boxes]
            shares = [min((cut[2:] - cut[:2]) / np.array(read.size)) for cut in sides]
            smallest = min([1.0, *shares])
        try:
            image, size = load_for_input(
                read.source,
                self.model.source_size,
                smallest_side=max(float(smallest), _CLOSEST),
                depth=self.model.depth,
            )
        except TlaamError as error:
            return str(error)
        return Photograph(image, size)

    def _boxed(self, read: ReadImage, path: str, number: int) -> ReadImage:
        """Return an image with the boxes that are given for it, or why they cannot be used."""
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
        """Return a prediction with what is said of it, by the model's own probabilities."""
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
        """Yield answers, boxes in pixels of the photographs; `cuts` are the parts ``(4,)`` of them that were seen."""
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
    """Load a model with what lies beside it, ready to answer.

    Where its reference index lies with it (``gallery.npz`` in a run folder, ``model.gallery.npz`` beside
    ``model.onnx``), answers say how alike an image is to what was learnt from, and `Engine.look_alikes` finds training
    images. An ONNX file alone tells what is out of distribution, too.

    Args:
        model: a run folder, an ONNX file that ``tlaam export`` wrote, the name of a model on the Hugging Face hub,
            ``hf://owner/name`` (`tlaam.hub.download`), or one that is loaded already.
        device: where to compute; by default the GPU where there is one. An ONNX file is computed on the CPU.
        precision: ``32-true`` or ``bf16-mixed``; by default bfloat16 where the device has instructions for it. An ONNX
            file computes as it was exported.
        compiled: compile the network before it answers (`tlaam.inference.pytorch.compile_for_answers`): minutes at the
            first batch, less time for each one after. Not of an ONNX file.
        find_index: read the reference index that lies with the model; else answers come without.
        keep_trained: keep the network as it was trained beside the one that answers, for export.
        index, batch_size, workers, embeddings, keep_images: as of `Engine`.

    Raises:
        ModelError: the folder holds no usable model, the file is none, it is not computed on that device, or its
            reference index is damaged or another model's.
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
    """Refuse options that would lose images, or that nothing answers in.

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
    """Return the reference index that lies with a model; None where there is none.

    Raises:
        ModelError: it is damaged, or not that of this ONNX file.
    """
    file = index_file_of(path)
    digest = getattr(model, "index_digest", None)  # a file says which index is its own; a run folder holds its own
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
    """Return the answer for an image with several objects: that for the first, with all of them."""
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
    """Return an answer; a non-finite output becomes an error, as of a model whose weights are damaged."""
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


__all__ = ["Engine", "ReadImage", "load_engine"]
