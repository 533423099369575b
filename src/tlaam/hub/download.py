"""Downloading a model from the Hugging Face hub: weights, description and reference index, and nothing else.

None of these files is code or makes any code run: the weights are safetensors, the description is JSON that can only
refer to what is already installed, and the index consists of arrays that are read from their bytes.
"""

from __future__ import annotations

import json
from pathlib import Path

from tlaam.errors import ModelError
from tlaam.hub.names import HubName, hub_name, is_hub_name, is_repository
from tlaam.utils.extras import require_extra
from tlaam.utils.reading import read_text

FILES = ("model.safetensors", "config.json")
MORE = ("gallery.npz",)
"""Optional files of a repository."""


def model_folder(name_or_folder: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a model; one on the Hugging Face hub is downloaded by `huggingface_hub.snapshot_download`.

    Only ``model.safetensors``, ``config.json`` and ``gallery.npz`` of a repository are downloaded, into the client's
    own cache, which also serves offline.

    Args:
        name_or_folder: ``hf://owner/name`` (or ``hf://owner/name@revision``) always refers to the hub; a `Path`, or
            text that begins with ``./``, ``../`` or ``/``, always to a folder. Other text, ``owner/name``, refers to
            that folder if it exists, else to the hub.
        revision: a branch, tag or commit of the repository; by default its main branch.

    Raises:
        ModelError: there is no such repository or revision, it is gated or private, or the hub is offline and there is
            no local copy.
        MissingPackageError: the hub's client is not installed.
    """
    if isinstance(name_or_folder, str) and not Path(name_or_folder).exists() and is_repository(name_or_folder):
        name = hub_name(name_or_folder, revision)
        return _snapshot(name, f" There is no folder '{name_or_folder}' here either.")
    if revision is not None and not is_hub_name(name_or_folder):
        raise ModelError(f"revision '{revision}' goes with a model of the hub; '{name_or_folder}' is a folder.")
    return local_folder(name_or_folder, revision)


def local_folder(model: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a model: a path as it is, and for ``hf://owner/name`` the folder it is downloaded to.

    Raises:
        ModelError: see `model_folder`.
        MissingPackageError: a hub name is given, and the hub's client is not installed.
    """
    return _snapshot(hub_name(model, revision)) if is_hub_name(model) else Path(model)


def _snapshot(name: HubName, hint: str = "") -> Path:
    require_extra(f"a model of the Hugging Face hub ({name})")
    import huggingface_hub.constants as hub
    from huggingface_hub import snapshot_download

    from tlaam.hub.client import hub_answers, quiet_hub

    reachable = hub.HF_HUB_OFFLINE or hub_answers()
    try:
        with quiet_hub(offline=not reachable):
            folder = Path(
                snapshot_download(
                    name.repository, revision=name.revision, allow_patterns=[*FILES, *MORE], endpoint=hub.ENDPOINT
                )
            )
    except Exception as error:  # the client's exception types differ between its releases
        raise ModelError(_fault(name, error) + hint) from error
    if missing := [file for file in FILES if not (folder / file).is_file()]:
        raise ModelError(f"{name} holds no model of tlaam: {' and '.join(missing)} missing.")
    _require_description(name, folder / FILES[1])
    return folder


def _fault(name: HubName, error: Exception) -> str:
    """Say why a model cannot be downloaded, and what to do."""
    import huggingface_hub.constants as hub
    from huggingface_hub import utils as kinds  # older releases have the exceptions only here

    from tlaam.hub.client import first_line

    if isinstance(error, kinds.GatedRepoError):  # type: ignore[attr-defined]  # not marked as exported, like the others
        return (
            f"{name} is gated: accept its terms at {hub.ENDPOINT}/{name.repository}, then log in (hf auth login, or "
            "HF_TOKEN)."
        )
    if isinstance(error, kinds.RepositoryNotFoundError):  # type: ignore[attr-defined]
        return (
            f"{hub.ENDPOINT} has no model {name.repository}, or it is private: check the name, or log in with a token "
            "that may read it (hf auth login, or HF_TOKEN)."
        )
    if isinstance(error, kinds.RevisionNotFoundError):  # type: ignore[attr-defined]
        return f"{name.repository} has no revision '{name.revision or 'main'}'."
    if isinstance(error, kinds.LocalEntryNotFoundError):  # type: ignore[attr-defined]
        way = "HF_HUB_OFFLINE is set" if hub.HF_HUB_OFFLINE else f"{hub.ENDPOINT} does not answer as it should"
        return (
            f"cannot get {name}: {way}, and no whole copy of it is here. Download it where there is a way (hf download "
            f"{name.repository}) and give the folder, or set HF_ENDPOINT to a mirror."
        )
    return f"cannot get {name}: {type(error).__name__}: {first_line(error)}."


def _require_description(name: HubName, file: Path) -> None:
    """Refuse an invalid description, naming it as on the hub; `load_model` reports other faults."""
    try:
        description = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file.name} of {name} cannot be read: {str(error)[:200]}.") from error
    model = description.get("model") if isinstance(description, dict) else None
    if not isinstance(model, dict):
        raise ModelError(f"{file.name} of {name} does not describe a model of tlaam.")
