"""The classifier: the object that users work with."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlaam.data.in_memory import ACCEPTED, is_tensor
from tlaam.errors import ConfigError, DataError, ExportError, InputError, ModelError
from tlaam.hub.names import is_hub_name
from tlaam.inference.answering import answer_by
from tlaam.inference.embedding import embedded
from tlaam.inference.engine import Engine, load_engine
from tlaam.inference.inputs import iter_images, names_several
from tlaam.inference.looking import look_for, one_image
from tlaam.inference.prediction import Prediction, Predictions
from tlaam.utils.extras import require_extra

if TYPE_CHECKING:
    import torch

    from tlaam.config.schema import Config
    from tlaam.data.sample import Split
    from tlaam.evaluation.report import EvaluationReport
    from tlaam.export.parity import Parity
    from tlaam.export.precision import Precision as FilePrecision
    from tlaam.field.answers import Answers
    from tlaam.field.transfer import Mode
    from tlaam.field.xmp import Naming
    from tlaam.inference.backend import Precision
    from tlaam.reference.index import LookAlike
    from tlaam.teaching.teach import Taught

Progress = Callable[[int, int], None]


class Classifier:
    """A trained model: class names, a network in PyTorch or ONNX, and the detector of out-of-distribution images.

    Create one with `fit` or `load`. examples/api_tour.py demonstrates all methods.

    Args:
        engine: computes the answers.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in index order."""
        return self.engine.classes

    @property
    def path(self) -> Path | None:
        """The run folder or file that the model was loaded from."""
        return self.engine.origin

    @overload
    def predict(  # type: ignore[overload-overlap]  # strings and arrays are iterable, too
        self,
        images: str | Path | Image.Image | NDArray[np.uint8] | torch.Tensor,
        *,
        objects: Literal["all"] | int | None = None,
        boxes: Any = None,
    ) -> Prediction: ...
    @overload
    def predict(
        self, images: Iterable[object], *, objects: Literal["all"] | int | None = None, boxes: Any = None
    ) -> Predictions: ...
    def predict(
        self, images: Any, *, objects: Literal["all"] | int | None = None, boxes: Any = None
    ) -> Prediction | Predictions:
        """Name what one or several images show, and show why.

        Args:
            images: one image or a list of images. An image is a path, a PIL image of any mode, an array ``(H, W, C)``
                of uint8, or a torch tensor ``(C, H, W)`` of uint8 or of floats from 0 to 1. The path of a folder, a
                pattern such as ``"*.jpg"``, or a CSV file with a column ``image`` stands for all images that it names.
            objects: name several objects per image: ``"all"``, or the largest number of objects. If no object is large
                and sure enough, the verdict is ``nothing found`` (docs/field.md). By default, one object is assumed.
            boxes: where the objects are; the model then does not look for them. Either a file (see
                `tlaam.data.given_boxes.read_boxes`), or for one image an array ``(n, 4)``, xyxy in pixels of the image
                with x1 and y1 exclusive, and for several images a list of such arrays.

        Returns:
            A `Prediction` for one image, or `Predictions` in the given order for several. A file that cannot be read
            gives a prediction with an ``error``, never an answer. With `objects` or `boxes`, `Prediction.objects` holds
            one prediction per object.

        Raises:
            InputError: an image or the boxes are of another type; the message says what is accepted.
            DataError: a folder or pattern contains no image, or a file of boxes cannot be used.
            ModelError: the model does not support this.

        Examples:
            >>> clf = tlaam.load("runs/birds")
            >>> answer = clf.predict("photos/jay/1.png")
            >>> answer.label in clf.classes and answer.object_box.shape == (4,)
            True
            >>> len(clf.predict(["photos/jay/1.png", Image.new("L", (40, 30))]))
            2
        """
        several, given = _listed(images)
        engine = self.engine
        if objects is not None or boxes is not None:
            engine = copy(self.engine)
            look_for(engine, objects, boxes=boxes if several or isinstance(boxes, (str, Path)) else one_image(boxes))
        answers = Predictions(engine.predict(given))
        return answers if several else answers[0]

    def predict_card(
        self,
        images: str | Path | Sequence[str | Path],
        *,
        into: str | Path | None = None,
        csv: str | Path | None = None,
        xlsx: str | Path | None = None,
        timelapse: str | Path | None = None,
        page: str | Path | None = None,
        sidecars: str | Path | None = None,
        sort_into: str | Path | None = None,
        mode: Mode = "copy",
        objects: Literal["all"] | int | None = None,
        boxes: str | Path | None = None,
        top_k: int = 5,
        jsonl: str | Path | None = None,
        sidecar_names: Naming = "stem",
        keyword_root: str = "tlaam",
        boxes_confidence: float | None = None,
        progress: Progress = lambda done, total: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Answers:
        """Predict a memory card of photographs into files, and write tables and other outputs from the answers.

        This is what ``tlaam predict IMAGES --csv FILE`` and its related options do (docs/field.md). Answers are written
        as they are computed. A killed call continues where it stopped if it is repeated with the same arguments.

        Args:
            images: paths of photographs, folders and patterns.
            into: folder for the answers; by default beside the first of the output files.
            csv, xlsx, timelapse, page: files to write: a table, a workbook, recognitions for Timelapse, and a page for
                viewing and correcting the answers.
            sidecars: folder for XMP sidecars; ``beside`` puts each beside its photograph.
            sort_into: folder to sort the photographs into, with one subfolder per class; `tlaam undo` reverts this from
                its log.
            mode: how the photographs get there: ``copy``, ``link`` or ``move``.
            objects, boxes: see `predict`.
            top_k: number of classes to keep per image.
            jsonl: file for the JSON lines of ``--json``.
            sidecar_names: ``stem`` names sidecars photo.xmp (Lightroom), ``full`` photo.jpg.xmp (digiKam, darktable).
            keyword_root: top level of the hierarchical keywords.
            boxes_confidence: the lowest confidence of a box that counts, for a file of boxes with confidences. [0.2]
            progress: called with (images done, images in all).
            say: called with one line of text for each output that was written and for each that could not be written.

        Returns:
            The answers, read one by one from their files: ``for answer in answers: answer.file, answer.objects``.

        Raises:
            ConfigError: the requested outputs are not possible, or no output is requested.
            DataError: a folder or pattern contains no image.
            ModelError: the model cannot name several objects.
            RunError: the folder holds the answers for other images, or the disk is full.
            MissingPackageError: a workbook is requested and XlsxWriter is not installed.

        Examples:
            >>> answers = tlaam.load("runs/birds").predict_card("photos", csv="answers.csv")
            >>> sum(1 for answer in answers if answer.label)
            18
        """
        from tlaam.field.answers import Answers
        from tlaam.field.outputs import BESIDE, Outputs, write_outputs
        from tlaam.field.predicting import CARD_SHARD, predict_card
        from tlaam.inference.shards import PLAN
        from tlaam.utils.work_sharing import Share

        given = [str(each) for each in ([images] if isinstance(images, (str, Path)) else images)]
        outputs = Outputs(
            csv=_path(csv), xlsx=_path(xlsx), timelapse=_path(timelapse), page=_path(page), jsonl=_path(jsonl),
            sidecars=BESIDE if sidecars == "beside" else _path(sidecars), naming=sidecar_names, root=keyword_root,
            sort_into=_path(sort_into), mode=mode,
        )  # fmt: skip
        folder = outputs.answers if into is None else Path(into)
        if folder is None:
            raise ConfigError("nothing says where answers are kept; give into, or a file such as csv.")
        outputs.require_possible(given, folder)
        engine = copy(self.engine)
        look_for(engine, objects, boxes=boxes, least=boxes_confidence)
        predict_card(
            folder, engine, given, outputs, top_k=top_k, kind="jsonl", share=Share(), photo_facts=True,
            shard_size=Answers(folder).shard_size if (folder / PLAN).exists() else CARD_SHARD,
            progress=progress, say=say,
        )  # fmt: skip
        answers = Answers(folder)
        name = "tlaam" if self.path is None else self.path.name
        write_outputs(outputs, answers, given, model=name, say=say, progress=lambda what: lambda: None)
        return answers

    def answering(
        self,
        *,
        taxonomy: str | Path | None = None,
        promise: float | None = None,
        only: str | Path | Iterable[str] | None = None,
        prior: str | Path | Mapping[str, float] | None = None,
    ) -> Classifier:
        """Return a classifier that answers at the deepest rank that is sure enough, or only among some classes.

        Its predictions, measures and reports all answer in this way. The original classifier does not change.

        Args:
            taxonomy: a table of the classes' taxa, with a column ``label`` and one column per rank; by default the
                taxonomy that the model was trained with, if any.
            promise: share of answers that are to be right; by default 0.95 if there is a taxonomy.
            only: classes or taxa that live where the images were taken, or a file with one per line. A warning names
                those that the model does not know.
            prior: how common each class is there, relative to how often it was seen in training, by class name; or a
                table with the columns ``label`` and ``weight``.

        Raises:
            ConfigError: the promise is impossible.
            DataError: a file cannot be used, the model knows none of these classes, or it has too few held-out answers
                for the promise.
            InputError: an argument has the wrong type.

        Examples:
            >>> here = tlaam.load("runs/birds").answering(only=["jay", "wren"])
            >>> here.predict("photos/crow/1.png").label in ("jay", "wren")
            True
        """
        engine = copy(self.engine)
        for note in answer_by(engine, taxonomy=taxonomy, promise=promise, only=only, prior=prior):
            warnings.warn(note, stacklevel=2)
        return Classifier(engine)

    def stream(self, images: Iterable[object]) -> Iterator[Prediction]:
        """Yield one prediction per image, in order, for any number of images.

        Args:
            images: see `predict`; of any length.

        Raises:
            InputError: an image is of another type.

        Examples:
            >>> sum(answer.error is None for answer in tlaam.load("runs/birds").stream("photos/**/*.png"))
            18
        """
        return self.engine.predict(_listed(images)[1])

    def embed(self, images: Any) -> NDArray[np.float64]:
        """Return the embeddings of images: images that look alike to the network have nearly the same direction.

        Args:
            images: see `predict`.

        Returns:
            ``(N, E)``, not normalised; one row for a single image.

        Raises:
            ModelError: the model gives no embeddings.
            DataError: an image cannot be read.

        Examples:
            >>> len(tlaam.load("runs/birds").embed(["photos/jay/1.png", "photos/jay/2.png"]))
            2
        """
        rows: list[NDArray[np.float64]] = []
        for prediction in embedded(self.engine, _listed(images)[1]):
            if prediction.embedding is None:
                raise DataError(prediction.error)
            rows.append(prediction.embedding)
        return np.stack(rows) if rows else np.zeros((0, 0))

    def look_alikes(self, image: Any, k: int = 5) -> list[LookAlike]:
        """Return the k training images that look most like one image, the most alike first.

        Args:
            image: a prediction of this classifier, or an image (see `predict`).
            k: number of training images.

        Raises:
            ModelError: the model has no reference index.
            InputError: `image` is not a single image, or `k` is not a whole number above 0.
            DataError: the image cannot be read.

        Examples:
            >>> alike = tlaam.load("runs/birds").look_alikes("photos/jay/1.png", k=3)
            >>> len(alike), alike[0].similarity >= alike[1].similarity
            (3, True)
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise InputError(f"k is {k!r}; it must be a whole number above 0.")
        prediction = image if isinstance(image, Prediction) else self.predict(image)
        if not isinstance(prediction, Prediction):
            raise InputError("look_alikes takes one image; call it for each.")
        if self.engine.index is None:
            raise ModelError("there is no reference index with this model; tlaam index RUN writes it.")
        return self.engine.look_alikes(prediction, k)

    def evaluate(
        self,
        data: Any = None,
        *,
        split: Split | None = None,
        skip_unreadable: bool = False,
        progress: Progress | None = None,
    ) -> EvaluationReport:
        """Measure every branch and the fusion, and the boxes if the data has boxes.

        Args:
            data: a path, a list of ``(image, label)`` pairs, or a map-style data set that yields them
                (`tlaam.data.collection.dataset_of`); by default the data that the run was trained on.
            split: the split to measure on; by default the test split, else the validation split (the one that training
                held out, if this is the data that the model was trained on), else all images.
            skip_unreadable: leave out images that cannot be read instead of raising an error.
            progress: called with (images done, images in all).

        Raises:
            DataError: the data cannot be used, the model does not know a class, or there is no data to measure on.
            ModelError: the model knows only one class.
            MissingPackageError: PyTorch is not installed.

        Examples:
            >>> report = tlaam.load("runs/birds").evaluate("photos")  # of 18, those that training held out
            >>> report.images, sorted(report.classification)
            (3, ['fused', 'object', 'parts', 'raw'])
        """
        require_extra("Classifier.evaluate")
        from tlaam.data.collection import dataset_of
        from tlaam.evaluation.evaluate import evaluate
        from tlaam.runs.data import knows_its_data, own_data

        if data is not None:
            images = dataset_of(data, strict=False)
        elif self.path is not None and knows_its_data(self.path):
            images = own_data(self.path, "evaluate")
        else:
            raise DataError(f"{self.path or 'this model'} does not know what it was trained on; give the data.")
        return evaluate(self.engine, images, split=split, skip_unreadable=skip_unreadable, progress=progress)

    def report(
        self,
        path: str | Path | None = None,
        data: Any = None,
        *,
        split: Split | None = None,
        progress: Progress | None = None,
    ) -> Path:
        """Measure the model and write an HTML report with figures and pictures; return its path.

        Args:
            path: the file; by default ``report.html`` in the run folder.
            data: see `evaluate`; by default the data that the run was trained on, which an exported file does not know.
            split: see `evaluate`; for a run, by default the validation split.
            progress: called with (images done, images in all).

        Raises:
            DataError: there is no data to measure on.
            RunError: the file cannot be written.

        Examples:
            >>> tlaam.load("runs/birds").report("birds.html", "photos").name
            'birds.html'
        """
        if path is not None and not isinstance(path, (str, Path)):
            raise InputError(f"a report cannot be written to something of type {type(path).__name__}; give a path.")
        require_extra("Classifier.report")
        from tlaam.data.collection import dataset_of
        from tlaam.evaluation.evaluate import evaluate
        from tlaam.inference.prediction_cache import PredictionCache
        from tlaam.reports.evaluation_report import write_evaluation_report
        from tlaam.reports.run_report import write_run_report
        from tlaam.runs.folder import RunFolder

        images = None if data is None else dataset_of(data, strict=False)
        folder = self.engine.origin
        if folder is not None and folder.is_dir() and RunFolder(folder).config.exists():
            return write_run_report(self.engine, images, split=split, path=path, progress=progress)
        if images is None or path is None:
            raise DataError(
                f"{folder or 'this model'} does not know what it was trained on; give the report a path and data: "
                "report('report.html', 'photos')."
            )
        answers = PredictionCache(self.engine)
        measured = evaluate(self.engine, images, split=split, skip_unreadable=True, progress=progress, answers=answers)
        return write_evaluation_report(Path(path), answers, images, measured)

    def export(
        self,
        path: str | Path,
        *,
        images: Sequence[str] = (),
        precision: FilePrecision = "fp32",
        calibration: Sequence[str] = (),
        progress: Progress = lambda done, total: None,
    ) -> dict[FilePrecision, Parity]:
        """Write the model as one ONNX file and return how closely ONNX Runtime agrees with PyTorch.

        The file is written only if the two agree.

        Args:
            path: the file; its folder is created if it does not exist.
            images: images to compare the two on; by default the run's validation images, else its training images.
            precision: ``fp32``, ``fp16`` or ``int8``, the precision of the backbone.
            calibration: for int8, the images that activation ranges are read from; by default training images of the
                run.
            progress: called with (images compared, images in all).

        Raises:
            ExportError: the model is an exported file already, a package is missing, or the file's answers differ.

        Examples:
            >>> parity = tlaam.load("runs/birds").export("birds.onnx")
            >>> parity["fp32"].same_top1
            1.0
        """
        if self.engine.origin is not None and not self.engine.origin.is_dir():
            raise ExportError(f"{self.engine.origin} is an exported file already; copy it, or export its run folder.")
        if not isinstance(path, (str, Path)) or Path(path).is_dir():
            raise ExportError(f"{path!r} is no file to write; give a path such as 'model.onnx'.")
        if precision not in ("fp32", "fp16", "int8"):
            raise ExportError(f"precision is {precision!r}; it must be fp32, fp16 or int8.")
        require_extra("Classifier.export")
        from tlaam.export.onnx import export_run

        return export_run(
            self.engine, Path(path), images, precision=precision, calibration=calibration, progress=progress
        ).parities

    def add_class(
        self,
        name: str,
        images: str | Path | Sequence[str | Path],
        out: str | Path,
        *,
        taxonomy: str | Path | None = None,
        progress: Progress = lambda done, total: None,
    ) -> Taught:
        """Write an exported model that knows one more class, from a few photographs; this model does not change.

        Args:
            name: name of the new class.
            images: its photographs: files, folders and patterns.
            out: the ONNX file to write, with its reference index beside it; read it with `load`.
            taxonomy: a table of the taxa of all classes, including the new one.
            progress: called with (photographs done, photographs in all).

        Returns:
            What is known about the new model. ``figures.new`` is the share of the photographs that were named correctly
            by classifiers that had not seen them.

        Raises:
            ModelError: this is not an exported file, or one that cannot be taught; the message says why and what to do.
            DataError: the name is taken, or no photograph can be read.
            MissingPackageError: the extra ``teach`` is not installed.

        Examples:
            >>> taught = tlaam.load("birds.onnx").add_class("magpie", "new", "four.onnx")
            >>> tlaam.load("four.onnx").classes
            ('crow', 'jay', 'wren', 'magpie')
        """
        require_extra("Classifier.add_class", "teach")
        from tlaam.teaching.teach import add_class

        if self.path is None:
            raise ModelError("only a model that was loaded from a file that tlaam export wrote can be taught.")
        return add_class(self.path, name, images, out, taxonomy=taxonomy, progress=progress)

    def push_to_hub(self, repo_id: str, data: Any = None, **options: Any) -> str:
        """Upload the model to the Hugging Face hub with a model card of its measures; return its address.

        Args:
            repo_id: ``owner/name``.
            data: see `evaluate`; by default the data that the run was trained on.
            **options: see `tlaam.publish.upload.push_to_hub`.

        Raises:
            ModelError: there is no token, the hub is offline or refuses, or this is an exported file.

        Examples:
            >>> tlaam.load("runs/birds").push_to_hub("me/birds")
            'http.../me/birds'
        """
        require_extra("Classifier.push_to_hub")
        from tlaam.data.collection import dataset_of
        from tlaam.publish.upload import push_to_hub

        return push_to_hub(self.engine, repo_id, None if data is None else dataset_of(data, strict=False), **options)

    def __repr__(self) -> str:
        shown = ", ".join(self.classes[:5]) + (", …" if len(self.classes) > 5 else "")
        where = "" if self.path is None else f" from {self.path}"
        return f"<tlaam.Classifier of {len(self.classes)} classes ({shown}), {self.engine.model.precision}{where}>"


def _listed(images: Any) -> tuple[bool, Iterable[object]]:
    """Return whether `images` stands for several images, and the images.

    Raises:
        InputError: it is neither an image nor a collection of images.
        DataError: a folder or pattern contains no image.
    """
    if isinstance(images, (str, Path)):
        if not str(images):
            raise InputError("the path of the image is empty.")
        return (True, iter_images(images)) if names_several(images) else (False, [images])
    if isinstance(images, (Image.Image, np.ndarray)) or is_tensor(images):
        return False, [images]
    if not isinstance(images, Iterable) or isinstance(images, (bytes, dict)) or hasattr(images, "read"):
        raise InputError(f"an image cannot be of type {type(images).__name__}; give {ACCEPTED}, or a list of them.")
    return True, images


def load(
    model: str | Path,
    *,
    device: torch.device | str | None = None,
    precision: Precision | None = None,
    batch_size: int = 16,
    workers: int = 2,
    compiled: bool = False,
) -> Classifier:
    """Load a trained model.

    Args:
        model: a run folder, an ONNX file that ``tlaam export`` wrote, or ``hf://owner/name``. PyTorch is imported only
            if it is needed.
        device: where to compute; by default the GPU if there is one. An ONNX file is computed on the CPU.
        precision: ``32-true`` or ``bf16-mixed``; by default bfloat16 if the device has instructions for it.
        batch_size: images per pass.
        workers: threads that read images while the network computes.
        compiled: compile the network before it answers. The first batch then takes minutes, and each later one less
            time.

    Raises:
        ModelError: there is no usable model.
        MissingPackageError: `model` is a run folder or a name on the hub, and PyTorch is not installed.
        InputError: `model` is not a path.

    Examples:
        >>> tlaam.load("runs/birds")
        <tlaam.Classifier of 3 classes (crow, jay, wren), ... from runs...birds>
    """
    if not isinstance(model, (str, Path)):
        raise InputError(
            f"a model cannot be of type {type(model).__name__}; give a run folder, an ONNX file or hf://owner/name."
        )
    if not str(model):
        raise InputError("the path of the model is empty.")
    if isinstance(model, str) and "://" in model and not is_hub_name(model):
        raise ModelError(f"'{model}' is no model; give a run folder, an ONNX file or hf://owner/name.")
    return Classifier(
        load_engine(
            model,
            device=device,
            precision=precision,
            batch_size=batch_size,
            workers=workers,
            compiled=compiled,
            keep_trained=True,
        )
    )


def fit(
    data: Any,
    out: str | Path | None = None,
    config: Config | dict[str, Any] | None = None,
    *,
    test_fraction: float = 0.0,
    group: str | None = None,
    start: str | Path | None = None,
    keep_classes: bool = False,
    taxonomy: str | Path | None = None,
    index: bool = True,
    report: bool = True,
    progress: bool = True,
    **settings: Any,
) -> Classifier:
    """Train a model and write a run folder, a reference index and a report, as ``tlaam train`` does.

    Args:
        data: a path, a list of ``(image, label)`` pairs, or a map-style data set that yields them
            (`tlaam.data.collection.dataset_of`).
        out: a new or empty folder; by default ``runs/<name of the data>``, with a number if that is taken.
        config: settings, or a mapping of them; settings that are left open are chosen for this data on this machine.
        test_fraction: share of the training images to set apart for testing if the data has no test split.
        group: regular expression. Images in whose paths it finds the same text (its first capture group, or the whole
            match) stay on one side of every split.
        start: a trained model to start from, ``--from`` on the command line: a run folder, a published model's folder
            or its ``model.safetensors``, or ``hf://owner/name``. The model's own settings apply; different ones are
            refused.
        keep_classes: keep the classes of that model that the data lacks as possible answers. No images of them are
            trained on.
        taxonomy: a table of the classes' taxa, stored in the model (`Classifier.answering`).
        index: write the reference index, which gives answers a verdict and finds look-alikes.
        report: write ``report.html``.
        progress: report progress on standard error.
        **settings: settings by name, which override those in `config`: ``epochs=20``.

    Raises:
        ConfigError: a setting does not fit.
        DataError: the data cannot be used.
        ModelError: the network or its weights are not available.
        RunError: `out` is not empty, the loss is not finite, or the disk is full.
        MissingPackageError: PyTorch is not installed.

    Examples:
        >>> small = {"backbone": "test_resnet", "pretrained": "none", "image_size": 64, "source_size": 96}
        >>> clf = tlaam.fit("photos", "runs/small", small, epochs=0, report=False, progress=False)
        >>> clf.classes
        ('crow', 'jay', 'wren')
    """
    require_extra("tlaam.fit")
    from tlaam.config.schema import Config
    from tlaam.data.collection import dataset_of
    from tlaam.data.groups import with_rule
    from tlaam.workflows.fit import fit as fit_run

    if isinstance(config, Config):
        merged: Any = config.with_options(**settings) if settings else config
    elif config is None or isinstance(config, dict):
        merged = {**(config or {}), **settings}
    else:
        raise ConfigError(
            f"config is a {type(config).__name__}; it must be a Config or a mapping of options, for example "
            "{'epochs': 12}."
        )
    source = data if isinstance(data, (str, Path)) and group is None else with_rule(dataset_of(data), group=group)
    fitted = fit_run(
        source, out, merged, test_fraction=test_fraction, start=start, keep_classes=keep_classes,
        taxonomy=taxonomy, index=index, report=report, progress=progress,
    )  # fmt: skip
    if not fitted.first:  # only one of the processes that trained together continues
        raise SystemExit(0)
    return Classifier(fitted.engine or load_engine(fitted.run, keep_trained=True))


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)
