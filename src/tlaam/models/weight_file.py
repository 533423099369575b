"""Read weight files of other programs without running any code from them.

A checkpoint is a pickle, which can name any function and have it called. `torch.load(weights_only=True)` refuses all
names except those of tensors. Training programs save more than weights, though: timm saves its options
(`argparse.Namespace`), Lightning its hyper-parameters, others the best accuracy as a NumPy scalar. This module accepts
the names of such records but does not load what they name: each is read as an empty record (`_Inert`) that accepts and
discards whatever it is given. Whatever a file holds, nothing is imported, and no code runs except torch's reader and
this file. Only NumPy arrays keep their numbers.

A name that does not belong to a record, such as a function or most of the standard library (``os.system``,
``builtins.exec``), is refused with an error: the rest of such a file cannot be trusted either.
"""

from __future__ import annotations

import io
import pickletools
import re
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tlaam.errors import ModelError
from tlaam.utils.reading import require_regular

SUFFIXES = (".safetensors", ".pth", ".pt", ".pth.tar", ".tar", ".ckpt", ".bin")
"""Suffixes of weight files; the actual format is recognised from the content."""

_RECORDS = frozenset(
    {"argparse.Namespace", "builtins.bytearray", "builtins.complex", "builtins.frozenset", "builtins.object",
     "builtins.set", "builtins.slice", "_codecs.encode", "collections.Counter", "collections.OrderedDict",
     "collections.defaultdict", "collections.deque", "copyreg._reconstructor", "datetime.date", "datetime.datetime",
     "datetime.timedelta", "decimal.Decimal", "fractions.Fraction", "functools.partial", "pathlib.Path",
     "pathlib.PosixPath", "pathlib.PurePath", "pathlib.PurePosixPath", "pathlib.WindowsPath", "pathlib._local.Path",
     "pathlib._local.PosixPath", "pathlib._local.WindowsPath", "types.SimpleNamespace", "typing.Any", "uuid.UUID",
     "builtins.dict", "builtins.list", "builtins.tuple", "builtins.int", "builtins.float", "builtins.str",
     "builtins.bool"}
)  # fmt: skip
"""Names from the standard library that a checkpoint may contain."""
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Current names of modules that pickles of protocol 2 refer to by older names."""
_NETWORKS = ("timm.models.", "torch.nn.modules.", "torchvision.models.", "transformers.models.")
_LARGEST_LIST = 1 << 28
"""Maximum size in bytes of a checkpoint's list of tensors, which has one entry per tensor."""


class _Inert:
    """Stand-in for a record of another program: accepts any arguments and keeps nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Mapping(_Inert):
    """Stand-in for another dictionary type; its items are kept."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


class _Sequence(_Inert):
    """Stand-in for another list type."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return []


class _Type(_Inert):
    """Stand-in for a NumPy dtype of plain numbers, given by its code (`f4`)."""

    code, order = "", "<"

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = code if isinstance(code, str) else ""

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if isinstance(state, tuple) and len(state) > 1 and state[1] == ">" else "<"

    def read(self, content: Any, shape: tuple[int, ...]) -> Tensor | None:
        """Return the numbers stored in bytes; None if they are not plain numbers."""
        if not isinstance(content, bytes) or self.code not in _CODES:
            return None
        numbers = np.frombuffer(content, self.order + self.code)
        if numbers.size != np.prod(shape, dtype=np.int64):
            return None
        return torch.from_numpy(numbers.astype(self.code).reshape(shape).copy())


_CODES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"})


class _Array(_Inert):
    """Stand-in for a NumPy array."""

    value: Tensor | None = None

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], _Type):
            _, shape, kind, columns_first, content = state
            if isinstance(shape, tuple) and all(isinstance(side, int) and side >= 0 for side in shape):
                value = kind.read(content, shape[::-1] if columns_first else shape)
                self.value = value if value is None or not columns_first else value.permute(*range(len(shape))[::-1])


class _Reconstruct(_Inert):
    """Stand-in for NumPy's function that creates an empty array, which the file fills afterwards."""

    def __new__(cls, kind: Any = None, *_: Any) -> Any:
        return kind() if isinstance(kind, type) and issubclass(kind, _Array) else super().__new__(cls)


def read_weights(path: Path) -> Any:
    """Return the contents of a weight file: dictionaries and lists of tensors, numbers and text; records are empty.

    Args:
        path: a safetensors file, or a checkpoint written by `torch.save`, with any suffix.

    Raises:
        ModelError: the file does not exist, cannot be read, or names something that is not a record.
    """
    try:
        require_regular(path)
        if path.suffix == ".safetensors" or _is_safetensors(path):
            return load_file(path)
        names = _named(path)
        if refused := sorted(name for name in names if _is_refused(name)):
            raise ModelError(_refusal(path, refused))
        # torch looks up a stand-in by its declared module and name, after the names that torch reads by itself. No
        # other functions of torch are allowed.
        stand_ins: list[Any] = [
            _stand_in(name) for name in sorted(names) if not re.match(r"torch\.(\w+\.)*[a-z_]\w*$", name)
        ]
        with torch.serialization.safe_globals(stand_ins):
            return _with_arrays(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise ModelError(f"there is no weight file {path}.") from error
    except ModelError:
        raise
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise ModelError(f"{path} is not a readable weight file: {' '.join(str(error).split())[:200]}") from error
    except Exception as error:  # weights_only raises pickle's errors for anything but tensors and records
        raise ModelError(f"{path} holds more than tensors and is not loaded ({type(error).__name__}).") from error


def _refusal(path: Path, names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    if any(name.startswith(_NETWORKS) for name in names):
        return (
            f"{path} holds more than tensors and is not loaded: it is a whole network, which only its code could read. "
            "Save the weights where that code runs: torch.save(model.state_dict(), 'weights.pth')."
        )
    return (
        f"{path} holds more than tensors and is not loaded: it names {', '.join(names[:3])}{more}. Where you trust it, "
        "save its weights alone: torch.save(checkpoint['state_dict'], 'weights.pth')."
    )


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and 0 < int.from_bytes(start[:8], "little") <= path.stat().st_size - 8


def _named(path: Path) -> set[str]:
    """Return the names that a checkpoint's pickles refer to, as `module.name`, without loading any of them."""
    names: set[str] = set()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.rpartition("/")[2] == "data.pkl":
                    if entry.file_size > _LARGEST_LIST:
                        raise ValueError(f"its list of tensors has {entry.file_size:,} bytes")
                    names |= set(_names(io.BytesIO(archive.read(entry)), 1))
        return names
    with path.open("rb") as file:
        return set(_names(file, 5))  # the old format: magic number, version, system, object, storages' keys


def _names(stream: BinaryIO, pickles: int) -> Iterator[str]:
    for _ in range(pickles):
        try:
            for code, argument, _ in pickletools.genops(stream):
                if code.name in ("GLOBAL", "INST") and isinstance(argument, str):
                    module, _, name = argument.partition(" ")
                    yield f"{_RENAMED.get(module, module)}.{name}"
        except Exception:  # not a pickle, or no further one: torch reports what is wrong with it
            return


def _is_refused(name: str) -> bool:
    root, last = name.partition(".")[0], name.rpartition(".")[2]
    if name in _RECORDS:
        return False
    if root in sys.stdlib_module_names or name.startswith(_NETWORKS):
        return True
    # Records are classes; a function would be called. Functions of torch and NumPy create tensors and arrays.
    return root not in ("torch", "numpy") and not last.lstrip("_")[:1].isupper()


def _stand_in(name: str) -> type:
    """Return the stand-in class for a name; it runs nothing that the name refers to."""
    module, _, last = name.rpartition(".")
    kind: type = _Inert
    if module.partition(".")[0] == "numpy":
        kind = {"dtype": _Type, "ndarray": _Array, "_reconstruct": _Reconstruct}.get(last, _Inert)
    elif "dict" in last.lower() or last in ("CfgNode", "Config", "Munch", "Box"):
        kind = _Mapping
    elif last in ("deque", "list"):
        kind = _Sequence
    return type(last, (kind,), {"__module__": module})


def _with_arrays(loaded: Any) -> Any:
    """Return the same structure with NumPy arrays converted to tensors."""
    if isinstance(loaded, _Array):
        return loaded.value
    if isinstance(loaded, dict):
        return {key: _with_arrays(value) for key, value in loaded.items()}
    return loaded
