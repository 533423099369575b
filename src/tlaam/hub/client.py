"""Quiet use of the hub's own client, without long waits when offline."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import huggingface_hub.constants as hub
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # not all are marked as exported
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
    get_session,
)

_PATIENCE = 20.0
"""Timeout in seconds for the hub's first answer; the download itself may take as long as it needs."""


def hub_answers() -> bool:
    """Ask the hub once, through whatever proxy its client uses; the client itself would retry for about a minute."""
    try:
        get_session().head(hub.ENDPOINT, timeout=_PATIENCE)
    except Exception:  # the client's exception types differ between its releases
        return False
    return True


@contextmanager
def quiet_hub(*, offline: bool) -> Iterator[None]:
    """Suppress the hub client's log of retries, and its progress bars if stderr is not a terminal; if `offline`, let
    it use only its cache."""
    logger = logging.getLogger("huggingface_hub")
    before = hub.HF_HUB_OFFLINE, logger.level
    hide = not sys.stderr.isatty() and not are_progress_bars_disabled()
    hub.HF_HUB_OFFLINE = before[0] or offline
    logger.setLevel(logging.ERROR)
    if hide:
        disable_progress_bars()
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before[0]
        logger.setLevel(before[1])
        if hide:
            enable_progress_bars()


def first_line(error: BaseException) -> str:
    """Return an exception's message on one line of at most 200 characters, without a full stop."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")
