"""The errors a user can meet. Each message says what was received, what is allowed and what to do.

The command line prints them as one line and exits non-zero; in Python they are ordinary exceptions.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class TlaamError(Exception):
    """Base of every error that is the caller's to mend rather than a defect of this package."""


class ConfigError(TlaamError):
    """An option is unknown, has the wrong type or an impossible value."""


class DataError(TlaamError):
    """A data set, an image or its annotations cannot be used as they are."""


class ModelError(TlaamError):
    """A backbone, its weights or a saved model cannot be used as asked."""


class RunError(TlaamError):
    """A folder that is written to is missing, incomplete, in use, or belongs to other data."""


class ExportError(TlaamError):
    """A model cannot be written in another format, or what was written does not answer as the model does."""


class MissingPackageError(TlaamError):
    """What was asked for needs packages that are not installed; the message says how to install them."""

    exit_code = 2


class MissingAttributeError(MissingPackageError, AttributeError):
    """A public name of the package needs packages that are not installed, so that ``hasattr`` is False."""


class InputError(DataError, TypeError):
    """An image or a data set is given as something that is not accepted; the message says what is."""


def did_you_mean(received: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the name closest to `received`, or an empty string when none is close."""
    matches = get_close_matches(received, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{matches[0]}'?" if matches else ""
