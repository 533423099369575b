"""Read what others saved their weights in, without running anything of it.

A checkpoint is a pickle, which can name any function and have it called. `torch.load(weights_only=True)` refuses all
names but tensors'. Training programs put more beside the weights, though: timm's its options (`argparse.Namespace`),
Lightning its hyper-parameters, others a best accuracy that is a NumPy scalar. The names of such records are let through
here, but not what they name: each is read as an empty record (`_Inert`) that takes and forgets whatever it is given.
Nothing is imported and no code but torch's reader and this file's runs, whatever a file holds. NumPy's arrays alone
keep their numbers.

A name that is no record's, such as a function or most of the standard library (``os.system``, ``builtins.exec``), is
refused, and said: who wrote that file is not to be trusted with the rest of it.
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
"""What weight files are called; what they are is seen from their content."""

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
"""What a checkpoint may name of the standard library."""
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Modules by the names that pickles of protocol 2 give them."""
_NETWORKS = ("timm.models.", "torch.nn.modules.", "torchvision.models.", "transformers.models.")
_LARGEST_LIST = 1 << 28
"""Bytes of a checkpoint's list of tensors, which has a line for each."""


class _Inert:
    """Stands for a record of another program: takes whatever it is given, and keeps nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Mapping(_Inert):
    """Stands for a dictionary of another kind; what is put in is left there."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


class _Sequence(_Inert):
    """Stands for a list of another kind."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return []


class _Type(_Inert):
    """A NumPy type of plain numbers, by its code (`f4`)."""

    code, order = "", "<"

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = code if isinstance(code, str) else ""

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if isinstance(state, tuple) and len(state) > 1 and state[1] == ">" else "<"

    def read(self, content: Any, shape: tuple[int, ...]) -> Tensor | None:
        """Return the numbers that bytes hold; None if they are no plain numbers."""
        if not isinstance(content, bytes) or self.code not in _CODES:
            return None
        numbers = np.frombuffer(content, self.order + self.code)
        if numbers.size != np.prod(shape, dtype=np.int64):
            return None
        return torch.from_numpy(numbers.astype(self.code).reshape(shape).copy())


_CODES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"})


class _Array(_Inert):
    """A NumPy array."""

    value: Tensor | None = None

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], _Type):
            _, shape, kind, columns_first, content = state
            if isinstance(shape, tuple) and all(isinstance(side, int) and side >= 0 for side in shape):
                value = kind.read(content, shape[::-1] if columns_first else shape)
                self.value = value if value is None or not columns_first else value.permute(*range(len(shape))[::-1])


class _Reconstruct(_Inert):
    """NumPy's function that makes an empty array, which the file fills afterwards."""

    def __new__(cls, kind: Any = None, *_: Any) -> Any:
        return kind() if isinstance(kind, type) and issubclass(kind, _Array) else super().__new__(cls)


def read_weights(path: Path) -> Any:
    """Return what a weight file holds: dictionaries and lists of tensors, numbers and text, records left empty.

    Args:
        path: a safetensors file, or a checkpoint that `torch.save` wrote, of whatever ending.

    Raises:
        ModelError: there is none, it cannot be read, or it names what is no record.
    """
    try:
        require_regular(path)
        if path.suffix == ".safetensors" or _is_safetensors(path):
            return load_file(path)
        names = _named(path)
        if refused := sorted(name for name in names if _is_refused(name)):
            raise ModelError(_refusal(path, refused))
        # torch finds a stand-in by the module and name that it says it has, after what torch reads by itself; of its
        # own functions no others are read.
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
    """Return the names that a checkpoint's pickles ask for, `module.name`, without reading any of them."""
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
        except Exception:  # no pickle, or no more of them: torch says what is wrong with it
            return


def _is_refused(name: str) -> bool:
    root, last = name.partition(".")[0], name.rpartition(".")[2]
    if name in _RECORDS:
        return False
    if root in sys.stdlib_module_names or name.startswith(_NETWORKS):
        return True
    # Records are classes; a function is there to be called. Torch's and NumPy's own make tensors and arrays.
    return root not in ("torch", "numpy") and not last.lstrip("_")[:1].isupper()


def _stand_in(name: str) -> type:
    """Return a class for a name that does nothing with what it is given."""
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
    """Return the same with NumPy's arrays as tensors."""
    if isinstance(loaded, _Array):
        return loaded.value
    if isinstance(loaded, dict):
        return {key: _with_arrays(value) for key, value in loaded.items()}
    return loaded
