"""What a run prints about itself before its first epoch."""

from __future__ import annotations

from tlaam.config.registry import Kind
from tlaam.config.schema import Config
from tlaam.config.sections import ModelConfig
from tlaam.data.class_list import listed_classes
from tlaam.data.sample import SPLITS, LabelledImages
from tlaam.models.pretrained import weights_source
from tlaam.training.start import Start
from tlaam.utils.text import printable


def header(images: LabelledImages, config: Config, start: Start | None = None, *, resumed: bool) -> list[str]:
    """Return three lines on data, network and training, one on classes, and further notes to read beforehand.

    Args:
        config: resolved settings.
        start: what the run starts from instead of pretrained weights.
        resumed: whether the weights are those of a checkpoint.
    """
    model, training = config.model, config.training
    counts = ", ".join(f"{len(images.split(split))} {split}" for split in SPLITS)
    weights = weights_source(model.backbone or "", model.pretrained)
    if start is not None:
        weights = f"the trained model {printable(start.name)} ({start.weights_sha256[:12]})"
    if resumed:
        weights = "the checkpoint"
    named = (model.localizer, model.parts, model.attention) if model.architecture == "tlaam" else (model.architecture,)
    modules = [name for name in named if name and name != "none"]
    raw = f" (the first {training.raw_epochs} on the raw image only)" if training.raw_epochs else ""
    epochs = "1 epoch" if training.epochs == 1 else f"{training.epochs} epochs"
    devices = training.devices if training.nodes == 1 else f"{training.devices} on each of {training.nodes} machines"
    batch = str(training.batch_size) if training.accumulate == 1 else f"{training.accumulate} x {training.batch_size}"
    lines = [
        f"Data: {images.name}, {len(images.classes)} classes; images: {counts}",
        f"Network: {model.backbone}, starting from {weights}; input {model.image_size} px, source {model.source_size} "
        f"px; modules: {', '.join(modules) or 'none'}",
        f"Training: {epochs}{raw}, batch {batch}, {training.optimizer}, "
        f"lr {training.lr:g}, {training.accelerator} (devices: {devices}), precision {training.precision}"
        if training.epochs
        else f"Training: none; a probe on frozen features, {training.accelerator}",
        listed_classes(images.class_counts()),
        *map(printable, images.notes),
    ]
    if start is not None and not resumed:
        lines += start.lines()
    if training.balance not in ("none", "auto"):
        lines.append(
            "The classes have unequally many images, and are to be recognised equally well "
            f"(balance={training.balance})."
        )
    if training.compile:
        lines.append("The network is compiled first: the first steps take minutes, in which nothing is shown.")
    if training.select_on == "test":
        lines.append("The epoch is chosen on the test split: what is then measured on it flatters (select_on=test).")
    elif training.epochs and not images.split("val"):
        lines.append("There are no validation images, so the weights of the last epoch are kept.")
    if unused := _without_use(model):
        lines.append(f"Of no use here: {', '.join(unused)}.")
    return lines


_OPTIONS_OF: dict[Kind, tuple[str, ...]] = {
    "localizer": ("zoom_steps", "heatmap_layer", "threshold", "threshold_rule", "heatmap_upsample"),
    "parts": ("part_channels", "part_windows", "part_response", "part_distinct"),
    "attention": ("attention_kernel", "attention_stages", "attention_gate"),
}


def _without_use(model: ModelConfig) -> list[str]:
    """Return options that were chosen for a disabled module."""
    return [
        option
        for kind, options in _OPTIONS_OF.items()
        if getattr(model, kind) == "none"
        for option in options
        if getattr(model, option) != ModelConfig.model_fields[option].default
    ]
