"""Every setting of a run, validated; the same names in YAML, on the command line and in Python.

`None` means "chosen for this data on this machine"; `tlaam.defaults.resolve` puts a value there before a run begins,
so that a run folder's ``config.yaml`` never holds a choice that another machine would make differently.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from tlaam.errors import ConfigError, did_you_mean
from tlaam.recipes import recipe_names, recipe_text
from tlaam.registry import KINDS, LOCALIZER_OPTIONS, Kind, find, names, takers
from tlaam.text import shortened
from tlaam.yaml_file import read_yaml, underscored, yaml_mapping

_FAULTS = 10  # of which a message tells

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1, le=2**31 - 1)]
NotNegative = Annotated[float, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True, allow_inf_nan=False
    )


class ModelConfig(_Section):
    """Architecture of the two-level model (SPEC §1–4); sizes are pixels of the network's input.

    Whatever has no largest value by its nature has one here: a model can come from somebody else, and beyond these
    memory or patience ends.
    """

    architecture: str = "tlaam"
    """The two-level model, or one of the networks that it is compared with: RA-CNN, MA-CNN, TASN. Those have no modules
    of the two-level model, so that localizer, parts and attention are none."""
    backbone: str | None = None
    """Any timm model; by itself resnet50 with a GPU, tf_efficientnet_lite0 without."""
    pretrained: str = "auto"
    """Weights to start from: auto, none, hub, package, or a .safetensors/.pth file."""
    image_size: Annotated[int, Field(ge=32, le=4096)] | None = None
    """Side S of the network's square input; by itself 448 with a GPU, 224 without."""
    source_size: Annotated[int, Field(ge=32, le=8192)] | None = None
    """Side of the source image that crops are cut from; by itself twice the input's. Only a network without crops may
    have a smaller one than its input: it is enlarged."""
    norm_statistics: Literal["own", "shared", "pretrained"] = "own"
    """Statistics of batch normalisation: running ones, of whole images, objects and parts each their own or one for
    all; or the pretrained ones, unchanged in training too."""
    drop_rate: Fraction = 0.0
    """Dropout before the classifier."""

    localizer: str | None = None
    """Object level: a foreground head that learns from pseudo masks, OAAM, CAM, Grad-CAM, Grad-CAM++, SCDA, MMAL-Net's
    AOLM, the centre or the full image whatever it shows, or none (no object branch); by itself foreground where weights
    are pretrained, else oaam."""
    heatmap_layer: str | None = None
    """Backbone module whose map OAAM, Grad-CAM or Grad-CAM++ explains; by itself the last one, where closed forms
    hold."""
    zoom_steps: Annotated[int, Field(ge=1, le=16)] = 1
    """How many times the object level zooms in. Boxes are the last look's, heat maps the first one's, which saw the
    whole image. The foreground head learns on whole images only, and further looks made its boxes worse."""
    threshold: NotNegative | None = None
    """Heat-map threshold: of OAAM a multiple of the map's mean, by itself 1, or a fraction of its maximum; of CAM,
    Grad-CAM and Grad-CAM++ a fraction of the maximum, by itself 0.2, 0.15 and 0.25; of the foreground head a
    probability, by itself 0.25."""
    threshold_rule: Literal["mean", "max"] = "mean"
    """What OAAM's `threshold` multiplies; max needs one below 1."""
    heatmap_upsample: Annotated[int, Field(ge=1, le=64)] | None = None
    """Factor of bilinear upsampling of the heat map before the threshold; by itself 1 for OAAM, 2 for foreground, 4 for
    CAM, Grad-CAM and Grad-CAM++."""
    box_margin: NotNegative = 0.05
    """Share of its side by which the object's box is widened on each side for the crop."""

    parts: str = "mpalm"
    """Part level: MPALM, MMAL-Net's APPM (with its windows for birds, or for cars and aircraft), windows at random
    places, or none."""
    part_channels: Annotated[int, Field(ge=1, le=1024)] = 2
    """MPALM's K': how many channels' peaks get windows; of `random`, how many places."""
    part_windows: Annotated[tuple[Fraction, ...], Field(max_length=64)] = (0.5, 0.75)
    """Window sides as shares of the object image's side (the source's: 96, 160 and 224 of 448)."""
    part_size: Annotated[int, Field(ge=16, le=4096)] | None = None
    """Side that parts are resized to; by itself half the input's."""
    part_response: Literal["max", "mean"] = "max"
    """How a channel's response is measured when the K' largest are chosen."""
    part_distinct: bool = True
    """Skip peaks that coincide with one already taken."""

    attention: str = "lcam"
    """Channel attention inside the backbone's blocks: LCAM, ECA, squeeze and excitation, or none."""
    attention_kernel: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Neighbourhood t of LCAM and ECA; by itself ECA's rule from the number of channels."""
    attention_stages: tuple[int, ...] | None = None
    """Backbone stages that get channel attention, negative from the last; by itself all."""
    attention_gate: Literal["identity", "sigmoid"] = "identity"
    """identity leaves pretrained features unchanged at the start; sigmoid is the source's own."""

    @field_validator(*KINDS, mode="before")
    @classmethod
    def _registered_name(cls, value: Any, info: ValidationInfo) -> Any:
        option = cast("Kind", info.field_name)
        if value == cls.model_fields[option].default:
            return value
        if not isinstance(value, str) or (value not in _NO_MODULE[option] and find(option, value) is None):
            *others, last = (f"'{name}'" for name in choices(option))
            raise ValueError(f"Input should be {', '.join(others)} or {last}")
        return value


class TrainingConfig(_Section):
    """How a run trains (SPEC §5)."""

    epochs: Positive | None = None
    """Passes over the training images; by itself from the number of images."""
    pseudo_mask_size: Annotated[int, Field(ge=96, le=4096)] = 576
    """Side of the input at which the pretrained backbone makes pseudo masks for the foreground head, once."""
    raw_epochs: Annotated[int, Field(ge=0, le=2**31 - 1)] = 2
    """First epochs that train the raw branch only."""
    batch_size: Positive | None = 16
    """Images a step and device; auto is as many as the memory holds, found by trying, at most 64 and a quarter of an
    epoch. The learning rate is not changed with it."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Optimiser."""
    lr: NotNegative = 0.01
    """Learning rate of the backbone."""
    classifier_lr: NotNegative | None = None
    """Learning rate of the classifier and of channel attention; by itself the backbone's."""
    momentum: Fraction = 0.9
    """Momentum of SGD."""
    weight_decay: NotNegative = 1e-4
    """Weight decay (not on biases and normalisation)."""
    schedule: Literal["cosine", "multistep", "constant"] = "cosine"
    """How the learning rates fall."""
    milestones: tuple[Positive, ...] = (60, 100)
    """Epochs after which `multistep` multiplies by 0.1."""
    warmup_epochs: NotNegative = 1.0
    """Epochs of linear warm-up."""
    label_smoothing: Fraction = 0.0
    """Label smoothing of the cross-entropies."""
    gradient_clip: NotNegative = 0.0
    """Largest gradient norm; 0 leaves gradients alone."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the exponential moving average of the weights; 0 keeps none."""
    flip: bool = True
    """Mirror images at random."""
    jitter: NotNegative = 0.2
    """Strength of brightness and contrast jitter."""
    crop_scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest share of the image's area that a random crop keeps; 1 never crops."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """Seed of everything random."""
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the training images held out where the data has no validation split."""
    keep: Literal["best", "last"] = "best"
    """Weights a run ends with: of the best validation epoch, or of the last."""
    select_on: Literal["val", "test"] = "val"
    """Split that the best epoch is chosen on; test is the best-epoch protocol of many papers, whose figures flatter."""
    skip_unreadable: bool = False
    """Train without images that cannot be read, and record which."""
    checkpoint_every: NotNegative = 120.0
    """Seconds between whole checkpoints within an epoch."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] | None = None
    """Arithmetic; by itself bf16-mixed on a GPU that has it, else 32-true."""
    compile: bool = False
    """Compile the network with torch.compile: its first steps take minutes, the others less time."""
    recompute: bool = False
    """Make activations again in the backward pass instead of keeping them: less memory, more time."""
    accelerator: str = "auto"
    """Lightning's accelerator: cpu, cuda, mps; auto is cuda where there is a GPU for it, else cpu."""
    devices: str = "auto"
    """Lightning's devices: a number, a list such as 0,1, or auto."""
    nodes: Positive = 1
    """Machines that train together."""
    strategy: str = "auto"
    """Lightning's strategy: auto or ddp; fsdp shards weights and optimiser over the devices."""
    workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Processes that load images; by itself as many as keep up with the training steps, which is measured."""
    cache: str | None = None
    """Folder that keeps decoded, resized images between epochs and runs; only where crop_scale is 1."""

    @model_validator(mode="after")
    def _possible_together(self) -> TrainingConfig:
        if self.cache is not None and self.crop_scale < 1:
            raise ValueError("cache keeps whole images, which crop_scale below 1 does not use; leave one of them out")
        if self.compile and self.recompute:
            raise ValueError("compile and recompute do not go together; leave one of them out")
        if self.strategy == "fsdp" and (self.compile or self.ema_decay):
            raise ValueError("strategy = fsdp goes with neither compile nor ema_decay; leave them out")
        if self.strategy == "fsdp" and self.batch_size is None:
            raise ValueError("strategy = fsdp does not find the batch's size by trying; give batch_size")
        return self

    @field_validator("devices", mode="before")
    @classmethod
    def _number_of_devices(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Config(_Section):
    """A whole run: what is built and how it is trained."""

    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Config:
        """Build from one flat mapping of option names, e.g. ``{"epochs": 12, "parts": "none"}``.

        Names may be spelt with hyphens, as on the command line.

        Raises:
            ConfigError: an option is unknown or given twice, or a value impossible.
        """
        nested: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        for name, value in underscored(values).items():
            nested[section_of(name)][name] = value
        return cls.from_nested(nested)

    @classmethod
    def from_nested(cls, values: Mapping[str, Any]) -> Config:
        """Build from ``{"model": {...}, "training": {...}}``; options may also stand at the top, without a section.

        Names may be spelt with hyphens, as on the command line. Over the settings of a preset or recipe that
        ``preset`` names, the others win.

        Raises:
            ConfigError: an option is unknown or given twice, a value impossible, or there is no such preset.
        """
        nested: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        named = underscored(values)
        for option, value in _base(named).items():
            nested[section_of(option)][option] = value
        for name, value in named.items():
            if name in SECTIONS:
                if not isinstance(value, Mapping):
                    raise ConfigError(f"section '{name}' holds {_shown(value)}; it must hold options, one a line.")
                value = underscored(value)
                for option in value:
                    if section_of(option) != name:
                        raise ConfigError(
                            f"option '{option}' stands in section '{name}' but belongs to '{section_of(option)}'."
                        )
                nested[name].update(value)
            else:
                nested[section_of(name)][name] = value
        try:
            return cls.model_validate(nested)
        except ValidationError as error:
            raise ConfigError(_one_line(error)) from error

    @classmethod
    def from_yaml(cls, path: Path) -> Config:
        """Read a YAML file of options.

        Raises:
            ConfigError: the file cannot be read, is no YAML mapping, or holds an unknown option or impossible value; it
                names the file.
        """
        values = read_yaml(path)
        with named_in_errors(path):
            return cls.from_nested(values)

    def to_nested(self) -> dict[str, dict[str, Any]]:
        """Return plain Python values by section, ready for YAML or JSON."""
        return self.model_dump(mode="json")

    def with_options(self, **values: Any) -> Config:
        """Return the same settings with some options replaced.

        Raises:
            ConfigError: an option is unknown or a value impossible.
        """
        flat = {**self.model.model_dump(), **self.training.model_dump(), **values}
        return Config.from_flat(flat)

    @model_validator(mode="after")
    def _check_sizes(self) -> Config:
        model = self.model
        crops = model.architecture != "tlaam" or model.localizer != "none" or model.parts != "none"
        if crops and model.image_size and model.source_size and model.source_size < model.image_size:
            raise ValueError(
                f"source_size {model.source_size} is smaller than image_size {model.image_size}; "
                "crops are cut from the source, so it must be at least as large"
            )
        if not model.part_windows or min(model.part_windows) <= 0:
            raise ValueError(f"part_windows {model.part_windows}: at least one share above 0 is needed")
        if model.norm_statistics == "pretrained" and model.pretrained == "none":
            raise ValueError("norm_statistics=pretrained needs pretrained weights; pretrained is none")
        if model.architecture != "tlaam":
            for name in ("localizer", "parts", "attention"):
                if (given := getattr(model, name)) not in (None, "none"):
                    raise ValueError(
                        f"{name}={given} goes with architecture=tlaam; with {model.architecture} it must be none "
                        f"(preset {model.architecture} says all three)"
                    )
        architecture = find("architecture", model.architecture)
        if architecture is not None and architecture.needs_raw_epochs and self.training.raw_epochs == 0:
            raise ValueError(
                f"raw_epochs is 0; {model.architecture} is shown its task in the first epochs and needs at least one"
            )
        if (fault := _option_without_use(model)) is not None:
            raise ValueError(fault)
        return self


def _option_without_use(model: ModelConfig) -> str | None:
    """Return what is wrong with options of a localiser that is not the chosen one."""
    if model.localizer in (None, "none") or (localizer := find("localizer", model.localizer)) is None:
        return None
    for name in LOCALIZER_OPTIONS:
        if name not in localizer.options and getattr(model, name) != ModelConfig.model_fields[name].default:
            return f"{name} goes with localizer={' or '.join(takers(name))}; the localiser is {model.localizer}"
    if model.threshold is not None and model.threshold >= 1 and localizer.threshold_is_share:
        return f"threshold {model.threshold:g} must be below 1 with localizer={model.localizer}"
    if model.threshold_rule == "max" and (model.threshold is None or model.threshold >= 1):
        return "threshold_rule=max needs a threshold below 1, a fraction of the maximum, which nothing exceeds"
    return None


@contextmanager
def named_in_errors(path: Path) -> Iterator[None]:
    """Let an error of settings say which file they stand in."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _shown(value: Any) -> str:
    """Return a value for a message, of bearable length whatever it is: it may stand for more than any memory holds."""
    return shortened(reprlib.repr(value))


SECTIONS: dict[str, type[_Section]] = {"model": ModelConfig, "training": TrainingConfig}

_MMAL_RECIPE: dict[str, Any] = {
    "epochs": 120,
    "batch_size": 6,
    "optimizer": "sgd",
    "lr": 1e-3,
    "weight_decay": 1e-4,
    "schedule": "multistep",
    "milestones": (60, 100),
    "warmup_epochs": 0.0,
}

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # The paper's setting (SPEC §5): the method exactly as stated, on the baseline's recipe.
    "paper": {
        "backbone": "resnet50",
        "image_size": 448,
        "source_size": 448,
        "localizer": "oaam",
        "box_margin": 0.0,
        "part_windows": (96 / 448, 160 / 448, 224 / 448),
        "part_distinct": False,
        "norm_statistics": "shared",
        "attention_gate": "sigmoid",
        **_MMAL_RECIPE,
    },
    # The paper's baseline (Zhang et al. 2021, arXiv 2003.09150).
    "mmal": {
        "backbone": "resnet50",
        "image_size": 448,
        "source_size": 448,
        "localizer": "aolm",
        "box_margin": 0.0,
        "norm_statistics": "shared",
        "parts": "appm",
        "attention": "none",
        **_MMAL_RECIPE,
    },
    # A modern backbone under the default modules; ours, and not measured.
    "convnext": {
        "backbone": "convnext_tiny.fb_in22k",
        "image_size": 448,
        "epochs": 30,
        "batch_size": 16,
        "optimizer": "adamw",
        "lr": 1e-4,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
    },
    "plain": {"localizer": "none", "parts": "none", "attention": "none"},
    **{
        name: {"architecture": name, "localizer": "none", "parts": "none", "attention": "none"}
        for name in ("racnn", "macnn", "tasn")
    },
}
"""Named settings that ``--preset`` starts from, as from those of `tlaam.recipes`; explicit options win over them."""

_NO_MODULE: dict[str, tuple[str, ...]] = {kind: () if kind == "architecture" else ("none",) for kind in KINDS}
"""What says that there is no such module; a network there has to be."""

MACHINE_OPTIONS = ("accelerator", "devices", "nodes", "strategy", "workers", "cache")
"""Settings that may change within a run, when it is resumed: they change what is computed by rounding at most."""


def option_names() -> tuple[str, ...]:
    """Return every option's name, in the order of the sections."""
    return tuple(name for section in SECTIONS.values() for name in section.model_fields)


def section_of(option: str) -> str:
    """Return the section an option belongs to.

    Raises:
        ConfigError: there is no such option.
    """
    for name, section in SECTIONS.items():
        if option in section.model_fields:
            return name
    hint = did_you_mean(option, option_names()) or " `tlaam train --help` lists all there are."
    raise ConfigError(f"there is no option '{option}'.{hint}")


def choices(option: str) -> tuple[str, ...]:
    """Return the names that an option's value can be, installed packages' too; empty where it is none of several names.

    Raises:
        ConfigError: there is no such option, or an installed package cannot be loaded.
    """
    for kind in KINDS:
        if option == kind:
            return (*names(kind), *_NO_MODULE[kind])
    annotation = SECTIONS[section_of(option)].model_fields[option].annotation
    return tuple(choice for choice in _flatten_choices(annotation) if isinstance(choice, str))


def preset(name: str) -> dict[str, Any]:
    """Return the options of a preset or recipe, by their names.

    Raises:
        ConfigError: there is neither.
    """
    if name in PRESETS:
        return dict(PRESETS[name])
    recipes = recipe_names()
    if name in recipes:
        return flattened(yaml_mapping(recipe_text(name), f"the recipe {name}"))
    raise ConfigError(
        f"there is no preset '{name}'.{did_you_mean(name, [*PRESETS, *recipes])} Presets are {', '.join(PRESETS)}; "
        f"recipes are {', '.join(recipes)}."
    )


def shared_settings(name: str) -> dict[str, Any]:
    """Return what a preset or recipe says of weights, sizes and training: what the systems of a comparison share.

    Raises:
        ConfigError: there is no such preset or recipe.
    """
    shared = ("backbone", "pretrained", "image_size", "source_size", *TrainingConfig.model_fields)
    return {option: value for option, value in preset(name).items() if option in shared}


def flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as `Config.from_nested` takes them by their names alone, out of sections and presets.

    Raises:
        ConfigError: an option is unknown or a value impossible.
    """
    Config.from_nested(values)  # says what is wrong while the sections are still known
    named = underscored(values)
    flat = _base(named)
    for name, value in named.items():
        flat |= underscored(value) if name in SECTIONS else {name: value}
    return flat


def _base(named: dict[str, Any]) -> dict[str, Any]:
    """Take the preset that settings name out of them, and return its options."""
    if (name := named.pop("preset", None)) is None:
        return {}
    if not isinstance(name, str):
        raise ConfigError(f"preset is {_shown(name)}; it must be the name of one.")
    return preset(name)


def _one_line(error: ValidationError) -> str:
    sentences = []
    for entry in error.errors()[:_FAULTS]:
        location = entry["loc"]
        message = entry["msg"].removeprefix("Value error, ").rstrip(".") + "."
        if len(location) > 1:
            name = str(location[1])
            message = f"{name} = {_shown(entry['input'])}: {message}{_closest_choice(name, entry['input'])}"
        sentences.append(message)
    return " ".join(dict.fromkeys(sentences))


def _closest_choice(option: str, received: Any) -> str:
    return did_you_mean(received, choices(option)) if isinstance(received, str) else ""


def _flatten_choices(annotation: Any) -> list[Any]:
    choices: list[Any] = []
    for argument in get_args(annotation):
        choices += _flatten_choices(argument) if get_args(argument) else [argument]
    return choices
