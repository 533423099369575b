"""What the settings `architecture`, `localizer`, `parts` and `attention` may name, and how each is made.

A system is a class in a file of its own and its registration: a line that gives it a name, and says which settings its
arguments come from. The package's own lines stand at the end of this file; other packages call the same functions
(docs/adding.md). A class may be given as ``"package.module:Class"``, which is imported when the first one is made, so
that names are known, and help is printed, without PyTorch. This file knows names and strings alone; what makes networks
of them is `tlaam.models.build`.

Only code registers. A name that stands in settings, data or a saved model is looked up here, and nothing that any of
them says is ever imported. What is loaded without being called are the entry points of the group `GROUP`, which only
packages that the user installed can have, and only when a name is not known without them or all names are listed.
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
"""Group of entry points: each is a function without arguments that registers what its package brings."""

Kind = Literal["architecture", "localizer", "parts", "attention"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What is registered, by the option that names it."""

LOCALIZER_OPTIONS = ("heatmap_layer", "threshold", "threshold_rule", "heatmap_upsample")
"""Options that some localisers take and others do not."""

_RESERVED = ("none", "auto")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]*")


Make = Callable[..., Any] | str
"""A class, or a function, or where one of them stands: ``"package.module:Class"``."""


@dataclass(frozen=True)
class Registration:
    """How something is made.

    Attributes:
        make: the class or function, or ``"module:name"``.
        settings: of its arguments by name, the settings they come from; None of a function that is given the settings
            themselves. A setting that is left open, and has no default here, leaves the argument to its own default.
        arguments: further arguments by name, the same whatever the settings.
        options: of a localiser, which of `LOCALIZER_OPTIONS` it takes.
        defaults: of a localiser, what stands for options that the settings leave open.
        threshold_is_share: of a localiser, whether its threshold has to be below 1.
        needs_raw_epochs: of an architecture, whether it has to be shown its task in at least one raw epoch.
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
        """Where `make` stands: ``module:function``."""
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
    """Let the setting `localizer` name a localiser.

    Args:
        name: lower-case letters, digits and ``_ . + -``.
        make: a subclass of `tlaam.models.localizers.base.Localizer`. Where it has a class method ``for_backbone``, that
            is called, with the backbone it will read first. A function without `settings` is called as
            ``make(config, backbone)``, with the resolved settings.
        settings: of its arguments by name, the settings they come from, as ``{"upsample": "heatmap_upsample"}``.
        arguments: further arguments by name.
        options: which of `LOCALIZER_OPTIONS` it takes; the others are refused with it. Given as a mapping, with what
            stands for an option that the settings leave open (`None` there: the argument's own default); it is written
            into the settings of a run (`tlaam.config.defaults.resolve`), which another default later on does not
            change.
        threshold_is_share: refuse a `threshold` of 1 or more, which a share or a probability never exceeds.

    Raises:
        ConfigError: the name is impossible or another's, or there is no such option.

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
    """Let the setting `parts` name a part proposer (`tlaam.models.parts.base.PartProposer`).

    Arguments and errors as of `register_localizer`.

    >>> from tlaam.models.parts.mpalm import MPALM
    >>> register_parts("mine", MPALM)
    >>> unregister("parts", "mine")
    """
    _register("parts", name, Registration(make, settings, arguments or {}))


def register_attention(
    name: str, make: Make, *, settings: Mapping[str, str] | None = None, arguments: Mapping[str, Any] | None = None
) -> None:
    """Let the setting `attention` name a channel attention.

    Args:
        name: as of `register_localizer`.
        make: a subclass of `tlaam.models.attention.base.ChannelAttention`, called for each place in the backbone as
            ``make(channels, channel_dim=axis)``; a function without `settings` as
            ``make(config, channels, channel_dim=axis)``.
        settings, arguments: as of `register_localizer`.

    Raises:
        ConfigError: the name is impossible or another's.

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
    """Let the setting `architecture` name a network of its own, which has no modules of the two-level model.

    Args:
        name: as of `register_localizer`.
        make: a subclass of `tlaam.models.architecture.Architecture` with a class method
            ``from_backbones(make_backbone, classes)``; each ``make_backbone()`` is a new backbone with its pretrained
            weights. A function without `settings` is called as ``make(config, make_backbone, classes)``.
        settings, arguments: as of `register_localizer`.
        needs_raw_epochs: refuse `raw_epochs` of 0.

    Raises:
        ConfigError: the name is impossible or another's.

    >>> from tlaam.models.architecture import Architecture
    >>> class Mine(Architecture): ...
    >>> register_architecture("mine", Mine)
    >>> unregister("architecture", "mine")
    """
    registration = Registration(make, settings, arguments or {}, needs_raw_epochs=needs_raw_epochs)
    _register("architecture", name, registration)


def unregister(kind: Kind, name: str) -> None:
    """Forget a name.

    Raises:
        ConfigError: it is not registered.
    """
    if _registered[kind].pop(name, None) is None:
        raise ConfigError(f"{kind} '{name}' is not registered.{did_you_mean(name, _registered[kind])}")
    _of_packages.discard((kind, name))


def names(kind: Kind) -> tuple[str, ...]:
    """Return all names, also those that installed packages bring, in the order of their registration.

    Raises:
        ConfigError: an installed package's entry point cannot be loaded.
    """
    load_installed()
    return tuple(_registered[kind])


def find(kind: Kind, name: str) -> Registration | None:
    """Return what is registered under a name, if need be by an installed package; None where nothing is.

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
    """Return the function that makes what is registered under a name.

    Raises:
        ModelError: nothing is, or the function's module cannot be imported or has no such function.
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
    """Say that a name is not known here, and what to do; `origin` is where it stood for the one who knew it."""
    brought = f" It stood in {origin}." if origin else ""
    return (
        f"{kind} '{name}' is not registered here.{did_you_mean(name, _registered[kind])}{brought} Install the package "
        f"that brings it (entry point group {GROUP}), or in Python register it first; known are "
        f"{', '.join(_registered[kind])}."
    )


def origins(config: Any) -> dict[str, str]:
    """Return where those of a model's modules stand that are not the package's own, by the options that name them.

    Args:
        config: the settings of a model, which have `KINDS` as attributes.
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
    """Let installed packages register what they bring, once a process.

    Raises:
        ConfigError: an entry point cannot be loaded, or what it registers cannot be.
    """
    global _loaded, _loading
    if _loaded or _loading:  # what registers may itself look names up
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
    except Exception as error:  # whatever a package of others raises
        package = "an installed package" if point.dist is None else f"the installed package {point.dist.name}"
        raise ConfigError(
            f"the entry point '{point.name} = {point.value}' (group {GROUP}) of {package} cannot be loaded: "
            f"{type(error).__name__}: {' '.join(str(error).split())}. Mend or uninstall that package."
        ) from error


def require_name(what: str, name: str) -> None:
    """Refuse names that a command line or a folder could not bear.

    Raises:
        ConfigError: it is one.
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
    if before is not None and before.origin != new.origin:  # the same function again: a notebook's cell, run again
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
# The thresholds are the papers': Grad-CAM's 0.15, and of Grad-CAM++'s three the middle one. As the papers do, maps are
# upsampled before it, at stride 32 to cells of 8 pixels.
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
"""The package's own."""
