"""The options of ``tlaam predict`` for outputs made from its answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tlaam.cli.options import PATH
from tlaam.errors import ConfigError

if TYPE_CHECKING:
    from tlaam.field.outputs import Outputs

Command = TypeVar("Command", bound=Callable[..., Any])

_BESIDE = "beside"


def _option(name: str, *more: str, **settings: Any) -> Callable[[Command], Command]:
    return click.option(name, f"field_{name.lstrip('-').replace('-', '_')}", *more, **settings)


_OPTIONS = (
    _option("--csv", type=PATH, metavar="FILE", help="Write a table with a row per object. It grows as answers come."),
    _option("--xlsx", type=PATH, metavar="FILE", help="Write an Excel workbook with small pictures."),
    _option("--page", type=PATH, metavar="FILE.html", help="Write a page for viewing and correcting the answers."),
    _option(
        "--timelapse", type=PATH, metavar="FILE.json",
        help="Write a recognition file for Timelapse (MegaDetector's format).",
    ),
    _option(
        "--sidecars", type=PATH, metavar="beside|FOLDER",
        help="Write keywords to XMP sidecars, beside the photographs or in FOLDER; their other content is kept.",
    ),
    _option(
        "--sidecar-names", type=click.Choice(["stem", "full"]), default="stem", show_default=True,
        help="Sidecar names: stem is photo.xmp (Lightroom), full is photo.jpg.xmp (digiKam, darktable).",
    ),
    _option("--keyword-root", default="tlaam", show_default=True, help="Top level of the hierarchical keywords."),
    _option("--sort-into", type=PATH, metavar="FOLDER", help="Copy photographs into FOLDER, one subfolder per class."),
    _option("--link", is_flag=True, help="With --sort-into: make hard links instead of copies."),
    _option("--move", is_flag=True, help="With --sort-into: move instead of copy. `tlaam undo` puts everything back."),
)  # fmt: skip


def field_options(command: Command) -> Command:
    """Give a command these options, as its argument ``outputs``."""

    @wraps(command)
    def with_outputs(**values: Any) -> Any:
        names = [name for name in values if name.startswith("field_")]
        return command(outputs=_outputs({name.removeprefix("field_"): values.pop(name) for name in names}), **values)

    decorated: Any = with_outputs
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def _outputs(given: dict[str, Any]) -> Outputs:
    from tlaam.field.outputs import BESIDE, Outputs

    if given["link"] and given["move"]:
        raise ConfigError("--link and --move are two ways of sorting; give one.")
    folder: Path | None = given["sidecars"]
    return Outputs(
        csv=given["csv"], xlsx=given["xlsx"], timelapse=given["timelapse"], page=given["page"],
        sidecars=BESIDE if folder == Path(_BESIDE) else folder, naming=given["sidecar_names"],
        root=given["keyword_root"], sort_into=given["sort_into"],
        mode="link" if given["link"] else "move" if given["move"] else "copy",
    )  # fmt: skip
