"""The systems that can be compared, by name.

A system is defined by a set of options. Everything else (backbone, sizes, schedule, augmentation) belongs to the
comparison and is the same for all. A new system is an entry here, or a call of `register_system` (docs/adding.md).
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
        name: identifies the system, also in the names of its runs' folders.
        title: display title in tables.
        options: the settings that define it.
        larger_input: whether its input is enlarged until it costs as much as TL-AAM (`tlaam.comparison.budget`).
        of: for a variant, the name of the system that it is based on.
    """

    name: str
    title: str
    options: dict[str, Any] = field(default_factory=dict)
    larger_input: bool = False
    of: str = ""

    @property
    def is_trained(self) -> bool:
        """Whether it is trained for epochs; a frozen probe has hardly any randomness and runs once."""
        return str(self.options.get("epochs")) != "0"  # the options of a variant may be text


def _listed(*systems: System) -> dict[str, System]:
    return {system.name: system for system in systems}


SYSTEMS: dict[str, System] = _listed(
    System("plain", "plain backbone", _PLAIN),
    System("plain-larger", "plain backbone, larger input", _PLAIN, larger_input=True),
    # Not trained: classifiers on features of the pretrained backbone.
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
    # Single modules on the plain backbone, then all of them.
    System("plain+lcam", "plain + LCAM", {**_PLAIN, "attention": "lcam"}),
    System("plain+oaam", "plain + OAAM", {**_PLAIN, "localizer": "oaam"}),
    System("plain+mpalm", "plain + MPALM", {**_PLAIN, "parts": "mpalm"}),
    System("oaam", "TL-AAM's default with OAAM's boxes (all modules)", {"localizer": "oaam"}),
    # Other ways to find the object, everything else as in the default.
    System("cam", "boxes by CAM", {"localizer": "cam"}),
    System("gradcam", "boxes by Grad-CAM", {"localizer": "gradcam"}),
    System("gradcam++", "boxes by Grad-CAM++", {"localizer": "gradcam++"}),
    System("scda", "boxes by SCDA", {"localizer": "scda"}),
    System("aolm", "boxes by AOLM", {"localizer": "aolm"}),
    System("center", "the central box", {"localizer": "center"}),
    System("full", "the whole image", {"localizer": "full"}),
    # Other kinds of parts and channel attention, everything else as in the default.
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
"""Names that stand for several systems."""

OF_COMPARISON = ("architecture", "localizer", "parts", "attention", "seed", "keep", "select_on")
"""Options that are determined by the systems, the seeds or the protocol."""

RIVAL = "plain-larger"
"""The honest rival, included in every comparison of trained systems."""
PROBES = GROUPS["probes"]
"""Rivals that are not trained, included in every comparison."""
RIVALS = (RIVAL, *PROBES)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")


def register_system(system: System) -> None:
    """Register a system so that it can be compared by name; it also joins the group ``all``.

    Raises:
        ConfigError: the name is invalid, or is that of a group or another system.
    """
    require_name("system", system.name)
    if system.name in GROUPS or SYSTEMS.get(system.name, system) != system:
        raise ConfigError(f"there is a system or group '{system.name}' already; choose another name.")
    SYSTEMS[system.name] = system
    GROUPS["all"] = tuple(SYSTEMS)


def unregister_system(name: str) -> None:
    """Remove a registered system.

    Raises:
        ConfigError: there is no system of this name.
    """
    if SYSTEMS.pop(name, None) is None:
        raise ConfigError(f"there is no system '{name}'.{did_you_mean(name, SYSTEMS)}")
    GROUPS["all"] = tuple(SYSTEMS)


def variant(name: str, of: str, options: Mapping[str, Any]) -> System:
    """Return a variant of a system, with settings that override the comparison's.

    Args:
        name: name of the variant; letters, digits and ``+._-``.
        of: name of the system that it is based on.
        options: its settings, as accepted by `Config.from_flat`.

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
    """Return the systems for the given names of systems and groups, each once, followed by their rivals.

    The rivals are the probes, and the honest rival if any of the systems is trained. `System` objects are returned as
    they are. Systems registered by installed packages are known.

    Raises:
        ConfigError: a name is unknown, two systems have the same name, or a system has a module that is registered only
            in this process and would be unknown to the processes of a comparison's runs.
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
