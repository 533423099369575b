"""Uploading a run's model to the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import huggingface_hub.constants as hub
from huggingface_hub import HfApi, get_token

from tlaam.data.sample import LabelledImages, Split
from tlaam.errors import ModelError, TlaamError
from tlaam.hub.client import first_line, hub_answers, quiet_hub
from tlaam.hub.names import hub_name
from tlaam.inference.engine import Engine
from tlaam.publish.folder import SHOWN, save_pretrained
from tlaam.reference.file import FILE


def push_to_hub(
    model: Engine | str | Path,
    repo_id: str,
    data: LabelledImages | str | Path | None = None,
    *,
    private: bool = False,
    split: Split | None = None,
    pictures: int = SHOWN,
    license: str | None = None,
    look_alikes: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> str:
    """Upload the files of `tlaam.publish.folder.save_pretrained` to a repository on the hub; return its address.

    The repository is created if it does not exist. Existing files of the same names are replaced, and example pictures
    and the reference index of an earlier push are removed; other files stay. The hub's client finds the token in
    ``HF_TOKEN`` or where ``hf auth login`` stored it.

    Args:
        model: the run folder, or any folder with a model, or its engine.
        repo_id: ``owner/name``.
        data, split, pictures, license, look_alikes, progress, **options: see `save_pretrained`.
        private: create a private repository; an existing public one is refused.

    Raises:
        ModelError: there is no token, the hub is offline or refuses, or the run holds no usable model.
        RunError, DataError: see `save_pretrained`.
    """
    name = hub_name(repo_id)
    if name.revision is not None:
        raise ModelError(f"'{repo_id}' names a revision; a model is sent to the main branch of {name.repository}.")
    if get_token() is None:
        raise ModelError("not logged in to the Hugging Face hub: `hf auth login`, or set HF_TOKEN to a writing token.")
    if hub.HF_HUB_OFFLINE or not hub_answers():
        way = "HF_HUB_OFFLINE is set" if hub.HF_HUB_OFFLINE else f"{hub.ENDPOINT} does not answer"
        raise ModelError(f"cannot send to {name}: {way}. `tlaam push --out FOLDER` writes the folder without sending.")
    with TemporaryDirectory(prefix="tlaam-push-") as temporary:
        folder = save_pretrained(
            model, temporary, data, split=split, pictures=pictures, repo_id=name.repository, license=license,
            look_alikes=look_alikes, progress=progress, **options,
        )  # fmt: skip
        try:
            with quiet_hub(offline=False):
                return _send(folder, name.repository, private=private)
        except TlaamError:
            raise
        except Exception as error:  # the client's exception types differ between its releases
            raise ModelError(_refusal(name.repository, error)) from error


def _send(folder: Path, repository: str, *, private: bool) -> str:
    api = HfApi(endpoint=hub.ENDPOINT, library_name="tlaam")
    # Unless requested, leave this to the owner's default on the hub.
    visibility: dict[str, Any] = {"private": True} if private else {}
    url = api.create_repo(repository, exist_ok=True, **visibility)
    if private and not api.repo_info(repository).private:
        raise ModelError(
            f"{url} exists and is public, so that nothing was sent; choose another name, or make it private first."
        )
    api.upload_folder(
        repo_id=repository,
        folder_path=folder,
        commit_message="Upload a tlaam model",
        delete_patterns=["pictures/example-*.jpg", FILE],
    )
    return str(url)


def _refusal(repository: str, error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        owner = repository.partition("/")[0]
        return (
            f"the hub refuses to take {repository} ({status}): the token must be valid and may write to {owner}; see "
            "`hf auth whoami`, or log in again (hf auth login)."
        )
    return f"cannot send to {repository}: {first_line(error)}. The same command tries again."
