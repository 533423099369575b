"""Error messages for invalid settings, in one line."""

from __future__ import annotations

import reprlib
from typing import Any

from pydantic import ValidationError

from tlaam.config.options import choices
from tlaam.errors import did_you_mean
from tlaam.utils.text import shortened

_FAULTS = 10  # largest number in a message


def shown(value: Any) -> str:
    """Return a value as text for a message, shortened, because the full text might not even fit into memory."""
    return shortened(reprlib.repr(value))


def one_line(error: ValidationError) -> str:
    """Return what pydantic found wrong: the value, what is allowed, and the closest choice."""
    sentences = []
    for entry in error.errors()[:_FAULTS]:
        location = entry["loc"]
        message = entry["msg"].removeprefix("Value error, ").rstrip(".") + "."
        if len(location) > 1:
            name = str(location[1])
            message = f"{name} = {shown(entry['input'])}: {message}{_closest_choice(name, entry['input'])}"
        sentences.append(message)
    return " ".join(dict.fromkeys(sentences))


def _closest_choice(option: str, received: Any) -> str:
    return did_you_mean(received, choices(option)) if isinstance(received, str) else ""
