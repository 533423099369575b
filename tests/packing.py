"""Archives made for tests, good and bad ones."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile


def tar(*entries: tuple[str, bytes] | tarfile.TarInfo, compressed: bool = True) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry, io.BytesIO(bytes(entry.size)))
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                archive.addfile(info, io.BytesIO(entry[1]))
    return gzip.compress(stream.getvalue(), 1) if compressed else stream.getvalue()


def packed(*entries: tuple[str, bytes], mode: int = 0) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def special(name: str, kind: bytes, target: str = "", size: int = 0, mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, target, size, mode
    return info


def tiny_cub() -> bytes:
    """Return an archive as that of CUB-200-2011: two classes of two (empty) images, and a list beside the folder."""
    lists = {
        "images.txt": "1 001.Jay/a.jpg\n2 001.Jay/b.jpg\n3 002.Crow/c.jpg\n4 002.Crow/d.jpg\n",
        "image_class_labels.txt": "1 1\n2 1\n3 2\n4 2\n",
        "train_test_split.txt": "1 1\n2 0\n3 1\n4 0\n",
        "classes.txt": "1 001.Jay\n2 002.Crow\n",
        "bounding_boxes.txt": "1 1 1 5 5\n2 1 1 5 5\n3 1 1 5 5\n4 1 1 5 5\n",
        "README": "".join(f"{number}\n" for number in range(2000)),
    }
    files = {f"CUB_200_2011/{name}": text.encode() for name, text in lists.items()}
    files |= {f"CUB_200_2011/images/{line.split()[1]}": b"" for line in lists["images.txt"].splitlines()}
    files["attributes.txt"] = b"1 has_bill_shape::dagger\n"
    return tar(*files.items())
