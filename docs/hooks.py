"""What MkDocs is told beyond mkdocs.yml: the start page, links that leave docs/, equations, what is searched.

The pages are written to be read in the repository too. There a link may lead to any of its files; on the site a file
outside docs/ is in the repository, if mkdocs.yml names one, else in the API reference where that documents it, else
only its path is shown.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_SOURCE = '<details class="mkdocstrings-source">'
_EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Make the README the start page."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "index.md", content=(ROOT / "README.md").read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links for the site."""
    path = "README.md" if page.file.src_uri == "index.md" else f"docs/{page.file.src_uri}"
    return with_links(markdown, path, config.repo_url, documented())


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn equations into MathML, which browsers draw by themselves; keep source code out of the search."""
    from latex2mathml.converter import convert

    def drawn(found: re.Match[str]) -> str:
        return str(convert(html.unescape(found[2]), display="block" if found[1] == "div" else "inline"))

    searched = content.replace(_SOURCE, f"{_SOURCE[:-1]} data-search-exclude>")
    return _EQUATION.sub(drawn, searched)


def documented() -> Set[str]:
    """Return the names that the API reference documents."""
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md")]
    return {name for page in pages for name in re.findall(r"^::: (\S+)", page, re.MULTILINE)}


def with_links(markdown: str, path: str, repository: str | None, names: Set[str]) -> str:
    """Return a page with the links that the site needs; code blocks stay as they are.

    Args:
        markdown: the page.
        path: of the page, from the repository's root.
        repository: its URL, or None.
        names: what the API reference documents.
    """

    def turned(found: re.Match[str]) -> str:
        image, text, target = found.groups()
        if "://" in target or target.startswith(("#", "mailto:")):
            return found[0]
        place, hash_sign, anchor = target.partition("#")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(path), place))
        if file.startswith("docs/") and not file.endswith(".py"):
            page = "docs" if path == "README.md" else posixpath.dirname(path)
            return f"{image}[{text}]({posixpath.relpath(file, page)}{hash_sign}{anchor})"
        if file == "README.md":
            start = posixpath.relpath("docs/index.md", posixpath.dirname(path) or "docs")
            return f"[{text}]({start}{hash_sign}{anchor})"
        if repository:
            return f"[{text}]({repository.rstrip('/')}/blob/HEAD/{file})"
        name = file.removeprefix("src/").removesuffix(".py").replace("/", ".")
        if name in names:
            return f"[{text}][{name}]"
        return f'<span class="in-repository" title="{file}">{text}</span>'

    pieces = _FENCE.split(markdown)
    return "".join(piece if number % 2 else _LINK.sub(turned, piece) for number, piece in enumerate(pieces))
