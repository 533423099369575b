"""The runtime comes from a folder or from npm, and is believed by its hashes alone."""

from __future__ import annotations

import base64
import hashlib
import io
import sys
import tarfile
from pathlib import Path

import pytest

from tlaam.errors import ExportError
from tlaam.pocket import runtime
from tlaam.pocket.runtime import PROGRAM, SCRIPT, VERSION, Runtime, find_runtime

CONTENTS = {SCRIPT: b"export {};\n", PROGRAM: b"\0asm"}
EXPECTED = Runtime(CONTENTS[SCRIPT], CONTENTS[PROGRAM])


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as package:
        for name, content in {**CONTENTS, "evil.js": b"x"}.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def pinned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bytes:
    """A small package in the place of the real one; the cache is empty."""
    content = archive()
    hashes = {name: hashlib.sha256(each).hexdigest() for name, each in CONTENTS.items()}
    monkeypatch.setattr(runtime, "HASHES", hashes)
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    monkeypatch.setattr(runtime, "INTEGRITY", f"sha512-{digest}")
    monkeypatch.setenv("TLAAM_CACHE", str(tmp_path / "cache"))
    return content


def npm(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> Path:
    """Put a client in the place of npm, which writes down that it was called."""
    folder.mkdir()
    script = folder / "npm"
    noted = f"open({str(folder / 'calls')!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10))"
    script.write_text(f"#!{sys.executable}\nimport sys\n{noted}\n{program}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder / "calls"


@pytest.mark.parametrize("place", [".", "dist", "node_modules/onnxruntime-web/dist"])
def test_a_folder_holds_it(place: str, tmp_path: Path) -> None:
    (tmp_path / "given" / place).mkdir(parents=True)
    for name, content in CONTENTS.items():
        (tmp_path / "given" / place / name).write_bytes(content)
    assert find_runtime(tmp_path / "given") == EXPECTED


def test_a_folder_without_it_or_with_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=f"does not hold .* onnxruntime-web, version {VERSION}"):
        find_runtime(tmp_path)
    (tmp_path / SCRIPT).write_bytes(CONTENTS[SCRIPT])
    (tmp_path / PROGRAM).write_bytes(b"another")
    with pytest.raises(ExportError, match="holds another version"):
        find_runtime(tmp_path)


def test_npm_fetches_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pinned: bytes) -> None:
    place = "sys.argv[sys.argv.index('--pack-destination') + 1]"
    calls = npm(tmp_path / "bin", monkeypatch, f"open({place} + '/a.tgz', 'wb').write({pinned!r})")
    assert find_runtime() == find_runtime() == EXPECTED
    assert len(calls.read_text().splitlines()) == 1 and f"pack onnxruntime-web@{VERSION}" in calls.read_text()
    (kept,) = (tmp_path / "cache" / "runtime").iterdir()
    assert sorted(path.name for path in kept.iterdir()) == sorted(CONTENTS)
    (kept / SCRIPT).write_bytes(b"damaged")
    assert find_runtime() == EXPECTED and (kept / SCRIPT).read_bytes() == CONTENTS[SCRIPT]


def test_another_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = "sys.argv[sys.argv.index('--pack-destination') + 1]"
    npm(tmp_path / "bin", monkeypatch, f"open({place} + '/a.tgz', 'wb').write(b'forged')")
    with pytest.raises(ExportError, match="its hash is another"):
        find_runtime()
    assert not (tmp_path / "cache").exists()


def test_without_npm_or_network_a_line_says_what_to_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(ExportError, match=r"there is no npm here.*npm pack onnxruntime-web@.*--runtime DIR"):
        find_runtime()
    npm(tmp_path / "bin", monkeypatch, """print('{"error": {"code": "E404", "summary": "not found"}}'); sys.exit(1)""")
    with pytest.raises(ExportError, match=r"npm cannot fetch onnxruntime-web \(not found\).*--runtime DIR"):
        find_runtime()
