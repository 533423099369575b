"""What a run has seen: recreating the splits that it cut from its data, for evaluation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tlaam.config.schema import Config
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Split
from tlaam.data.split import cut_splits
from tlaam.data.split_rule import SplitRule, name_checksum
from tlaam.errors import DataError
from tlaam.runs.data import as_fingerprinted, recorded_rule
from tlaam.runs.folder import RunFolder


@dataclass(frozen=True)
class TrainingData:
    """A record from which the splits of a model's training data can be cut again. It names no image and no folder.

    Attributes:
        fingerprint: fingerprint of the data before anything was cut from it (`LabelledImages.fingerprint`).
        seed: seed of the cuts.
        test_fraction: share of the images set apart for testing.
        val_fraction: share of the rest held out for validation.
        select_on: the split on which the best epoch was chosen.
        keep: whether the best epoch's weights were kept, or the last one's.
        skipped: SHA-256 of the names of the unreadable images that were left out.
        rule: the rule on groups, copies and the held-out fold.
    """

    fingerprint: str
    seed: int
    test_fraction: float
    val_fraction: float
    select_on: str = "val"
    keep: str = "best"
    skipped: tuple[str, ...] = ()
    rule: SplitRule = SplitRule(copies=())  # noqa: RUF009 (it cannot change)

    @classmethod
    def of_run(cls, run: Path) -> TrainingData | None:
        """Return the record of a run folder; None if the folder has no records of a run.

        Raises:
            RunError: a record is damaged.
            ConfigError: the settings are damaged.
        """
        folder = RunFolder(run)
        if not folder.data.exists():
            return None
        record = folder.read_json(folder.data, "source_fingerprint", "seed", "test_fraction", "val_fraction")
        skipped: list[str] = []
        if folder.skipped.exists():
            skipped = [entry["name"] for entry in folder.read_json(folder.skipped, "skipped")["skipped"]]
        training = Config.from_yaml(folder.config).training if folder.config.exists() else None
        return cls(
            record["source_fingerprint"],
            record["seed"],
            record["test_fraction"],
            record["val_fraction"],
            "val" if training is None else training.select_on,
            "best" if training is None else training.keep,
            tuple(map(name_checksum, skipped)),
            recorded_rule(record, folder.path),
        )

    @classmethod
    def from_dict(cls, values: Any) -> TrainingData:
        """Read what `to_dict` returned.

        Raises:
            ValueError: the values are not such a record.
        """
        try:
            rule = SplitRule.from_dict(values.get("rule", {}))
            found = cls(**{**values, "skipped": tuple(values.get("skipped", ())), "rule": rule})
        except (TypeError, AttributeError) as error:
            raise ValueError("it is no record of training data") from error
        numbers = (found.seed, found.test_fraction, found.val_fraction)
        texts = (found.fingerprint, found.select_on, found.keep, *found.skipped)
        if not all(isinstance(n, (int, float)) for n in numbers) or not all(isinstance(t, str) for t in texts):
            raise ValueError("it is no record of training data")
        if not (0 <= found.test_fraction < 1 and 0 <= found.val_fraction < 1):
            raise ValueError("its shares are impossible")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; an empty rule is omitted, as in versions without rules."""
        values = {name: value for name, value in asdict(self).items() if name != "rule"}
        rule = self.rule.to_dict()
        return {**values, "skipped": list(self.skipped), **({"rule": rule} if rule else {})}

    def is_of(self, images: LabelledImages) -> bool:
        """Return whether a data set is the one that the model was trained on."""
        return as_fingerprinted(images, self.fingerprint) is not None

    def cut(self, images: LabelledImages) -> LabelledImages:
        """Return the training data set with the splits that training cut from it."""
        images = as_fingerprinted(images, self.fingerprint) or images
        skipped = set(self.skipped)
        images = images.with_samples([s for s in images.samples if name_checksum(s.name) not in skipped])
        return cut_splits(replace(images, rule=self.rule), self.test_fraction, self.val_fraction, self.seed)


def with_the_runs_splits(
    images: LabelledImages, trained_on: TrainingData | None, run: Path | None = None
) -> LabelledImages:
    """Return a data set with the run's splits, so that evaluation images were not trained on; other data unchanged.

    Args:
        images: the data to evaluate on; data that has already been cut is not changed.
        trained_on: what the model was trained on; None if unknown.
        run: its run folder, if there is one.

    Raises:
        DataError: the data set has changed since training, so it is no longer known which images were trained on.
    """
    if trained_on is None or images.is_cut:
        return images
    if trained_on.is_of(images):
        return trained_on.cut(images)
    unmarked = not images.split("test") and not images.split("val")
    if unmarked and run is not None and _root(run) == images.root.resolve():
        raise DataError(
            f"{images.root} has changed since {run} was trained on it, so which images it has seen is not known. "
            "Measure on other images, or on a test split."
        )
    return images


def opened_elsewhere(place: str | Path, trained_on: TrainingData | None, model: str | Path) -> LabelledImages:
    """Open the data that a model was trained on at its present location.

    Args:
        place: its location, followed by the same option as in training.
        trained_on: what the model was trained on; None if unknown.
        model: what to call the model in an error.

    Raises:
        DataError: the data cannot be opened, or is another data set.
    """
    images = open_dataset(place, strict=False)
    if trained_on is None:
        raise DataError(f"{model} does not know what it was trained on; give {place} as DATA, without --data.")
    if not trained_on.is_of(images):
        raise DataError(
            f"{place} is not what {model} was trained on: classes, names, labels or splits of the images differ. Give "
            "that data set with --data, or another one as DATA."
        )
    return images


def preferred_split(images: LabelledImages) -> Split:
    """Return the split that is measured by default: the test split, else the validation split, else all images."""
    return next((split for split in ("test", "val") if images.split(split)), "train")  # type: ignore[arg-type,return-value]


def held_out_split(images: LabelledImages) -> Split | None:
    """Return the split that a run's own report measures: the validation images, else a test split, else None."""
    return next((split for split in ("val", "test") if images.split(split)), None)  # type: ignore[arg-type]


def _root(run: Path) -> Path | None:
    folder = RunFolder(run)
    return Path(folder.read_json(folder.data, "root")["root"]).resolve() if folder.data.exists() else None
