"""What the settings `architecture`, `localizer`, `parts` and `attention` may name, and how each is made.

A system consists of a class in its own file and a registration: one call that gives it a name and says which settings
its arguments come from. The package's own registrations are at the end of this file; other packages call the same
functions (docs/adding.md). A class may be given as ``"package.module:Class"``. It is then imported when the first
instance is made, so names are known, and help is printed, without PyTorch. This file contains only names and strings;
`tlaam.models.build` makes networks from them.

Only code registers. A name in settings, data or a saved model is looked up here, and nothing that any of these names is
ever imported. The only code that is loaded without an explicit call is the entry points of the group `GROUP`. Only
packages that the user installed can have these, and they are loaded only if a name is not known without them or if all
names are listed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, get_args

from tlaam.errors import ConfigError, ModelError, did_you_mean

GROUP = "tlaam.systems"
"""Group of entry points; each is a function without arguments that registers what its package provides."""

Kind = Literal["architecture", "localizer", "parts", "attention"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The kinds of modules that can be registered, by the option that names them."""

LOCALIZER_OPTIONS = ("heatmap_layer", "threshold", "threshold_rule", "heatmap_upsample")
"""Options that some localisers take and others do not."""

_RESERVED = ("none", "auto")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]*")


Make = Callable[..., Any] | str
"""A class or a function, or the place where one is defined: ``"package.module:Class"``."""


@dataclass(frozen=True)
class Registration:
    """How a module is made.

    Attributes:
        make: the class or function, or ``"module:name"``.
        settings: maps argument names to the settings that they come from; None for a function that takes the settings
            themselves. If a setting is left open and has no default here, the argument keeps its own default.
        arguments: further arguments by name, independent of the settings.
        options: for a localiser, which of `LOCALIZER_OPTIONS` it takes.
        defaults: for a localiser, the values of options that the settings leave open.
        threshold_is_share: for a localiser, whether its threshold must be below 1.
        needs_raw_epochs: for an architecture, whether it needs at least one raw epoch to be shown its task.
    """

    make: Make
    settings: Mapping[str, str] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    threshold_is_share: bool = False
    needs_raw_epochs: bool = False

    @property
    def origin(self) -> str:
        """Where `make` is defined: ``module:function``."""
        if isinstance(self.make, str):
            return self.make
        return f"{self.make.__module__}:{getattr(self.make, '__qualname__', repr(self.make))}"


_registered: dict[Kind, dict[str, Registration]] = {kind: {} for kind in KINDS}
_of_packages: set[tuple[Kind, str]] = set()
_loading = _loaded = False


def register_localizer(
    name: str,
    make: Make,
    *,
    settings: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
    options: Iterable[str] | Mapping[str, Any] = (),
    threshold_is_share: bool = False,
) -> None:
    """Register a localiser as a value of the setting `localizer`.

    Args:
        name: lower-case letters, digits and ``_ . + -``.
        make: a subclass of `tlaam.models.localizers.base.Localizer`. If it has a class method ``for_backbone``, that is
            called instead; its first argument is the backbone that the localiser will read. A function without
            `settings` is called as ``make(config, backbone)``, with the resolved settings.
        settings: maps argument names to the settings that they come from, as ``{"upsample": "heatmap_upsample"}``.
        arguments: further arguments by name.
        options: which of `LOCALIZER_OPTIONS` it takes; the others are refused with it. A mapping also gives the value
            of each option that the settings leave open (`None`: the argument's own default). That value is written into
            the settings of a run (`tlaam.config.defaults.resolve`), so a later change of the default does not affect
            the run.
        threshold_is_share: refuse a `threshold` of 1 or more, which a share or a probability never exceeds.

    Raises:
        ConfigError: the name is impossible or already taken, or there is no such option.

    Examples:
        >>> from tlaam.models.localizers.oaam import OAAM
        >>> register_localizer("mine", OAAM, settings={"upsample": "heatmap_upsample"})
        >>> unregister("localizer", "mine")
    """
    taken = tuple(options)
    for option in taken:
        if option not in LOCALIZER_OPTIONS:
            raise ConfigError(
                f"localiser '{name}' cannot take the option '{option}'; options of localisers are "
                f"{', '.join(LOCALIZER_OPTIONS)}.{did_you_mean(option, LOCALIZER_OPTIONS)}"
            )
    defaults = {} if not isinstance(options, Mapping) else {o: v for o, v in options.items() if v is not None}
    registration = Registration(make, settings, arguments or {}, taken, defaults, threshold_is_share)
    _register("localizer", name, registration)


def register_parts(
    name: str, make: Make, *, settings: Mapping[str, str] | None = None, arguments: Mapping[str, Any] | None = None
) -> None:
    """Register a part proposer (`tlaam.models.parts.base.PartProposer`) as a value of the setting `parts`.

    For arguments and errors see `register_localizer`.

    Examples:
        >>> from tlaam.models.parts.mpalm import MPALM
        >>> register_parts("mine", MPALM)
        >>> unregister("parts", "mine")
    """
    _register("parts", name, Registration(make, settings, arguments or {}))


def register_attention(
    name: str, make: Make, *, settings: Mapping[str, str] | None = None, arguments: Mapping[str, Any] | None = None
) -> None:
    """Register a channel attention as a value of the setting `attention`.

    Args:
        name: see `register_localizer`.
        make: a subclass of `tlaam.models.attention.base.ChannelAttention`, called for each place in the backbone as
            ``make(channels, channel_dim=axis)``; a function without `settings` is called as
            ``make(config, channels, channel_dim=axis)``.
        settings, arguments: see `register_localizer`.

    Raises:
        ConfigError: the name is impossible or already taken.

    Examples:
        >>> from tlaam.models.attention.se import SE
        >>> register_attention("mine", SE)
        >>> unregister("attention", "mine")
    """
    _register("attention", name, Registration(make, settings, arguments or {}))


def register_architecture(
    name: str,
    make: Make,
    *,
    settings: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
    needs_raw_epochs: bool = False,
) -> None:
    """Register a network without modules of the two-level model as a value of the setting `architecture`.

    Args:
        name: see `register_localizer`.
        make: a subclass of `tlaam.models.architecture.Architecture` with a class method
            ``from_backbones(make_backbone, classes)``; each ``make_backbone()`` returns a new backbone with its
            pretrained weights. A function without `settings` is called as ``make(config, make_backbone, classes)``.
        settings, arguments: see `register_localizer`.
        needs_raw_epochs: refuse `raw_epochs` of 0.

    Raises:
        ConfigError: the name is impossible or already taken.

    Examples:
        >>> from tlaam.models.architecture import Architecture
        >>> class Mine(Architecture): ...
        >>> register_architecture("mine", Mine)
        >>> unregister("architecture", "mine")
    """
    registration = Registration(make, settings, arguments or {}, needs_raw_epochs=needs_raw_epochs)
    _register("architecture", name, registration)


def unregister(kind: Kind, name: str) -> None:
    """Remove a registered name.

    Raises:
        ConfigError: it is not registered.
    """
    if _registered[kind].pop(name, None) is None:
        raise ConfigError(f"{kind} '{name}' is not registered.{did_you_mean(name, _registered[kind])}")
    _of_packages.discard((kind, name))


def names(kind: Kind) -> tuple[str, ...]:
    """Return all names, including those from installed packages, in the order of their registration.

    Raises:
        ConfigError: an installed package's entry point cannot be loaded.
    """
    load_installed()
    return tuple(_registered[kind])


def find(kind: Kind, name: str) -> Registration | None:
    """Return what is registered under a name, if necessary by an installed package; None if nothing is.

    Raises:
        ConfigError: an installed package's entry point cannot be loaded.
    """
    if name not in _registered[kind]:
        load_installed()
    return _registered[kind].get(name)


def takers(option: str) -> list[str]:
    """Return the localisers that take one of `LOCALIZER_OPTIONS`."""
    return [name for name, found in _registered["localizer"].items() if option in found.options]


def maker(kind: Kind, name: str) -> Callable[..., Any]:
    """Return the function that makes the module registered under a name.

    Raises:
        ModelError: nothing is registered, or the function's module cannot be imported or has no such function.
    """
    found = find(kind, name)
    if found is None:
        raise ModelError(not_registered(kind, name))
    if not isinstance(found.make, str):
        return found.make
    module, _, function = found.make.partition(":")
    try:
        made_by: Callable[..., Any] = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"{kind} '{name}' is registered as {found.make}, which cannot be had: {error}.") from error
    return made_by


def not_registered(kind: Kind, name: str, origin: str = "") -> str:
    """Return the message that a name is not registered here, and what to do.

    `origin` is where the module was defined for whoever registered it.
    """
    brought = f" It stood in {origin}." if origin else ""
    return (
        f"{kind} '{name}' is not registered here.{did_you_mean(name, _registered[kind])}{brought} Install the package "
        f"that brings it (entry point group {GROUP}), or in Python register it first; known are "
        f"{', '.join(_registered[kind])}."
    )


def origins(config: Any) -> dict[str, str]:
    """Return where those of a model's modules are defined that do not belong to this package, by option.

    Args:
        config: the settings of a model, with `KINDS` as attributes.
    """
    found = {kind: _registered[kind].get(getattr(config, kind) or "none") for kind in KINDS}
    return {
        kind: entry.origin
        for kind, entry in found.items()
        if entry is not None and (kind, getattr(config, kind)) not in _OWN
    }


def in_this_process_only(kind: Kind, name: str) -> bool:
    """Return whether a name was registered by a call, so that another process would not know it."""
    load_installed()
    return name in _registered[kind] and (kind, name) not in _OWN | _of_packages


def load_installed() -> None:
    """Let installed packages register their modules, once per process.

    Raises:
        ConfigError: an entry point cannot be loaded, or its modules cannot be registered.
    """
    global _loaded, _loading
    if _loaded or _loading:  # entry points may look up names themselves
        return
    _loading = True
    try:
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
            _load(point)
        _loaded = True
    finally:
        _loading = False


def _load(point: EntryPoint) -> None:
    try:
        point.load()()
    except Exception as error:  # other packages may raise anything
        package = "an installed package" if point.dist is None else f"the installed package {point.dist.name}"
        raise ConfigError(
            f"the entry point '{point.name} = {point.value}' (group {GROUP}) of {package} cannot be loaded: "
            f"{type(error).__name__}: {' '.join(str(error).split())}. Mend or uninstall that package."
        ) from error


def require_name(what: str, name: str) -> None:
    """Refuse names that do not work on a command line or as a folder name.

    Raises:
        ConfigError: it is such a name.
    """
    if name in _RESERVED or not _NAME.fullmatch(name):
        raise ConfigError(
            f"'{name}' cannot be the name of a {what}; use lower-case letters, digits and _ . + -, and none of "
            f"{', '.join(_RESERVED)}."
        )


def _register(kind: Kind, name: str, new: Registration) -> None:
    require_name(kind, name)
    if isinstance(new.make, str) and not re.fullmatch(r"[\w.]+:\w+", new.make):
        raise ConfigError(f"{kind} '{name}' is made by '{new.make}'; give a function, or 'package.module:function'.")
    before = _registered[kind].get(name)
    if before is not None and before.origin != new.origin:  # the same function may register again, in a rerun cell
        raise ConfigError(f"{kind} '{name}' is registered already, by {before.origin}; choose another name.")
    _registered[kind][name] = new
    if _loading:
        _of_packages.add((kind, name))


_ZOOM = {"zoom_steps": "zoom_steps"}
_BOXED = {**_ZOOM, "threshold": "threshold", "upsample": "heatmap_upsample"}
_EXPLAINED = {**_BOXED, "layer": "heatmap_layer"}
_DROP = {"drop": "drop_rate"}
_GATE = {"gate": "attention_gate"}
_BASELINES, _LOCALIZERS = "tlaam.models.baselines", "tlaam.models.localizers"

register_architecture("tlaam", "tlaam.models.build:make_tlaam")
register_architecture("racnn", f"{_BASELINES}.racnn:RACNN", settings=_DROP, needs_raw_epochs=True)
register_architecture("macnn", f"{_BASELINES}.macnn:MACNN", settings=_DROP, needs_raw_epochs=True)
register_architecture("tasn", f"{_BASELINES}.tasn:TASN", settings=_DROP)

register_localizer(
    "foreground",
    f"{_LOCALIZERS}.foreground:Foreground",
    settings=_BOXED,
    options={"threshold": None, "heatmap_upsample": 2},
    threshold_is_share=True,
)
register_localizer(
    "oaam",
    f"{_LOCALIZERS}.oaam:OAAM",
    settings={**_EXPLAINED, "rule": "threshold_rule"},
    options={"heatmap_layer": None, "threshold": 1.0, "threshold_rule": None, "heatmap_upsample": 1},
)
register_localizer(
    "cam",
    f"{_LOCALIZERS}.cam:CAM",
    settings=_BOXED,
    options={"threshold": 0.2, "heatmap_upsample": 4},
    threshold_is_share=True,
)
# The thresholds are those of the papers: 0.15 for Grad-CAM, and the middle one of three for Grad-CAM++. As in the
# papers, maps are upsampled before the threshold, at stride 32 to cells of 8 pixels.
for _name, _class, _threshold in (("gradcam", "GradCAM", 0.15), ("gradcam++", "GradCAMPlusPlus", 0.25)):
    register_localizer(
        _name,
        f"{_LOCALIZERS}.cam:{_class}",
        settings=_EXPLAINED,
        options={"heatmap_layer": None, "threshold": _threshold, "heatmap_upsample": 4},
        threshold_is_share=True,
    )
register_localizer("scda", f"{_LOCALIZERS}.scda:SCDA", settings=_ZOOM)
register_localizer("aolm", f"{_LOCALIZERS}.aolm:AOLM", settings=_ZOOM)
register_localizer("center", f"{_LOCALIZERS}.fixed_box:CenterBox", settings=_ZOOM)
register_localizer("full", f"{_LOCALIZERS}.fixed_box:FullBox", settings=_ZOOM)

register_parts(
    "mpalm",
    "tlaam.models.parts.mpalm:MPALM",
    settings={
        "channels": "part_channels",
        "windows": "part_windows",
        "response": "part_response",
        "distinct": "part_distinct",
    },
)
register_parts("appm", "tlaam.models.parts.appm:APPM", settings={})
register_parts("contribution", "tlaam.models.parts.contribution:ContributionWindows", settings={})
register_parts("appm_vehicles", "tlaam.models.parts.appm:APPMForVehicles", settings={})
register_parts(
    "random",
    "tlaam.models.parts.random_windows:RandomWindows",
    settings={"places": "part_channels", "windows": "part_windows"},
)

register_attention("lcam", "tlaam.models.attention.lcam:LCAM", settings={**_GATE, "kernel": "attention_kernel"})
register_attention("eca", "tlaam.models.attention.lcam:ECA", settings={**_GATE, "kernel": "attention_kernel"})
register_attention("se", "tlaam.models.attention.se:SE", settings=_GATE)

_OWN = frozenset((kind, name) for kind in KINDS for name in _registered[kind])
"""Modules registered by this package itself."""
