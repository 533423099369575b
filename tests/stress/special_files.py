"""What may lie where a file is expected, and is none that can be read to its end."""

from __future__ import annotations

import os
from pathlib import Path

_GIGABYTES = 20 << 30


def make_special(path: Path, kind: str) -> None:
    """Put a pipe, an endless device, a folder, a link loop, sparse gigabytes, a file without rights, or nothing."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link loop":
        path.symlink_to(path)
    elif kind == "sparse gigabytes":
        with path.open("wb") as stream:
            stream.truncate(_GIGABYTES)
    elif kind == "no rights":
        path.write_bytes(b"image,label\n")
        path.chmod(0)
    elif kind != "absent":
        raise ValueError(f"there is no special file of kind {kind!r}")
