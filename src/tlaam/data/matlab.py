"""Variables of MATLAB files, in which several official layouts keep their lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.data.official import Place, missing_part
from tlaam.errors import DataError, MissingPackageError
from tlaam.reading import require_regular

_LARGEST = 1 << 28  # bytes; the official lists have less than a million


def read_mat(path: Path, title: str, variable: str, *fields: str) -> NDArray[Any]:
    """Return a variable of a MATLAB file (version 7.2 or older, as the official ones are) as an array of rows.

    Args:
        title: of the layout, for errors.
        variable: its name.
        fields: what each row has to have, where the variable is a struct.

    Returns:
        Shape ``(N,)``: numbers, texts, or records of `fields`.

    Raises:
        DataError: the file is missing or damaged, or lacks the variable or a field of it.
        MissingPackageError: SciPy is not installed.
    """
    # Imported on demand: it takes as long as all else that reading images needs.
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise MissingPackageError(f"reading '{path}' needs SciPy: pip install scipy") from error

    try:
        require_regular(path, _LARGEST)
        found = loadmat(str(path), squeeze_me=True, variable_names=[variable])
    except FileNotFoundError as error:
        raise missing_part(path, title) from error
    except Exception as error:  # what damaged bytes raise is of nearly any kind
        raise DataError(f"Cannot read '{path}': {error}. Take it anew from the original archive.") from error
    if variable not in found:
        raise DataError(f"'{path}' has no variable '{variable}'. Take it anew from the original archive.")
    rows = np.atleast_1d(found[variable])
    for field in fields:
        if field not in (rows.dtype.names or ()):
            raise DataError(f"'{variable}' in '{path}' has no field '{field}'. Take it anew from the original archive.")
    return rows


def whole_value(value: Any, place: Place) -> int:
    """Return a value of such a file as a whole number; MATLAB's own numbers are fractions.

    Raises:
        DataError: it is none.
    """
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):  # a text or a matrix, NaN, infinity
        number = None
    if number is None or number != value:
        raise place.fault(f"'{value}' is not a whole number")
    return number
