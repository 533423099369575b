"""Ways to damage bytes and lines of text, whatever they mean."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

Random = np.random.Generator


def truncated(content: bytes, random: Random) -> bytes:
    """Cut off at any place."""
    return content[: random.integers(0, max(1, len(content)))]


def flipped(content: bytes, random: Random) -> bytes:
    """Turn one to sixteen bits anywhere."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 17))):
        if data:
            data[random.integers(len(data))] ^= 1 << int(random.integers(8))
    return bytes(data)


def head_flipped(content: bytes, random: Random) -> bytes:
    """Replace one to eight of the first 96 bytes: sizes, counts, offsets."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 9))):
        if data:
            data[random.integers(min(96, len(data)))] = int(random.choice([0, 1, 127, 128, 255, random.integers(256)]))
    return bytes(data)


def absurd_number(content: bytes, random: Random) -> bytes:
    """Put the largest, a negative or a huge number of 2, 4 or 8 bytes somewhere near the beginning."""
    form = str(random.choice(["<H", ">H", "<I", ">I", "<Q", ">Q"]))
    size = struct.calcsize(form)
    number = int(random.choice([0, 1, 0xFFFF, 0x8000])) if size == 2 else int(random.choice([0, 0x7FFFFFFF, 1 << 28]))
    at = int(random.integers(0, max(1, min(len(content), 512) - size)))
    return content[:at] + struct.pack(form, number) + content[at + size :]


def zeroed(content: bytes, random: Random) -> bytes:
    """Overwrite a stretch with zeros."""
    at, length = int(random.integers(0, max(1, len(content)))), int(random.integers(1, 256))
    return content[:at] + bytes(min(length, len(content) - at)) + content[at + length :]


def inserted(content: bytes, random: Random) -> bytes:
    """Insert random bytes."""
    at = int(random.integers(0, len(content) + 1))
    return content[:at] + random.bytes(int(random.integers(1, 64))) + content[at:]


def removed(content: bytes, random: Random) -> bytes:
    """Take a stretch out."""
    at = int(random.integers(0, max(1, len(content))))
    return content[:at] + content[at + int(random.integers(1, 64)) :]


def repeated(content: bytes, random: Random) -> bytes:
    """Double a stretch."""
    at = int(random.integers(0, max(1, len(content))))
    end = at + int(random.integers(1, 256))
    return content[:end] + content[at:end] + content[end:]


def swapped(content: bytes, random: Random) -> bytes:
    """Exchange two stretches."""
    if len(content) < 16:
        return content[::-1]
    a, b = sorted(int(value) for value in random.integers(0, len(content) - 8, 2))
    return content[:a] + content[b : b + 8] + content[a + 8 : b] + content[a : a + 8] + content[b + 8 :]


BYTES: dict[str, Callable[[bytes, Random], bytes]] = {
    "truncated": truncated,
    "flipped bits": flipped,
    "header overwritten": head_flipped,
    "absurd number": absurd_number,
    "zeroed stretch": zeroed,
    "inserted bytes": inserted,
    "removed bytes": removed,
    "repeated bytes": repeated,
    "swapped bytes": swapped,
}
"""All of the above by name."""

_STRAY = (
    "",
    "\0",
    "\r",
    "\u2028",
    "\x1b[31m",
    "'",
    '"',
    ";",
    "\t",
    "é",
    "🐦",
    "-1",
    "nan",
    "inf",
    "1e999",
    "9" * 400,
    "../x",
)


def mangled_line(text: str, random: Random) -> str:
    """Damage a line of a table or list: drop, double or exchange lines, or put something stray into one."""
    lines = text.splitlines(keepends=True) or [""]
    at = int(random.integers(len(lines)))
    way = int(random.integers(6))
    if way == 0:
        del lines[at]
    elif way == 1:
        lines.insert(int(random.integers(len(lines) + 1)), lines[at])
    elif way == 2:
        other = int(random.integers(len(lines)))
        lines[at], lines[other] = lines[other], lines[at]
    elif way == 3:
        words = lines[at].replace(",", " , ").split(" ")
        words[random.integers(len(words))] = str(random.choice(_STRAY))
        lines[at] = " ".join(words).replace(" , ", ",")
        lines[at] += "" if lines[at].endswith("\n") else "\n"
    elif way == 4:
        place = int(random.integers(len(lines[at]) + 1))
        lines[at] = lines[at][:place] + str(random.choice(_STRAY)) + lines[at][place:]
    else:
        lines[at] = lines[at].rstrip("\n") + lines[at]
    return "".join(lines)
