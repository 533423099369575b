"""Writing the page: a folder of static files that any web server can serve and a phone can install."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath

from tlaam.errors import ExportError, ModelError
from tlaam.inference.engine import Engine
from tlaam.inference.onnx import OnnxModel
from tlaam.pocket.facts import facts_of
from tlaam.pocket.icons import icon
from tlaam.pocket.runtime import LICENSE, Runtime
from tlaam.service.texts import filled, read_static
from tlaam.utils.atomic import full_disk_named, write_atomically
from tlaam.utils.checksums import checksum
from tlaam.utils.text import valid_text

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'"
)
"""The content security policy: only the page's own origin is allowed."""
LIST = "files.json"
"""Lists all other files with their sizes and hashes."""
_LAST = ("index.html", LIST, "sw.js")
"""Written last, once all the files that they refer to exist."""

_INSIDE = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)
"""A path that a page's file list may contain."""

_SHARED = ("card.js", "picture.js", "receiving.js", "texts.js", "style.css")
"""Files shared with the page that ``tlaam demo`` serves."""
_OWN = (
    "answering.js", "engine.js", "exif.js", "keeping.js", "list.js", "objects.js", "offline.js", "page.css", "page.js",
    "pixels.js", "reading.js", "record.js", "tables.js", "worker.js",
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """The page that was written.

    Attributes:
        folder: the folder that holds it.
        sizes: size of each file in bytes, by its path in the folder.
    """

    folder: Path
    sizes: Mapping[str, int]


def write_page(
    engine: Engine, folder: Path, runtime: Runtime, texts: Mapping[str, str], *, title: str = "", pictures: bool = True
) -> Page:
    """Write a page that gives the same answers as a model.

    Files of an older page in the folder are replaced; those that refer to other files are written last. A folder that
    holds anything else is left alone.

    Args:
        engine: the engine of an ONNX file that ``tlaam export`` wrote.
        folder: the folder to write; it is created if it does not exist.
        runtime: the runtime that computes the answers.
        texts: the texts of the page (`tlaam.pocket.texts.page_texts`).
        title: title of the page and its name on a phone; by default the model file's name.
        pictures: include the pictures of look-alikes, if the model has a reference index.

    Raises:
        ExportError: the engine's model is not an ONNX file, or the folder holds something other than a page.
        ModelError: the file has changed, or a picture of the index is damaged.
        RunError: the disk is full.
        OSError: a file cannot be written.
    """
    model = engine.model
    if not isinstance(model, OnnxModel):
        raise ExportError("a page is made of an ONNX file; export the run first.")
    older = _older(folder)
    graph = model.path.read_bytes()
    if checksum(graph) != model.checksum:
        raise ModelError(f"{model.path} has changed since it was loaded; give the command again.")
    said = {**texts, "title": valid_text(title.strip() or model.path.stem)}
    files = {**_application(said), **_model(engine, graph, pictures), **_runtime(runtime)}
    files[LIST] = _json({"files": _listed(files)})
    service = _read("sw.js").replace("__FILES__", json.dumps(_listed(files), sort_keys=True))
    files["sw.js"] = service.replace("__POLICY__", POLICY).encode()
    with full_disk_named(folder, "give the same command again."):
        for path in sorted(files, key=lambda path: (_LAST.index(path) if path in _LAST else -1, path)):
            target = folder.joinpath(*PurePosixPath(path).parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, files[path])
        for path in older - set(files):
            folder.joinpath(*PurePosixPath(path).parts).unlink(missing_ok=True)
    return Page(folder, {path: len(content) for path, content in files.items()})


def _application(said: Mapping[str, str]) -> dict[str, bytes]:
    page = _read("index.html").replace("POLICY", POLICY)
    drawn = {f"icons/icon-{side}.png": icon(side) for side in (192, 512)}
    return {
        "index.html": filled(page, said).encode(),
        "manifest.json": _manifest(said),
        "icons/icon.svg": read_static("icon.svg").encode(),
        "icons/maskable-512.png": icon(512, maskable=True),
        **drawn,
        **{f"app/{name}": read_static(name).encode() for name in _SHARED},
        **{f"app/{name}": _read(name).encode() for name in _OWN},
        "app/texts.json": _json({name: text for name, text in said.items() if name != "title"}),
    }


def _manifest(said: Mapping[str, str]) -> bytes:
    """Return the web app manifest, which phones and desktops use to install the page."""
    icons = [
        {"src": f"icons/icon-{side}.png", "sizes": f"{side}x{side}", "type": "image/png", "purpose": "any"}
        for side in (192, 512)
    ]
    icons.append({"src": "icons/maskable-512.png", "sizes": "512x512", "type": "image/png", "purpose": "maskable"})
    return _json(
        {
            "name": said["title"],
            "short_name": said["title"],
            "description": said["page.promise"],
            "lang": said["lang"],
            "dir": said["dir"],
            "id": "./",
            "start_url": "./",
            "scope": "./",
            "display": "standalone",
            "background_color": "#f6f5f1",
            "theme_color": "#0f766e",
            "icons": icons,
        }
    )


def _model(engine: Engine, graph: bytes, pictures: bool) -> dict[str, bytes]:
    facts = facts_of(engine, graph, pictures=pictures)
    files = {"model/model.onnx": graph, "model/model.json": _json(facts.values)}
    if facts.alike:
        files["model/look-alikes.bin"] = facts.alike
    if facts.pictures:
        files["model/pictures.bin"] = facts.pictures
    return files


def _runtime(runtime: Runtime) -> dict[str, bytes]:
    """Return the runtime's files; the script is renamed to .js because some servers do not know .mjs."""
    return {
        "runtime/ort.js": runtime.script,
        "runtime/ort.wasm": runtime.program,
        "runtime/LICENSE.txt": LICENSE.encode(),
    }


def _listed(files: Mapping[str, bytes]) -> dict[str, dict[str, int | str]]:
    return {path: {"bytes": len(content), "sha256": checksum(content)} for path, content in sorted(files.items())}


def _older(folder: Path) -> set[str]:
    """Return the files of an existing page in the folder.

    Raises:
        ExportError: the folder holds something else.
    """
    if not folder.exists():
        return set()
    if not folder.is_dir():
        raise ExportError(f"--page: {folder} is a file; name a folder to write.")
    if not any(folder.iterdir()):
        return set()
    try:
        listed = json.loads((folder / LIST).read_text(encoding="utf-8"))["files"]
        paths = [PurePosixPath(path) for path in listed]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"--page: {folder} holds something else than a page; name a new folder, or an empty one."
        ) from error
    return {str(path) for path in paths if _INSIDE.fullmatch(str(path)) and ".." not in path.parts}


def _read(name: str) -> str:
    return resources.files("tlaam.pocket").joinpath("page", name).read_text(encoding="utf-8")


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=True) + "\n").encode("ascii")
