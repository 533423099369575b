"""A model whose classes are changed: an exported file with its reference index, to be written under a new name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from tlaam.data.names import clean_name, folded_name, require_text
from tlaam.errors import DataError, ModelError, did_you_mean
from tlaam.inference.engine import Engine, load_engine
from tlaam.inference.onnx import POOLED, OnnxModel
from tlaam.inference.onnx_sealing import seal
from tlaam.probe.classifiers import Classifiers
from tlaam.probe.linear import temperature
from tlaam.reference.file import digest_of, index_file_of, to_bytes
from tlaam.reference.index import ReferenceIndex
from tlaam.reference.ood_detector import ENOUGH, NO_THRESHOLD, OODDetector, quantile, sure_from
from tlaam.reference.pooled import PooledFeatures
from tlaam.reference.similarity import Floats, class_means, similarity_left_out, unit
from tlaam.reference.thresholds import by_training_images
from tlaam.taxonomy.shares import HeldOutAnswers, SharedAnswers
from tlaam.teaching.heads import Heads, read_heads, replace_heads
from tlaam.teaching.lesson import Lesson
from tlaam.teaching.taxa import renamed
from tlaam.utils.atomic import remove_leftovers, write_atomically
from tlaam.utils.checksums import checksum
from tlaam.utils.extras import require_extra
from tlaam.utils.text import printable

if TYPE_CHECKING:
    import onnx

_Kind = TypeVar("_Kind", dict[str, Any], list[Any])

HISTORY = "taught"
"""Metadata entry of a file that lists the changes of its classes, as a JSON list of texts."""

_FINDS_ALONE = ("none", "center", "full", "foreground", "scda", "aolm")
"""Localisers that do not use the classifiers to find the object."""
_CHANGED = "classes changed since"
_AGREEMENT = 1e-3
"""Maximum difference in probability between the written graph and its classifiers, solved in float64."""


@dataclass(frozen=True)
class Pupil:
    """A model whose classes are changed.

    Attributes:
        engine: computes the features of photographs.
        proto: the graph of the file.
        texts: the file's metadata by name.
        out: the file to write.
    """

    engine: Engine
    proto: onnx.ModelProto
    texts: dict[str, str]
    out: Path

    @classmethod
    def opened(cls, model: str | Path, out: str | Path, *, learns: bool = True) -> Pupil:
        """Open a model.

        Args:
            model: the ONNX file.
            out: the file to write.
            learns: whether classifiers will be solved, which needs data kept in the reference index.

        Raises:
            ModelError: it is a run folder, cannot be used, would be overwritten, or lacks the data needed.
            MissingPackageError: the extra ``teach`` is not installed.
        """
        require_extra("teaching a model", "teach")
        import onnx

        path, out = Path(model), Path(out)
        if path.is_dir():
            raise ModelError(
                f"{path} is a run folder, and an exported file is taught: tlaam export {path} --out MODEL.onnx, then "
                "give MODEL.onnx."
            )
        if out.is_dir() or index_file_of(out).resolve() == index_file_of(path).resolve():
            raise ModelError(f"{out} is the given model or a folder; give --out another name, such as NEW.onnx.")
        engine = load_engine(model, embeddings=True, keep_images=True)
        engine.pooled = True
        assert isinstance(engine.model, OnnxModel) and engine.origin is not None
        content = engine.origin.read_bytes()
        if checksum(content) != engine.model.checksum:
            raise ModelError(f"{path} was changed while it was read; start again.")
        proto = onnx.load_from_string(content)
        pupil = cls(engine, proto, {entry.key: entry.value for entry in proto.metadata_props}, out)
        if learns:
            pupil.require_lesson()
        return pupil

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by index."""
        return self.engine.classes

    @property
    def index(self) -> ReferenceIndex:
        """The model's reference index."""
        assert self.engine.index is not None
        return self.engine.index

    @cached_property
    def heads(self) -> Heads:
        """The present classifiers."""
        return read_heads(self.proto)

    @cached_property
    def lesson(self) -> Lesson:
        """The present data for solving the classifiers."""
        index, pooled = self.index, self.index.pooled
        assert pooled is not None
        return Lesson(
            index.classes,
            pooled.features(),
            index.labels.astype(np.int64),
            index.names,
            pooled.held_out_features(),
            pooled.held_out_labels.astype(np.int64),
        )

    def require_lesson(self) -> None:
        """Check that the data for solving classifiers is available.

        Raises:
            ModelError: it is not.
        """
        path, index = self.engine.origin, self.engine.index
        if index is None:
            assert path is not None
            raise ModelError(
                f"{path} has no reference index ({index_file_of(path).name}) beside it, and what the model learnt from "
                "is needed to teach it a class; put it there, or export the run again."
            )
        if index.pooled is None:
            raise ModelError(
                f"the reference index of {path} was written by a version that kept no features; write it again (tlaam "
                "index RUN), and export the run again."
            )
        if POOLED not in [output.name for output in self.proto.graph.output]:
            raise ModelError(f"{path} was exported by a version that gave no features; export the run again.")
        settings = self._said("model", dict)
        localizer, parts = settings.get("localizer"), settings.get("parts")
        if localizer not in _FINDS_ALONE or parts == "contribution":
            raise ModelError(
                f"{path} finds the object or its parts by what its classifiers say (localizer={localizer}, "
                f"parts={parts}), so that with other ones it would see other features; train it with "
                "localizer=foreground, the default, or with the new class."
            )
        weight = self.heads.joint.weight
        if weight.shape[1] != index.pooled.scales.size:
            raise ModelError(
                f"the reference index of {path} keeps {index.pooled.scales.size} features an image, and its classifier "
                f"takes {weight.shape[1]}; export the run again."
            )

    def _said(self, name: str, kind: type[_Kind]) -> _Kind:
        """Return an entry of the file's metadata, parsed as JSON; an empty value if it is missing.

        Raises:
            ModelError: the entry has another type.
        """
        try:
            found = json.loads(self.texts[name]) if name in self.texts else kind()
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, kind):
            raise ModelError(f"{self.engine.origin}: '{name}' of its metadata cannot be used; export the run again.")
        return found

    def place_of(self, name: str) -> int:
        """Return the index of a class.

        Raises:
            DataError: there is no class of this name.
        """
        for same in (str, clean_name, folded_name):
            found = [place for place, each in enumerate(self.classes) if same(each) == same(name)]
            if len(found) == 1:
                return found[0]
        raise DataError(f"the model has no class '{printable(name)}'.{did_you_mean(name, self.classes)}")

    def free_name(self, name: str, *, but: Sequence[str] = ()) -> str:
        """Return a valid, unused name for a class.

        Args:
            name: the name as given.
            but: existing classes whose names may be used.

        Raises:
            DataError: the name is empty or not text, or an existing class has it, or differs only in case.
        """
        name = clean_name(name)
        if not any(c.isprintable() and not c.isspace() for c in name):
            raise DataError("the name of a class cannot be empty.")
        require_text(name, "the name of a class")
        for each in self.classes:
            if each not in but and folded_name(each) == folded_name(name):
                raise DataError(f"the model has a class '{printable(each)}' already; give the new one another name.")
        return name

    def write(self, lesson: Lesson, index: ReferenceIndex, said: str) -> Classifiers:
        """Solve the classifiers, and write file and index.

        Args:
            lesson: the data to solve.
            index: the index with the images, thumbnails and taxonomy of the lesson; the rest of it is computed anew.
            said: description of the change, for the file's history.

        Returns:
            The classifiers.

        Raises:
            ModelError: the written graph's answers differ from those of its classifiers; then nothing is written.
            RunError: the disk is full.
        """
        solved, answers = _calibrated(lesson, lesson.solve())
        assert solved.joint is not None
        directions = unit(index.embeddings)
        index = replace(
            index,
            classes=lesson.classes,
            labels=lesson.labels.astype(np.int32),
            names=lesson.names,
            detector=self._detector(directions, lesson, answers),
            held_out=None if index.held_out is None else answers.kept().bounded(),
            pooled=PooledFeatures.of(lesson.features, lesson.held_out, lesson.held_out_labels),
        )
        replace_heads(self.proto, Heads(solved.shared, solved.joint))
        self._store(index, said, solved)
        return solved

    def rename(self, old: str, new: str) -> None:
        """Write file and index with a class renamed."""
        classes = tuple(new if name == old else name for name in self.classes)
        index = self.engine.index
        if index is not None:
            own = index.taxonomy
            index = replace(index, classes=classes, taxonomy=None if own is None else renamed(own, old, new))
        taxonomy = self.engine.taxonomy
        if index is None and taxonomy is not None:
            self.texts["taxonomy"] = renamed(taxonomy, old, new).to_text()
        self.texts["classes"] = json.dumps(classes)
        self._store(index, f"renamed '{old}' to '{new}'")

    def _detector(self, directions: NDArray[np.float32], lesson: Lesson, answers: _Answers) -> OODDetector:
        """Return a detector to which the same share of the images, each compared with the others, are strangers."""
        was, before = self.index.detector, self.index
        count = len(lesson.classes)
        sure = sure_from(np.exp(answers.scores.max(1)), answers.scores.argmax(1) == answers.labels)
        chosen_on = was.chosen_on if _CHANGED in was.chosen_on else f"{was.chosen_on}; {_CHANGED}"
        if was.near is not None:
            return by_training_images(
                directions, lesson.labels, count, sure_from=max(sure, was.sure_from), chosen_on=chosen_on
            )
        threshold = NO_THRESHOLD
        if was.tells_strangers:
            known = similarity_left_out(unit(before.embeddings), before.labels, len(before.classes))
            share = float((known < was.threshold).mean()) if len(known) else 0.0
            found = similarity_left_out(directions, lesson.labels, count)
            threshold = quantile(found, share) if len(found) else was.threshold
        return OODDetector(
            class_means(directions, lesson.labels, count),
            threshold,
            sure if len(lesson.held_out) >= ENOUGH else max(sure, was.sure_from),  # training images are optimistic
            chosen_on,
        )

    def _store(self, index: ReferenceIndex | None, said: str, solved: Classifiers | None = None) -> None:
        texts = dict(self.texts)
        if index is not None:
            content = to_bytes(index)
            detector = index.detector.to_text()
            made = {
                "classes": json.dumps(index.classes),
                "gallery": digest_of(content),
                "familiarity": detector,
                "held_out": None if index.held_out is None else index.held_out.to_text(),
                "taxonomy": None if index.taxonomy is None else index.taxonomy.to_text(),
            }
            texts = {name: text for name, text in texts.items() if name not in made}
            texts |= {name: text for name, text in made.items() if text is not None}
        texts[HISTORY] = json.dumps([*self._said(HISTORY, list), said])
        file = seal(self.proto, texts)
        written = OnnxModel(self.out, file)
        if solved is not None:
            self._require_agreement(written, solved)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        for target in (self.out, index_file_of(self.out)):
            remove_leftovers(target.parent, target.name)
        if index is not None:
            write_atomically(index_file_of(self.out), content)
        write_atomically(self.out, file)

    def _require_agreement(self, written: OnnxModel, solved: Classifiers) -> None:
        side = written.source_size
        seen = np.random.default_rng(0).integers(0, 256, (1, 3, side, side), dtype=np.uint8)
        answers = written.answer(seen, pooled=True)
        assert answers.pooled is not None and solved.joint is not None
        expected = softmax(solved.joint.logits(answers.pooled.reshape(1, -1)), 1)
        difference = float(np.abs(expected - answers.probabilities["fused"]).max())
        if not difference <= _AGREEMENT:
            raise ModelError(
                f"{self.out} was not written: its graph answers otherwise than the classifiers that were solved, by up "
                f"to {difference:.2g}."
            )


@dataclass(frozen=True)
class _Answers:
    """Log probabilities ``(M, C)`` of images that the classifiers had not seen, and their labels ``(M,)``."""

    scores: NDArray[np.float64]
    labels: NDArray[np.int64]

    def kept(self) -> HeldOutAnswers:
        """Return the answers in the form that promises are made from."""
        return HeldOutAnswers(self.labels, SharedAnswers.of(np.exp(self.scores).clip(0, 1)))


def _calibrated(lesson: Lesson, solved: Classifiers) -> tuple[Classifiers, _Answers]:
    """Return classifiers calibrated on held-out images, if there are enough of these, and their answers.

    Classes without a held-out image are answered for out of fold.
    """
    known = solved.known
    if len(lesson.held_out) < ENOUGH:
        return solved, _Answers(solved.scores[known], lesson.labels[known])
    assert solved.joint is not None
    logits = solved.joint.logits(lesson.held_out.reshape(len(lesson.held_out), -1))
    warmth = temperature(logits, lesson.held_out_labels)
    views = lesson.held_out.shape[1]
    each: Floats = solved.shared.logits(lesson.held_out.reshape(-1, lesson.held_out.shape[2]))
    of_each = temperature(each, lesson.held_out_labels.repeat(views))
    others = known & ~np.isin(lesson.labels, lesson.held_out_labels)
    scores = log_softmax(np.concatenate([logits, solved.scores[others]]) / warmth, 1)
    answers = _Answers(scores, np.concatenate([lesson.held_out_labels, lesson.labels[others]]))
    return solved._replace(joint=solved.joint.cooled(warmth), shared=solved.shared.cooled(of_each)), answers
