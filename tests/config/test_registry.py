"""Names and what they stand for: found, refused, never imported because a file says so."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tlaam.comparison.systems import GROUPS, SYSTEMS, System, chosen, register_system, unregister_system
from tlaam.config import registry
from tlaam.config.options import choices
from tlaam.config.registry import Kind, find, maker, names, register_localizer, register_parts, unregister
from tlaam.config.schema import Config
from tlaam.config.sections import ModelConfig
from tlaam.errors import ConfigError, ModelError
from tlaam.inference.store import load_model, save_model
from tlaam.models.build import build_model
from tlaam.models.localizers.fixed_box import FixedBox
from tlaam.utils.checksums import with_checksum

SMALL: dict[str, Any] = {
    "backbone": "resnet18", "pretrained": "none", "image_size": 64, "source_size": 64, "parts": "none",
}  # fmt: skip


def make(config: ModelConfig, backbone: Any) -> FixedBox:
    return FixedBox(0.25)


def make_other(config: ModelConfig, backbone: Any) -> FixedBox:
    return FixedBox(0.75)


@pytest.fixture
def quarter() -> Iterator[None]:
    """A localiser that only this process knows."""
    register_localizer("quarter", make, options=("threshold",))
    yield
    unregister("localizer", "quarter")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Installs a package whose entry point is the function ``register`` of the given code, for this process."""
    before = {kind: dict(found) for kind, found in registry._registered.items()}
    monkeypatch.setattr(registry, "_registered", before)
    monkeypatch.setattr(registry, "_of_packages", set())
    monkeypatch.setattr(registry, "_loaded", False)

    def install(code: str) -> None:
        site = tmp_path / "site"
        information = site / "tlaam_others-1.0.dist-info"
        information.mkdir(parents=True)
        (site / "tlaam_others.py").write_text(code)
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: tlaam-others\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text("[tlaam.systems]\nothers = tlaam_others:register\n")
        monkeypatch.syspath_prepend(str(site))

    yield install
    sys.modules.pop("tlaam_others", None)


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_own_name_leads_to_a_function(kind: Kind) -> None:
    assert names(kind)
    for name in names(kind):
        found = find(kind, name)
        assert found is not None
        module, _, function = found.origin.partition(":")
        assert maker(kind, name) is getattr(import_module(module), function)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"attention": "lcm"},
            "attention = 'lcm': Input should be 'lcam', 'eca', 'se' or 'none'. Did you mean 'lcam'?",
        ),
        ({"attention": 3}, "attention = 3: Input should be 'lcam', 'eca', 'se' or 'none'."),
        ({"attention": None}, "attention = None: Input should be 'lcam', 'eca', 'se' or 'none'."),
        (
            {"architecture": "none"},
            "architecture = 'none': Input should be 'tlaam', 'racnn', 'macnn' or 'tasn'.",
        ),
        (
            {"localizer": "grad-cam"},
            "localizer = 'grad-cam': Input should be 'foreground', 'oaam', 'cam', 'gradcam', 'gradcam++', 'scda', "
            "'aolm', 'center', 'full' or 'none'. Did you mean 'gradcam'?",
        ),
    ],
)
def test_an_unknown_name_is_refused_with_those_there_are(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_flat(options)
    assert str(caught.value) == message


def test_a_registered_name_is_a_setting_and_its_module_is_built(quarter: None) -> None:
    assert choices("localizer")[-2:] == ("quarter", "none")
    config = Config.from_flat({**SMALL, "localizer": "quarter", "threshold": 3}).model
    model = build_model(config, 2)
    assert isinstance(model.localizer, FixedBox) and model.localizer.share == 0.25
    with pytest.raises(ConfigError, match=r"heatmap_upsample goes with localizer=.*; the localiser is quarter"):
        Config.from_flat({"localizer": "quarter", "heatmap_upsample": 2})
    with pytest.raises(ConfigError, match="Did you mean 'quarter'"):
        Config.from_flat({"localizer": "quater"})


def test_a_share_is_below_one() -> None:
    register_localizer("share", make, options=("threshold",), threshold_is_share=True)
    try:
        with pytest.raises(ConfigError, match="threshold 3 must be below 1 with localizer=share"):
            Config.from_flat({"localizer": "share", "threshold": 3})
    finally:
        unregister("localizer", "share")


def test_a_name_is_anothers_or_free(quarter: None) -> None:
    register_localizer("quarter", make)  # the same function again, as from a notebook's cell
    with pytest.raises(ConfigError, match=r"'quarter' is registered already, by .*:make; choose another"):
        register_localizer("quarter", make_other)
    with pytest.raises(ConfigError, match="'oaam' is registered already, by tlaam"):
        register_localizer("oaam", make)
    register_parts("quarter", make_other)  # type: ignore[arg-type]
    unregister("parts", "quarter")
    with pytest.raises(ConfigError, match="parts 'quarter' is not registered"):
        unregister("parts", "quarter")


@pytest.mark.parametrize("name", ["none", "auto", "", "A", "a b", "a,b", "../a", "a/b", ".a", "a\n"])
def test_an_impossible_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a localizer"):
        register_localizer(name, make)
    with pytest.raises(ConfigError, match="cannot be the name of a system"):
        register_system(System(name, "a title"))


def test_an_impossible_registration_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot take the option 'treshold'.*Did you mean 'threshold'"):
        register_localizer("quarter", make, options=("treshold",))
    with pytest.raises(ConfigError, match=r"is made by 'os.system'; give a function, or 'package.module:function'"):
        register_localizer("quarter", "os.system")
    register_localizer("quarter", "tlaam_is_not_there:make")
    try:
        with pytest.raises(ModelError, match="registered as tlaam_is_not_there:make, which cannot be had: No module"):
            build_model(Config.from_flat({**SMALL, "localizer": "quarter"}).model, 2)
    finally:
        unregister("localizer", "quarter")


def test_a_model_of_an_unregistered_module_is_refused_and_nothing_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_localizer("quarter", make)
    try:
        config = Config.from_flat({**SMALL, "localizer": "quarter"}).model
        save_model(tmp_path, build_model(config, 2), config, ["a", "b"])
        assert isinstance(load_model(tmp_path).network.localizer, FixedBox)
    finally:
        unregister("localizer", "quarter")
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path)
    said = str(caught.value)
    for part in ("localizer 'quarter' is not registered here", f"{__name__}:make", "tlaam.systems", "aolm"):
        assert part in said
    assert "\n" not in said

    (tmp_path / "tlaam_trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "config.json"
    description = json.loads(path.read_text())
    for name in ("tlaam_trap", "tlaam_trap:make", "tlaam_trap.make"):
        for kind in registry.KINDS:
            model = {**description["model"], "localizer": "oaam", kind: name}
            changed = {**description, "model": model, "registered_by": {kind: "tlaam_trap:make"}}
            path.write_text(json.dumps(with_checksum(changed)))
            with pytest.raises(ModelError, match=f"{kind} '{name}' is not registered here"):
                load_model(tmp_path)
            with pytest.raises(ConfigError, match=f"{kind} = '{name}'"):
                Config.from_flat({kind: name})
    assert "tlaam_trap" not in sys.modules


def test_the_description_says_what_brought_a_module(tmp_path: Path, quarter: None) -> None:
    for localizer, brought in (("quarter", {"localizer": f"{__name__}:make"}), ("oaam", {})):
        config = Config.from_flat({**SMALL, "localizer": localizer}).model
        save_model(tmp_path, build_model(config, 2), config, ["a", "b"])
        assert json.loads((tmp_path / "config.json").read_text())["registered_by"] == brought


def test_what_a_package_registers_is_loaded_when_a_name_needs_it(installed: Callable[[str], None]) -> None:
    installed(
        "from tlaam.config.registry import register_localizer\n"
        "def make(config, backbone): ...\n"
        "def register():\n"
        "    register_localizer('others', make)\n"
    )
    assert find("localizer", "oaam") is not None
    assert "tlaam_others" not in sys.modules
    assert Config.from_flat({"localizer": "others"}).model.localizer == "others"
    assert "others" in names("localizer") and not registry.in_this_process_only("localizer", "others")


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines."),
        ("", "AttributeError"),
        ("register = 3", "TypeError"),
        (
            "from tlaam.config.registry import register_parts\ndef register(): register_parts('mpalm', print)",
            "ConfigError: parts 'mpalm' is registered already",
        ),
    ],
)
def test_a_package_that_cannot_be_loaded_is_named(installed: Callable[[str], None], code: str, fault: str) -> None:
    installed(code)
    for _ in range(2):  # said each time, not only the first
        with pytest.raises(ConfigError) as caught:
            Config.from_flat({"localizer": "others"})
        said = str(caught.value)
        assert "'others = tlaam_others:register' (group tlaam.systems) of the installed package tlaam-others" in said
        assert fault in said and said.endswith("Mend or uninstall that package.") and "\n" not in said
    assert Config.from_flat({"localizer": "oaam"}).model.localizer == "oaam"


def test_a_registered_system_is_compared_by_its_name(quarter: None) -> None:
    system = System("mine", "a system of mine", {"localizer": "oaam"})
    register_system(system)
    try:
        register_system(system)
        assert chosen(["mine"])[0] == system and GROUPS["all"][-1] == "mine"
        for taken in (System("mine", "another"), System("oaam", "another"), System("papers", "another")):
            with pytest.raises(ConfigError, match=f"a system or group '{taken.name}' already"):
                register_system(taken)
    finally:
        unregister_system("mine")
    assert GROUPS["all"] == tuple(SYSTEMS) and "mine" not in SYSTEMS
    with pytest.raises(ConfigError, match="no system 'mine'"):
        unregister_system("mine")


def test_a_system_that_other_processes_would_not_know_is_not_compared(quarter: None) -> None:
    register_system(System("mine", "a system of mine", {"localizer": "quarter"}))
    try:
        with pytest.raises(ConfigError, match="'mine' has localizer 'quarter', which was registered in this process"):
            chosen(["mine"])
        assert chosen(["oaam"])
    finally:
        unregister_system("mine")
