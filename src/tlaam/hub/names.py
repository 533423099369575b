"""Names of models on the hub in places that also take a folder or file: ``hf://owner/name``.

No path needs to be written like this: a local folder named ``hf:`` can be given with a single slash or as ``./hf:/``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tlaam.errors import ModelError

PREFIX = "hf://"

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")


class HubName(NamedTuple):
    """A repository ``owner/name`` on the hub and a branch, tag or commit of it; None for its main branch."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return PREFIX + self.repository + ("" if self.revision is None else f"@{self.revision}")


def is_hub_name(model: object) -> bool:
    """Return whether a model is given as text that starts like a hub name; a `Path` never is."""
    return isinstance(model, str) and model.startswith(PREFIX)


def is_repository(text: str) -> bool:
    """Return whether a text could name a repository, ``owner/name``."""
    return _REPOSITORY.fullmatch(text) is not None and ".." not in text and "--" not in text


def hub_name(model: str | Path, revision: str | None = None) -> HubName:
    """Parse ``hf://owner/name``, ``hf://owner/name@revision`` or ``owner/name``.

    Args:
        model: the name.
        revision: a branch, tag or commit, for a name without its own.

    Raises:
        ModelError: the name is invalid, or two different revisions are given.
    """
    repository, at, own = str(model).removeprefix(PREFIX).partition("@")
    if not is_repository(repository) or (at and not own):
        raise ModelError(
            f"'{model}' names no model of the Hugging Face hub; write {PREFIX}owner/name or "
            f"{PREFIX}owner/name@revision, in letters, digits and _ . -"
        )
    if own and revision not in (None, own):
        raise ModelError(f"'{model}' and revision '{revision}' name two revisions; leave one of them out.")
    return HubName(repository, own or revision)
