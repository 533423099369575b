"""The docs' pages, links and pictures, and that the API reference is whole. `make docs` builds the site itself."""

from __future__ import annotations

import importlib.util
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import tlaam

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def text(page: Path) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def targets(page: Path) -> list[str]:
    """Return the files that a page links to or shows, as it writes them."""
    found = re.findall(r"\]\(([^)\s]+)\)", text(page))
    return [target.partition("#")[0] for target in found if "://" not in target and not target.startswith("#")]


def in_nav(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for inner in entry.values() if isinstance(entry, dict) else entry:
            yield from in_nav(inner)


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_in_the_navigation_once() -> None:
    listed = list(in_nav(SETTINGS["nav"]))
    assert sorted(listed) == sorted(["index.md", *(page.relative_to(DOCS).as_posix() for page in PAGES)])
    assert not (DOCS / "index.md").exists()  # the README is


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for target in targets(page):
        assert (page.parent / target).exists(), target


def test_every_picture_is_shown() -> None:
    shown = {(page.parent / target).resolve() for page in [ROOT / "README.md", *PAGES] for target in targets(page)}
    assert [picture.name for picture in (DOCS / "images").iterdir() if picture.resolve() not in shown] == []


def test_the_reference_documents_every_public_name(hooks: ModuleType) -> None:
    documented = hooks.documented()
    assert [name for name in tlaam.__all__ if f"tlaam.{name}" not in documented] == []


def test_the_reference_documents_only_what_there_is(hooks: ModuleType) -> None:
    for name in hooks.documented():
        file = ROOT / "src" / name.replace(".", "/")
        in_module = file.parent.with_suffix(".py")
        assert (
            file.with_suffix(".py").exists()
            or name.rpartition(".")[2] in tlaam.__all__
            or f"class {file.name}" in in_module.read_text(encoding="utf-8")
        ), name


@pytest.mark.parametrize(
    ("path", "link", "on_the_site"),
    [
        ("README.md", "[a](docs/json.md#b)", "[a](json.md#b)"),
        ("README.md", "![a](docs/images/b.jpg)", "![a](images/b.jpg)"),
        ("README.md", "[a](src/tlaam/models/parts/mpalm.py)", "[a][tlaam.models.parts.mpalm]"),
        ("docs/a.md", "[a\nb](../src/tlaam/models/parts/mpalm.py)", "[a\nb][tlaam.models.parts.mpalm]"),
        ("docs/a.md", "[a](../LICENSE)", '<span class="in-repository" title="LICENSE">a</span>'),
        ("docs/a.md", "[a](b.py)", '<span class="in-repository" title="docs/b.py">a</span>'),
        ("docs/a.md", "[a](../README.md#b)", "[a](index.md#b)"),
        ("docs/reference/a.md", "[a](../../README.md)", "[a](../index.md)"),
        ("docs/reference/a.md", "[a](../json.md)", "[a](../json.md)"),
        ("docs/a.md", "[a](https://example.org/b) [c](#d)", "[a](https://example.org/b) [c](#d)"),
        ("docs/a.md", "```\n[a](../LICENSE)\n```", "```\n[a](../LICENSE)\n```"),
    ],
)
def test_links_are_turned_for_the_site(hooks: ModuleType, path: str, link: str, on_the_site: str) -> None:
    assert hooks.with_links(link, path, None, {"tlaam.models.parts.mpalm"}) == on_the_site


def test_with_a_repository_links_lead_there(hooks: ModuleType) -> None:
    url = "https://example.org/tlaam"
    turned = hooks.with_links(
        "[a](../src/tlaam/models/parts/mpalm.py)", "docs/a.md", f"{url}/", {"tlaam.models.parts.mpalm"}
    )
    assert turned == f"[a]({url}/blob/HEAD/src/tlaam/models/parts/mpalm.py)"


def test_no_page_leads_out_of_the_repository() -> None:
    for page in PAGES:
        folder = page.parent.relative_to(ROOT).as_posix()
        for target in targets(page):
            assert not posixpath.normpath(posixpath.join(folder, target)).startswith(".."), target
