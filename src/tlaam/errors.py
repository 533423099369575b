"""Errors that a user can meet. Each message says what was received, what is allowed and what to do.

The command line prints them as one line and exits with a non-zero status. In Python they are ordinary exceptions.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class TlaamError(Exception):
    """Base class of all errors that the caller can fix, as opposed to defects of this package."""


class ConfigError(TlaamError):
    """An option is unknown, has the wrong type or has an impossible value."""


class DataError(TlaamError):
    """A data set, an image or its annotations cannot be used as given."""


class ModelError(TlaamError):
    """A backbone, its weights or a saved model cannot be used as requested."""


class RunError(TlaamError):
    """An output folder is missing, incomplete, in use, or belongs to other data."""


class ExportError(TlaamError):
    """A model cannot be written in another format, or the written file does not give the model's answers."""


class MissingPackageError(TlaamError):
    """The requested feature needs packages that are not installed. The message says how to install them."""

    exit_code = 2


class MissingAttributeError(MissingPackageError, AttributeError):
    """A public name of the package needs packages that are not installed; ``hasattr`` therefore returns False."""


class InputError(DataError, TypeError):
    """An image or a data set is of a type that is not accepted. The message says what is accepted."""


def did_you_mean(received: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the name closest to `received`, or an empty string if none is close."""
    matches = get_close_matches(received, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{matches[0]}'?" if matches else ""
