"""Start a run from a trained model: its weights, its settings, and the classes that model and data share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tlaam.config.schema import Config
from tlaam.config.sections import ModelConfig
from tlaam.errors import ConfigError, ModelError, RunError
from tlaam.hub.download import local_folder
from tlaam.hub.names import hub_name, is_hub_name
from tlaam.inference.pytorch import TorchModel
from tlaam.inference.store import WEIGHTS, folder_of, load_model
from tlaam.models.architecture import Architecture
from tlaam.training.class_rows import carry_over
from tlaam.utils.text import printable

_NAMED = 10
"""Maximum number of classes that a line names in full."""


@dataclass(frozen=True)
class Start:
    """How a run's classes relate to those of the model that it starts from. It names no folder.

    Attributes:
        name: name of the model: that of its folder, or ``owner/name`` on the hub.
        weights_sha256: checksum of its weights.
        shared: classes that both have.
        new: classes of the data that the model does not know.
        kept: classes of the model without images in the data that can still be predicted.
        dropped: classes of the model without images in the data that can no longer be predicted.
    """

    name: str
    weights_sha256: str
    shared: tuple[str, ...]
    new: tuple[str, ...]
    kept: tuple[str, ...]
    dropped: tuple[str, ...]

    @property
    def origin(self) -> dict[str, str]:
        """Name and checksum, which accompany the new model wherever it goes."""
        return {"name": self.name, "weights_sha256": self.weights_sha256}

    def lines(self) -> list[str]:
        """Return what a run prints about it, one line for each kind of class that occurs."""
        name = printable(self.name)
        said = {
            "Classes that keep their rows of every classifier": self.shared,
            "New classes": self.new,
            f"Classes of {name} without images here, which are no answers any more (--keep-classes keeps them)": (
                self.dropped
            ),
            f"Classes without images here, kept as {name} knew them; this training never sees them, and nothing "
            "measures how often they come out right": self.kept,
        }
        return [f"{about}: {_listed(names)}." for about, names in said.items() if names]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``run.json``."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Any, where: Path) -> Start:
        """Read what `to_dict` returned.

        Raises:
            RunError: it is something else; the message names `where`.
        """
        try:
            plain: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
            return cls(**plain)
        except (TypeError, AttributeError) as error:
            raise RunError(f"{where}: 'started_from' in run.json is damaged; begin a new run.") from error


@dataclass(frozen=True)
class FormerModel:
    """A trained model to start from.

    Attributes:
        name: see `Start`.
        model: its network, settings and classes.
    """

    name: str
    model: TorchModel

    def settings(self, config: Config) -> Config:
        """Return the settings of a run that starts from it: model settings are its own, the others are as given.

        Raises:
            ConfigError: a given model setting differs from its own.
        """
        own = _settled(self.model.config)
        for name in ModelConfig.model_fields:
            if name not in config.model.model_fields_set:
                continue
            given, has = getattr(config.model, name), getattr(own, name)
            if given is not None and given != has:
                raise ConfigError(
                    f"a run that starts from {self.name} has its {name}, {has}, and not {given}: leave {name} out, or "
                    "begin a run that does not start from it."
                )
        return config.with_options(**own.model_dump())

    def start(self, classes: Sequence[str], *, keep_classes: bool = False) -> Start:
        """Return how the classes of a data set relate to its own, matched by name."""
        known, here = set(self.model.classes), set(classes)
        missing = tuple(name for name in self.model.classes if name not in here)
        return Start(
            name=self.name,
            weights_sha256=self.model.checksum,
            shared=tuple(name for name in classes if name in known),
            new=tuple(name for name in classes if name not in known),
            kept=missing if keep_classes else (),
            dropped=() if keep_classes else missing,
        )

    def carry_into(self, network: Architecture, config: ModelConfig, classes: Sequence[str]) -> None:
        """Copy its weights into a network with other classes, built from the same settings (`carry_over`)."""
        place = {name: number for number, name in enumerate(self.model.classes)}
        carry_over(self.model.network, network, config, [place.get(name) for name in classes])


def read_former(model: str | Path) -> FormerModel:
    """Read the model that a run starts from.

    Args:
        model: a run folder, the folder of a published model, its ``model.safetensors``, or ``hf://owner/name``.

    Raises:
        ModelError: there is no such model, or it is an ONNX file, which cannot be trained.
    """
    folder = folder_of(local_folder(model))
    if folder.is_file() or folder.suffix.lower() == ".onnx":
        raise ModelError(
            f"{folder} is no model to start from: an exported file cannot be trained on. Give the run folder that it "
            f"was exported from, or another folder with {WEIGHTS} and config.json."
        )
    name = hub_name(str(model)).repository if is_hub_name(model) else folder.resolve().name
    return FormerModel(name, load_model(folder))


def _settled(config: ModelConfig) -> ModelConfig:
    """Return a model's settings, completed where an earlier version that built it wrote none."""
    standing: Mapping[str, Any] = {
        "fusion": "mean",
        "raw_scale": 1.0,
        "localizer": "oaam" if config.architecture == "tlaam" else "none",
        "part_size": (config.image_size or 0) // 2,
    }
    return config.model_copy(update={name: value for name, value in standing.items() if getattr(config, name) is None})


def _listed(names: Sequence[str]) -> str:
    named = ", ".join(map(printable, names[:_NAMED]))
    return named if len(names) <= _NAMED else f"{named} and {len(names) - _NAMED} more, {len(names)} in all"
