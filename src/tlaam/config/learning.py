"""Default learning settings: gentle ones after a probe, otherwise a rate for the backbone's family."""

from __future__ import annotations

from typing import Any

from tlaam.config.backbones import optimizer_for

SHARE_OF_PROBE = 0.25
"""Share of the probe's weights in the weights that are measured and kept (benchmarks/results/finetuning.json)."""


def learning(backbone: str, optimizer: str | None, *, probed: bool) -> dict[str, Any]:
    """Return the default settings of training, by name.

    Args:
        backbone: name of the backbone.
        optimizer: the requested optimiser; None leaves it open.
        probed: whether training begins with a probe. The backbone is then pretrained and the classifiers are solved, so
            training needs small steps and no epoch that prepares the object level.

    Examples:
        >>> from_probe, from_nothing = (learning("resnet50", None, probed=probed) for probed in (True, False))
        >>> from_probe["optimizer"], from_probe["lr"], from_nothing["optimizer"], from_nothing["lr"]
        ('adamw', 0.0003, 'sgd', 0.01)
    """
    chosen = optimizer or ("adamw" if probed else optimizer_for(backbone))
    if chosen == "adamw":
        lr = 3e-4 if optimizer_for(backbone) == "sgd" else 1e-4
        rates: dict[str, Any] = {"lr": lr, "weight_decay": 0.05, "layer_decay": 0.75, "gradient_clip": 1.0}
    elif probed:
        rates = {"lr": 0.003, "weight_decay": 1e-4, "layer_decay": 1.0, "gradient_clip": 1.0}
    else:
        rates = {"lr": 0.01, "weight_decay": 1e-4, "layer_decay": 1.0, "gradient_clip": 0.0}
    gentle = {"raw_epochs": 0, "label_smoothing": 0.1, "start_share": SHARE_OF_PROBE, "patience": 4, "paste": 0.5}
    plain = {"raw_epochs": 2, "label_smoothing": 0.0, "start_share": 0.0, "patience": 0, "paste": 0.0}
    return {"optimizer": chosen, **rates, **(gentle if probed else plain)}
