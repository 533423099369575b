"""What the settings `architecture`, `localizer`, `parts` and `attention` may name, and how each is made.

A system is a file and its registration: a function ``make`` in the module's own file, and one line that gives it a
name. The package's own lines stand at the end of this file; other packages call the same functions (docs/adding.md).
``make`` may be given as ``"package.module:function"``, which is imported when the first one is made, so that names are
known, and help is printed, without PyTorch.

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
from typing import TYPE_CHECKING, Any, Literal, get_args

from tlaam.errors import ConfigError, ModelError, did_you_mean

if TYPE_CHECKING:
    from tlaam.config import ModelConfig
    from tlaam.model.architecture import Architecture
    from tlaam.model.attention import ChannelAttention
    from tlaam.model.backbone import Backbone
    from tlaam.model.localizer import Localizer
    from tlaam.model.parts import PartProposer

GROUP = "tlaam.systems"
"""Group of entry points: each is a function without arguments that registers what its package brings."""

Kind = Literal["architecture", "localizer", "parts", "attention"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What is registered, by the option that names it."""

LOCALIZER_OPTIONS = ("heatmap_layer", "threshold", "threshold_rule", "heatmap_upsample")
"""Options that some localisers take and others do not."""

_RESERVED = ("none", "auto")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]*")


@dataclass(frozen=True)
class Registration:
    """How something is made.

    Attributes:
        make: the function, or ``"module:function"``.
        options: of a localiser, which of `LOCALIZER_OPTIONS` it takes.
        defaults: of a localiser, what stands for options that the settings leave open.
        threshold_is_share: of a localiser, whether its threshold has to be below 1.
        needs_raw_epochs: of an architecture, whether it has to be shown its task in at least one raw epoch.
    """

    make: Callable[..., Any] | str
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
    make: Callable[[ModelConfig, Backbone], Localizer] | str,
    *,
    options: Iterable[str] | Mapping[str, Any] = (),
    threshold_is_share: bool = False,
) -> None:
    """Let the setting `localizer` name a localiser.

    Args:
        name: lower-case letters, digits and ``_ . + -``.
        make: called as ``make(config, backbone)`` with resolved settings and the backbone it will read; or
            ``"module:function"``.
        options: which of `LOCALIZER_OPTIONS` it takes; the others are refused with it. Given as a mapping, with what
            stands for an option that the settings leave open (`None` there: what `make` makes of it); it is written
            into the settings of a run (`tlaam.defaults.resolve`), which another default later on does not change.
        threshold_is_share: refuse a `threshold` of 1 or more, which a share or a probability never exceeds.

    Raises:
        ConfigError: the name is impossible or another's, or there is no such option.
    """
    taken = tuple(options)
    for option in taken:
        if option not in LOCALIZER_OPTIONS:
            raise ConfigError(
                f"localiser '{name}' cannot take the option '{option}'; options of localisers are "
                f"{', '.join(LOCALIZER_OPTIONS)}.{did_you_mean(option, LOCALIZER_OPTIONS)}"
            )
    defaults = {} if not isinstance(options, Mapping) else {o: v for o, v in options.items() if v is not None}
    _register("localizer", name, Registration(make, taken, defaults, threshold_is_share))


def register_parts(name: str, make: Callable[[ModelConfig, Backbone], PartProposer] | str) -> None:
    """Let the setting `parts` name a part proposer; arguments and errors as of `register_localizer`."""
    _register("parts", name, Registration(make))


def register_attention(name: str, make: Callable[..., ChannelAttention] | str) -> None:
    """Let the setting `attention` name a channel attention.

    Args:
        name: as of `register_localizer`.
        make: called as ``make(config, channels, channel_dim=axis)`` for each place in the backbone; or
            ``"module:function"``.

    Raises:
        ConfigError: the name is impossible or another's.
    """
    _register("attention", name, Registration(make))


def register_architecture(
    name: str,
    make: Callable[[ModelConfig, Callable[[], Backbone], int], Architecture] | str,
    *,
    needs_raw_epochs: bool = False,
) -> None:
    """Let the setting `architecture` name a network of its own, which has no modules of the two-level model.

    Args:
        name: as of `register_localizer`.
        make: called as ``make(config, make_backbone, classes)``; each ``make_backbone()`` is a new backbone with its
            pretrained weights. Or ``"module:function"``.
        needs_raw_epochs: refuse `raw_epochs` of 0.

    Raises:
        ConfigError: the name is impossible or another's.
    """
    _register("architecture", name, Registration(make, needs_raw_epochs=needs_raw_epochs))


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


def origins(config: ModelConfig) -> dict[str, str]:
    """Return where those of a model's modules stand that are not the package's own, by the options that name them."""
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


register_architecture("tlaam", "tlaam.model.build:make_tlaam")
register_architecture("racnn", "tlaam.model.racnn:make_racnn", needs_raw_epochs=True)
register_architecture("macnn", "tlaam.model.macnn:make_macnn", needs_raw_epochs=True)
register_architecture("tasn", "tlaam.model.tasn:make_tasn")

register_localizer(
    "foreground",
    "tlaam.model.foreground:make_foreground",
    options={"threshold": 0.25, "heatmap_upsample": 2},
    threshold_is_share=True,
)
register_localizer(
    "oaam",
    "tlaam.model.oaam:make_oaam",
    options={"heatmap_layer": None, "threshold": 1.0, "threshold_rule": None, "heatmap_upsample": 1},
)
register_localizer(
    "cam", "tlaam.model.cam:make_cam", options={"threshold": 0.2, "heatmap_upsample": 4}, threshold_is_share=True
)
# The thresholds are the papers': Grad-CAM's 0.15, and of Grad-CAM++'s three the middle one. As the papers do, maps are
# upsampled before it, at stride 32 to cells of 8 pixels.
for _name, _function, _threshold in (("gradcam", "make_gradcam", 0.15), ("gradcam++", "make_gradcam_plus_plus", 0.25)):
    register_localizer(
        _name,
        f"tlaam.model.cam:{_function}",
        options={"heatmap_layer": None, "threshold": _threshold, "heatmap_upsample": 4},
        threshold_is_share=True,
    )
register_localizer("scda", "tlaam.model.scda:make_scda")
register_localizer("aolm", "tlaam.model.aolm:make_aolm")
register_localizer("center", "tlaam.model.fixed_box:make_center")
register_localizer("full", "tlaam.model.fixed_box:make_full")

register_parts("mpalm", "tlaam.model.parts:make_mpalm")
register_parts("appm", "tlaam.model.appm:make_appm")
register_parts("appm_vehicles", "tlaam.model.appm:make_appm_for_vehicles")
register_parts("random", "tlaam.model.random_windows:make_random_windows")

register_attention("lcam", "tlaam.model.attention:make_lcam")
register_attention("eca", "tlaam.model.attention:make_eca")
register_attention("se", "tlaam.model.attention:make_se")

_OWN = frozenset((kind, name) for kind in KINDS for name in _registered[kind])
"""The package's own."""
