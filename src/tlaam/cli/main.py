"""The command ``tlaam``: finds the verb, and turns every error a user can mend into one line and an exit code."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from tlaam.allocator import keep_freed_memory
from tlaam.errors import TlaamError, did_you_mean

VERBS = {
    "train": "Train a model on labelled photographs.",
    "evaluate": "Measure a trained model: every branch, and the boxes.",
    "predict": "Name what photographs show, and show why.",
    "check": "List what is wrong with a data set; changes nothing.",
    "quickstart": "See it work on an embedded data set, in minutes.",
}


class _Verbs(click.Group):
    """Loads a verb's file only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            raise click.UsageError(
                f"there is no command '{cmd_name}'; commands are {', '.join(VERBS)}.{did_you_mean(cmd_name, VERBS)}"
            )
        command = getattr(import_module(f"tlaam.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="tlaam")
def tlaam() -> None:
    """Tell apart things that look alike, from labelled photographs alone (TL-AAM)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 1 an error in data, model or run, 2 a wrong call."""
    keep_freed_memory()
    try:
        result = tlaam.main(args=arguments, prog_name="tlaam", standalone_mode=False)
    except click.UsageError as error:
        return _fail(error.format_message(), 2)
    except click.ClickException as error:
        return _fail(error.format_message(), 1)
    except TlaamError as error:
        return _fail(str(error), getattr(error, "exit_code", 1))  # a run that was asked to stop says by which signal
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted.", 130)
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            return _fail(f"cannot write {error.filename or 'the output'}: {error.strerror}.", 1)
        raise
    return result if isinstance(result, int) else 0


def _fail(message: str, code: int) -> int:
    click.echo(f"tlaam: {' '.join(message.split())}", err=True)
    return code
