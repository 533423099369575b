"""Get a public data set by download or from local archives: verified, extracted, and either complete or absent."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tlaam.data.download.archives import Archive, PublicDataSet, find
from tlaam.data.download.fetch import discard, fetch
from tlaam.data.download.unpack import unpack
from tlaam.errors import DataError
from tlaam.utils.atomic import full_disk_named
from tlaam.utils.lock import locked

STORE = ".archives"
"""The folder in DIR in which downloaded archives are kept, with one folder for each data set."""

Bar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Starts a progress bar of that name; yields a function to call with the bytes done and their total."""

_CHUNK = 1 << 20


def _no_bar(what: str) -> AbstractContextManager[Callable[[int, int], None]]:
    return nullcontext(lambda done, total: None)


def download(
    name: str,
    folder: str | Path,
    *,
    archives: Iterable[str | Path] = (),
    unverified: bool = False,
    progress: Bar = _no_bar,
    say: Callable[[str], None] = print,
) -> Path:
    """Put a public data set into `folder` under its official folder name, unless it is there already.

    Archives are downloaded into ``<folder>/.archives/<name>/`` and kept there; complete or partial files that already
    lie there are used. Size and digest of each are verified; if no digest is known, the SHA-256 is reported instead.
    All archives are extracted to a folder beside the destination (`tlaam.data.download.unpack`), which is moved into
    place at the end, so that an interrupted call leaves no partial data set. Nothing that exists is overwritten.

    Args:
        name: one of `tlaam.data.download.archives.DATA_SETS`.
        archives: files to use instead of downloading; identified by their official names, or by any name if the data
            set is a single archive.
        unverified: accept `archives` whose size or digest differs from the published one.
        progress: shows the progress of downloading, checking and extracting; silent by default.
        say: called with one line for everything worth knowing.

    Returns:
        The data set's folder.

    Raises:
        ConfigError: there is no data set of that name.
        DataError: it cannot be downloaded (the message says what to place where), the server fails or sends another
            file, an archive is not the published one, is damaged or dangerous, there is too little space, or the data
            set's folder exists but lacks something.
        RunError: another process is downloading it to `folder`, or the disk is full.
    """
    data_set = find(name)
    folder = Path(folder).expanduser()
    target, store = folder / data_set.folder, folder / STORE / data_set.name
    given = _assigned(data_set, archives)
    if os.path.lexists(target):
        return _existing(data_set, target, say)
    for archive, path in given.items():
        _check_given(archive, path, unverified=unverified, progress=progress, say=say)
    _require_obtainable(data_set, folder, store, given)
    with full_disk_named(folder, "run the same command again; it continues."):
        store.mkdir(parents=True, exist_ok=True)
        with locked(store / ".lock", folder):
            if os.path.lexists(target):  # made by another process before we held the lock
                return _existing(data_set, target, say)
            _require_space(data_set, folder, store, given)
            files = {
                archive: given.get(archive) or _downloaded(archive, store, progress, say)
                for archive in data_set.archives
            }
            _extract(data_set, files, target, progress)
            if len(given) < len(files):
                say(f"The archives are kept in {store}; they may be removed.")
    return target


def _assigned(data_set: PublicDataSet, paths: Iterable[str | Path]) -> dict[Archive, Path]:
    """Find out which archive each file is."""
    by_name = {archive.file: archive for archive in data_set.archives}
    given: dict[Archive, Path] = {}
    for path in (Path(path).expanduser() for path in paths):
        if not path.is_file():
            raise DataError(f"There is no file '{path}'; give the path of {' or '.join(by_name)}.")
        archive = data_set.archives[0] if len(by_name) == 1 else by_name.get(path.name)
        if archive is None:
            raise DataError(
                f"'{path.name}' is no archive of {data_set.title}; they are {', '.join(by_name)}. Give the file its "
                "official name."
            )
        if archive in given:
            raise DataError(f"'{given[archive]}' and '{path}' are both given for {archive.file}; give one of them.")
        given[archive] = path
    return given


def _existing(data_set: PublicDataSet, target: Path, say: Callable[[str], None]) -> Path:
    if missing := _missing(data_set, target):
        raise DataError(
            f"'{target}' is there already, but it is not the whole of {data_set.title}: {', '.join(missing)} missing. "
            "It was left as it is; move it away or choose another DIR."
        )
    say(f"{data_set.title} is there already; nothing was downloaded.")
    return target


def _missing(data_set: PublicDataSet, home: Path) -> list[str]:
    if data_set.or_holds and all((home / name).exists() for name in data_set.or_holds):
        return []
    return [name for name in data_set.holds if not (home / name).exists()]


def _require_obtainable(data_set: PublicDataSet, folder: Path, store: Path, given: Mapping[Archive, Path]) -> None:
    """Check that everything that cannot be downloaded is at hand, before anything else is downloaded."""
    missing = [
        archive.file if archive.size is None else f"{archive.file} ({archive.size:,} bytes)"
        for archive in data_set.archives
        if archive.url is None and archive not in given and not (store / archive.file).exists()
    ]
    if missing:
        options = [("--archive", str(given.get(archive, archive.file))) for archive in data_set.archives]
        again = shlex.join(
            ["tlaam", "download", data_set.name, str(folder), *(word for pair in options for word in pair)]
        )
        other = f"; or, in the other published form: {', '.join(data_set.or_holds)}" if data_set.or_holds else ""
        raise DataError(
            f"{data_set.title} cannot be downloaded: {data_set.obstacle} ({data_set.page}). Get {', '.join(missing)} "
            f"by hand, then run `{again}` with the paths of the files, or put them into {store} and run the same "
            f"command again. Extracted already, it belongs into {folder / data_set.folder}: "
            f"{', '.join(data_set.holds)}{other}."
        )


def _require_space(data_set: PublicDataSet, folder: Path, store: Path, given: Mapping[Archive, Path]) -> None:
    needed = 0
    for archive in data_set.archives:
        path = given.get(archive, store / archive.file)
        size = path.stat().st_size if path.exists() else archive.size or 0
        needed += size  # for extraction: photographs take as much space as their archive
        if not path.exists():
            part = _part(path)
            needed += size - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"'{folder}' has {free / 1e9:.1f} GB of space, but {data_set.title} needs {needed / 1e9:.1f} GB more. "
            "Free some space or choose another DIR."
        )


def _check_given(archive: Archive, path: Path, *, unverified: bool, progress: Bar, say: Callable[[str], None]) -> None:
    fault = _fault(archive, path, progress, say)
    if fault and not unverified:
        raise DataError(
            f"'{path}' is not the published {archive.file}: {fault}. Get it anew, or take it with --unverified."
        )
    if fault:
        say(f"'{path}' is not the published {archive.file}: {fault}. It is taken because of --unverified.")


def _downloaded(archive: Archive, store: Path, progress: Bar, say: Callable[[str], None]) -> Path:
    """Return a verified archive in `store`, downloading it if it is not there."""
    path = store / archive.file
    part = _part(path)
    if path.exists():
        if fault := _fault(archive, path, progress, say):
            raise DataError(
                f"'{path}' is not the published {archive.file}: {fault}. Remove it and run the command again."
            )
        discard(part)  # left by a process that was killed after it had completed the archive
        return path
    assert archive.url is not None and archive.size is not None  # see `_require_obtainable`
    with progress(f"downloading {archive.file}") as show:
        fetch(archive.url, part, archive.size, show=show, say=say)
    if fault := _fault(archive, part, progress, say):
        discard(part)
        raise DataError(
            f"{archive.url} sent something else than the published {archive.file}: {fault}. It was removed; try again "
            f"later, or get the file in another way and give it with --archive {archive.file}."
        )
    part.replace(path)
    discard(part)
    return path


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _fault(archive: Archive, path: Path, progress: Bar, say: Callable[[str], None]) -> str | None:
    """Return why a file is not the published archive; None if it is, or if there is nothing to compare it with."""
    size = path.stat().st_size
    if archive.size not in (None, size):
        return f"it has {size} bytes instead of {archive.size}"
    algorithm, _, expected = (archive.digest or "sha256:").partition(":")
    with progress(f"checking {archive.file}") as show:
        found = _digest(path, algorithm, show)
    if not expected:
        say(f"{archive.file} was not checked against a known hash, since none is known; its SHA-256 is {found}.")
    elif found != expected:
        return f"its {algorithm.upper()} is {found} instead of {expected}"
    return None


def _digest(path: Path, algorithm: str, show: Callable[[int, int], None]) -> str:
    digest, size = hashlib.new(algorithm, usedforsecurity=False), path.stat().st_size
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            show(stream.tell(), size)
    return digest.hexdigest()


def _extract(data_set: PublicDataSet, files: Mapping[Archive, Path], target: Path, progress: Bar) -> None:
    """Extract all archives beside `target`, check that nothing is missing, and only then move the folder into place."""
    staging = target.with_name(f".tlaam-{target.name}.tmp")
    if staging.exists():  # left by a process that was killed: we hold the lock
        shutil.rmtree(staging)
    staging.mkdir()
    try:
        for archive, path in files.items():
            if archive.is_packed:
                with progress(f"extracting {archive.file}") as show:
                    unpack(path, staging, leave_out=data_set.folder, show=show)
            else:
                shutil.copyfile(path, staging / archive.file)
        if missing := _missing(data_set, staging):
            raise DataError(
                f"{', '.join(map(str, files.values()))} did not hold the whole of {data_set.title}: "
                f"{', '.join(missing)} missing. Nothing was extracted; give the published archives."
            )
        if sys.platform != "win32":
            os.sync()  # the folder's name must mean complete files even after a power cut
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
