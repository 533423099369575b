"""The source files that are mutated, and the tests that each mutant of theirs is tried against."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]

_FILES = {
    "training": "loss schedule sampler transforms blend threshold validation optimizer pasting class_rows seeds",
    "models": "heatmaps localization crops joint norm output architecture",
    "models/parts": "base contribution mpalm appm random_windows",
    "models/attention": "base insertion lcam se",
    "models/localizers": "base oaam cam aolm foreground fixed_box scda pseudo_masks",
    "evaluation": "classification localization wsol bootstrap confusion parts",
    "probe": "linear solver selection descent minibatch",
}

_TESTED_ELSEWHERE = {
    "models/attention/base": ("models/attention/test_lcam",),
    "models/attention/insertion": ("models/attention/test_lcam",),
    "models/attention/se": ("models/attention/test_lcam",),
    "models/localizers/base": ("models/localizers/test_cam", "models/localizers/test_scda"),
    "models/parts/base": ("models/parts/test_mpalm", "models/parts/test_random_windows"),
    "models/parts/contribution": ("models/parts/test_mpalm", "models/parts/test_appm"),
    "probe/descent": ("probe/test_minibatch",),
    "probe/linear": ("probe/test_minibatch",),
    "probe/selection": ("probe/test_minibatch",),
    "probe/solver": ("probe/test_solver", "probe/test_minibatch"),
}
"""Files whose tests do not mirror their place."""

TOO_SLOW = {
    "models/attention/base": "scores or stages or existing",
    "models/attention/insertion": "swin or dinov3 or densenet121",
    "models/attention/lcam": "scores or stages or existing",
    "models/attention/se": "scores or stages or existing",
    "models/crops": "compiled",
    "models/heatmaps": "swin or dinov3 or dinov2 or vit or deit or convnext or mobilenetv3 or efficientnet",
    "models/joint": "the_fused_answer or pulls_at_the_backbone",
    "models/localization": "ten_thousand",
    "models/norm": "tf_efficientnet_lite0",
    "training/threshold": "weights_that_are_kept or given_stays",
}
"""Tests that take too long to be tried against each mutant, as pytest's ``-k`` names them."""

TARGETS = {
    f"src/tlaam/{room}/{name}.py": tuple(
        f"tests/{test}.py" for test in _TESTED_ELSEWHERE.get(f"{room}/{name}", (f"{room}/test_{name}",))
    )
    for room, names in _FILES.items()
    for name in names.split()
}
"""Source files in the order in which they are mutated, and their tests, as paths from the repository's root."""


def chosen(only: str) -> dict[str, tuple[str, ...]]:
    """Return the targets that `only` names: rooms ("training", "models/parts") or files, by commas; "" is all.

    Raises ValueError for a name that fits none.
    """
    names = [name.strip().rstrip("/").removeprefix("src/tlaam/") for name in only.split(",") if name.strip()]
    found = {}
    for name in names:
        fitting = {path: tests for path, tests in TARGETS.items() if _fits(path.removeprefix("src/tlaam/"), name)}
        if not fitting:
            raise ValueError(f"nothing that is mutated is called {name}; there are {', '.join(_FILES)}")
        found.update(fitting)
    return found if names else dict(TARGETS)


def _fits(path: str, name: str) -> bool:
    return path in (name, f"{name}.py") or path.startswith(f"{name}/")
