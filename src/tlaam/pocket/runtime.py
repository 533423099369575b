"""ONNX Runtime Web, which computes answers in the browser: two third-party files, verified by their hashes."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tlaam.errors import ExportError
from tlaam.utils.atomic import write_atomically
from tlaam.utils.cache import cache_folder
from tlaam.utils.checksums import checksum
from tlaam.utils.text import shortened

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Integrity hash of the npm package, as npm publishes it."""
SCRIPT, PROGRAM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
HASHES = {
    SCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    PROGRAM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""SHA-256 of the package's files that a page needs, by their names in its ``dist`` folder."""

_PLACES = ("", "dist", "package/dist", f"{PACKAGE}/dist", f"node_modules/{PACKAGE}/dist")
_MOST = 1 << 26  # maximum file size in bytes
_SECONDS = 600

LICENSE = """\
ONNX Runtime Web (ort.js, ort.wasm)

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


@dataclass(frozen=True)
class Runtime:
    """The runtime's files, with verified hashes.

    Attributes:
        script: the JavaScript module.
        program: the WebAssembly program that the script runs.
    """

    script: bytes = field(repr=False)
    program: bytes = field(repr=False)


def find_runtime(folder: Path | None = None) -> Runtime:
    """Return the runtime from a folder, or else from the cache, which npm fills on first use.

    Args:
        folder: a folder with the two files, the unpacked package, or a ``node_modules`` folder that contains it.

    Raises:
        ExportError: the folder does not hold this version, npm is missing, or npm cannot fetch the package; the
            message says what to get.
        RunError: the disk is full.
    """
    if folder is not None:
        return _of_folder(folder)
    cache = cache_folder("runtime") / f"{PACKAGE}-{VERSION}"
    found = _held(cache)
    if found is None:
        found = _unpacked(_fetched())
        cache.mkdir(parents=True, exist_ok=True)
        write_atomically(cache / SCRIPT, found.script)
        write_atomically(cache / PROGRAM, found.program)
    return found


def _of_folder(folder: Path) -> Runtime:
    for place in _PLACES:
        if (found := _held(folder / place)) is not None:
            return found
    there = next((folder / place for place in _PLACES if (folder / place / SCRIPT).is_file()), None)
    if there is None:
        fault = f"--runtime: {folder} does not hold {SCRIPT} and {PROGRAM}"
    else:
        fault = f"--runtime: {there} holds another version of {PACKAGE}, or is damaged"
    raise ExportError(f"{fault}; give the folder of npm's package {PACKAGE}, version {VERSION}.")


def _held(folder: Path) -> Runtime | None:
    """Return the runtime in a folder; None if a file is missing or has another hash."""
    contents = []
    for name, wanted in HASHES.items():
        try:
            if (folder / name).stat().st_size > _MOST:
                return None
            contents.append((folder / name).read_bytes())
        except OSError:
            return None
        if checksum(contents[-1]) != wanted:
            return None
    return Runtime(*contents)


def _fetched() -> bytes:
    """Return the package's archive, fetched with the npm client and verified against the pinned hash.

    Raises:
        ExportError: npm is missing or fails, or the archive has another hash.
    """
    get = (
        f"get npm's package {PACKAGE}, version {VERSION}, on a machine with npm (npm pack {PACKAGE}@{VERSION}), unpack "
        "it, and give its folder by --runtime DIR"
    )
    npm = shutil.which("npm")
    if npm is None:
        raise ExportError(f"the page needs ONNX Runtime Web, and there is no npm here to fetch it: {get}.")
    with tempfile.TemporaryDirectory(prefix="tlaam-") as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--json", "--ignore-scripts", "--pack-destination", folder]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ExportError(f"npm cannot fetch {PACKAGE} ({error}): try again, or {get}.") from error
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            fault = shortened(_fault_of(done), 160)
            raise ExportError(f"npm cannot fetch {PACKAGE} ({fault}): try again, or {get}.")
        content = archives[0].read_bytes()
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode("ascii")
    if f"sha512-{digest}" != INTEGRITY:
        raise ExportError(f"what npm fetched is not {PACKAGE} {VERSION} as it was published: its hash is another.")
    return content


def _fault_of(done: subprocess.CompletedProcess[str]) -> str:
    try:
        error = json.loads(done.stdout)["error"]
        return str(error.get("summary") or error["code"])
    except (ValueError, KeyError, TypeError, AttributeError):
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return lines[0].strip() if lines else f"exit code {done.returncode}"


def _unpacked(archive: bytes) -> Runtime:
    """Return the two files from the package's verified archive.

    Raises:
        ExportError: a file is missing or has another hash.
    """
    with tempfile.SpooledTemporaryFile() as stream:
        stream.write(archive)
        stream.seek(0)
        contents = []
        with tarfile.open(fileobj=stream, mode="r:gz") as package:
            for name, wanted in HASHES.items():
                member = package.extractfile(f"package/dist/{name}")
                contents.append(b"" if member is None else member.read())
                if checksum(contents[-1]) != wanted:
                    raise ExportError(f"{name} of {PACKAGE} {VERSION} is not as it was published.")
    return Runtime(*contents)
