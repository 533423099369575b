"""The systems that can be compared, by name.

A system is a set of options that makes it what it is. Everything else (backbone, sizes, schedule, augmentation) is the
comparison's, the same for all. A new system is an entry here, or a call of `register_system` (docs/adding.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tlaam.config.registry import KINDS, in_this_process_only, load_installed, require_name
from tlaam.errors import ConfigError, did_you_mean

_PLAIN: dict[str, Any] = {"localizer": "none", "parts": "none", "attention": "none"}
_PROBE: dict[str, Any] = {**_PLAIN, "epochs": 0}
_AS_STATED: dict[str, Any] = {
    "localizer": "oaam",
    "attention": "lcam",
    "attention_gate": "sigmoid",
    "box_margin": 0.0,
    "part_windows": (96 / 448, 160 / 448, 224 / 448),
    "part_distinct": False,
    "norm_statistics": "shared",
}


@dataclass(frozen=True)
class System:
    """One system.

    Attributes:
        name: by which it is chosen, and which its runs' folders bear.
        title: what tables call it.
        options: the settings that make it.
        larger_input: whether it gets a larger input, until it costs what TL-AAM costs (`tlaam.comparison.budget`).
        of: of a variant, the name of the system that it is a variant of.
    """

    name: str
    title: str
    options: dict[str, Any] = field(default_factory=dict)
    larger_input: bool = False
    of: str = ""

    @property
    def is_trained(self) -> bool:
        """Whether it learns in epochs; a frozen probe has next to nothing random in it, and runs once."""
        return str(self.options.get("epochs")) != "0"  # a variant's options may be text


def _listed(*systems: System) -> dict[str, System]:
    return {system.name: system for system in systems}


SYSTEMS: dict[str, System] = _listed(
    System("plain", "plain backbone", _PLAIN),
    System("plain-larger", "plain backbone, larger input", _PLAIN, larger_input=True),
    # Not trained at all: classifiers on features of the pretrained backbone.
    System("probe", "frozen probe, whole image", _PROBE),
    System("probe-larger", "frozen probe, whole image, larger input", _PROBE, larger_input=True),
    System("probe-object", "frozen probe, image and object", {"parts": "none", "attention": "none", "epochs": 0}),
    System("tlaam", "TL-AAM, this project's default"),
    System("tlaam-as-stated", "TL-AAM as its authors state it", _AS_STATED),
    System("mmal", "MMAL-Net (AOLM + APPM)", {
        "localizer": "aolm", "parts": "appm", "attention": "none", "box_margin": 0.0, "norm_statistics": "shared",
    }),
    System("racnn", "RA-CNN", {**_PLAIN, "architecture": "racnn"}),
    System("macnn", "MA-CNN", {**_PLAIN, "architecture": "macnn"}),
    System("tasn", "TASN", {**_PLAIN, "architecture": "tasn"}),
    # One module at a time on the plain backbone, then all of them.
    System("plain+lcam", "plain + LCAM", {**_PLAIN, "attention": "lcam"}),
    System("plain+oaam", "plain + OAAM", {**_PLAIN, "localizer": "oaam"}),
    System("plain+mpalm", "plain + MPALM", {**_PLAIN, "parts": "mpalm"}),
    System("oaam", "TL-AAM's default with OAAM's boxes (all modules)", {"localizer": "oaam"}),
    # The object found in other ways, everything else as in the default.
    System("cam", "boxes by CAM", {"localizer": "cam"}),
    System("gradcam", "boxes by Grad-CAM", {"localizer": "gradcam"}),
    System("gradcam++", "boxes by Grad-CAM++", {"localizer": "gradcam++"}),
    System("scda", "boxes by SCDA", {"localizer": "scda"}),
    System("aolm", "boxes by AOLM", {"localizer": "aolm"}),
    System("center", "the central box", {"localizer": "center"}),
    System("full", "the whole image", {"localizer": "full"}),
    # Parts and channel attention of other kinds, everything else as in the default.
    System("appm", "parts by APPM", {"parts": "appm"}),
    System("random-parts", "parts at random", {"parts": "random"}),
    System("no-parts", "no parts", {"parts": "none"}),
    System("eca", "ECA", {"attention": "eca"}),
    System("se", "squeeze and excitation", {"attention": "se"}),
    System("no-attention", "no channel attention", {"attention": "none"}),
)  # fmt: skip

GROUPS: dict[str, tuple[str, ...]] = {
    "default": ("plain", "plain-larger", "tlaam"),
    "probes": ("probe", "probe-larger", "probe-object"),
    "ablation": ("plain", "plain+lcam", "plain+oaam", "plain+mpalm", "oaam"),
    "localizers": ("tlaam", "oaam", "cam", "gradcam", "gradcam++", "scda", "aolm", "center", "full"),
    "parts": ("tlaam", "appm", "random-parts", "no-parts"),
    "attention": ("tlaam", "eca", "se", "no-attention"),
    "papers": ("plain", "plain-larger", "racnn", "macnn", "tasn", "mmal", "tlaam-as-stated", "tlaam"),
    "all": tuple(SYSTEMS),
}
"""Names for several systems at once."""

OF_COMPARISON = ("architecture", "localizer", "parts", "attention", "seed", "keep", "select_on")
"""Options that the systems, the seeds or the protocol decide."""

RIVAL = "plain-larger"
"""The honest rival, which every comparison of trained systems has."""
PROBES = GROUPS["probes"]
"""Rivals that are not trained, which every comparison has."""
RIVALS = (RIVAL, *PROBES)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")


def register_system(system: System) -> None:
    """Let a system be compared by its name, which also joins the group ``all``.

    Raises:
        ConfigError: the name is impossible, or that of a group or another system.
    """
    require_name("system", system.name)
    if system.name in GROUPS or SYSTEMS.get(system.name, system) != system:
        raise ConfigError(f"there is a system or group '{system.name}' already; choose another name.")
    SYSTEMS[system.name] = system
    GROUPS["all"] = tuple(SYSTEMS)


def unregister_system(name: str) -> None:
    """Forget a system.

    Raises:
        ConfigError: there is none of this name.
    """
    if SYSTEMS.pop(name, None) is None:
        raise ConfigError(f"there is no system '{name}'.{did_you_mean(name, SYSTEMS)}")
    GROUPS["all"] = tuple(SYSTEMS)


def variant(name: str, of: str, options: Mapping[str, Any]) -> System:
    """Return a system with settings of its own, which win over the comparison's.

    Args:
        name: what to call it; letters, digits and ``+._-``.
        of: the system it is a variant of.
        options: its settings, as `Config.from_flat` takes them.

    Raises:
        ConfigError: the name is another system's or cannot name a folder, or there is no system `of`.
    """
    load_installed()
    if name in SYSTEMS or name in GROUPS or not _NAME.fullmatch(name):
        raise ConfigError(f"'{name}' cannot name a variant; give letters, digits and +._-, and no system's name.")
    if of not in SYSTEMS:
        raise ConfigError(f"there is no system '{of}' for {name} to be a variant of.{did_you_mean(of, SYSTEMS)}")
    base = SYSTEMS[of]
    own = ", ".join(f"{option}={value}" for option, value in options.items())
    return replace(base, name=name, title=f"{base.title}, {own or name}", options={**base.options, **options}, of=of)


def chosen(names: Iterable[str | System]) -> list[System]:
    """Return the systems that names of systems and groups stand for, each once, and behind them their rivals.

    Those are the probes, and the honest rival where any of them is trained. Systems that are given themselves stand for
    themselves. Those that installed packages register are known.

    Raises:
        ConfigError: a name is unknown, or two systems have one; or a system has a module that was registered in this
            process only, which the processes of a comparison's runs would not know.
    """
    load_installed()
    found: dict[str, System] = {}
    for name in names:
        if isinstance(name, System):
            if found.get(name.name, name) != name:
                raise ConfigError(f"two systems are called '{name.name}'; give one another name.")
            found[name.name] = name
            continue
        if name not in SYSTEMS and name not in GROUPS:
            raise ConfigError(
                f"there is no system or group '{name}'.{did_you_mean(name, [*SYSTEMS, *GROUPS])} Systems are "
                f"{', '.join(SYSTEMS)}; groups are {', '.join(GROUPS)}."
            )
        for member in GROUPS.get(name, (name,)):
            found[member] = SYSTEMS[member]
    if any(system.is_trained for system in found.values()):
        found.setdefault(RIVAL, SYSTEMS[RIVAL])
    for name in PROBES:
        found.setdefault(name, SYSTEMS[name])
    for system in found.values():
        _require_known_elsewhere(system)
    return list(found.values())


def _require_known_elsewhere(system: System) -> None:
    for kind in KINDS:
        name = system.options.get(kind)
        if isinstance(name, str) and in_this_process_only(kind, name):
            raise ConfigError(
                f"system '{system.name}' has {kind} '{name}', which was registered in this process only; each run of a "
                "comparison is a process of its own. Register it by an entry point of an installed package "
                "(docs/adding.md)."
            )
