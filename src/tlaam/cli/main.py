"""The command line ``tlaam``: finds the command, and turns errors that users can fix into a line and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

import click

from tlaam.cli.output import accept_all_names, quiet_decoders
from tlaam.errors import TlaamError, did_you_mean
from tlaam.utils.allocator import keep_freed_memory
from tlaam.utils.extras import require_extra
from tlaam.utils.text import printable

VERBS = {
    "train": "Train a model on labelled photographs.",
    "evaluate": "Measure a trained model: every branch, and the boxes.",
    "report": "Write the report of a finished run: results, mistakes, pictures, curves.",
    "index": "Write the reference index of a finished run, for look-alikes and out-of-distribution images.",
    "predict": "Name what photographs show, and show what the model looked at.",
    "undo": "Undo the sorting of photographs by predict --sort-into.",
    "embed": "Write an embedding vector for each image.",
    "demo": "Serve a web page that shows what a model sees in your pictures.",
    "serve": "Serve a model's predictions over HTTP, as JSON.",
    "push": "Upload a trained model to the Hugging Face hub, with a model card of its measured results.",
    "export": "Export a trained model to one ONNX file, checked against PyTorch, or to a page for phones.",
    "add-class": "Add a class to an exported model from a few photographs, without training.",
    "rename": "Rename a class of an exported model.",
    "merge": "Merge classes of an exported model into one.",
    "remove": "Remove a class from an exported model.",
    "check": "List the faults of a data set; changes nothing.",
    "clean": "List suspect images: wrong labels, copies, leaks, poor pictures; with a page to decide on them.",
    "compare": "Train several systems under the same settings and compare them.",
    "download": "Download, verify and extract a public data set.",
    "quickstart": "Try it on a built-in data set, in minutes.",
}

_EXTRAS = {
    **dict.fromkeys(("train", "evaluate", "report", "index", "push", "compare"), "train"),
    "clean": "clean",
    "quickstart": "quickstart",
    **dict.fromkeys(("add-class", "rename", "merge", "remove"), "teach"),
    **dict.fromkeys(("demo", "serve"), "serve"),
}
"""The extra whose packages a command needs; other commands need none, or report it once they know their input."""

_FORMER = {"gallery": "index"}
"""Former names of commands, which still work."""

_REMEDIES = {
    errno.ENOSPC: "Free some space; train --resume RUN continues a run.",
    errno.EDQUOT: "Free some space; train --resume RUN continues a run.",
    errno.ENAMETOOLONG: "Give a shorter path.",
    errno.EMFILE: "Allow more open files (ulimit -n) or lower --workers.",
}

_OUT_OF_MEMORY = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "MPS backend out of memory",
    "could not create a primitive",  # oneDNN, without memory for its code or scratch space
    "could not execute a primitive",
)


class _Verbs(click.Group):
    """Loads a command's module only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        cmd_name = _FORMER.get(cmd_name, cmd_name)
        if cmd_name not in VERBS:
            raise click.UsageError(
                f"there is no command '{cmd_name}'; commands are {', '.join(VERBS)}.{did_you_mean(cmd_name, VERBS)}"
            )
        if cmd_name in _EXTRAS:
            require_extra(f"tlaam {cmd_name}", _EXTRAS[cmd_name])
        module = cmd_name.replace("-", "_")
        command = getattr(import_module(f"tlaam.cli.{module}"), module)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    invoke_without_command=True,  # shows help without a command; click's own way exits with 0 or 2, by its release
)
@click.version_option(package_name="tlaam")
@click.pass_context
def tlaam(context: click.Context) -> None:
    """Tell look-alikes apart: fine-grained image classification from image-level labels alone (TL-AAM).

    `tlaam COMMAND --help` shows the options of a command.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 success, 1 an error in data, model or run, 2 wrong usage."""
    keep_freed_memory()
    accept_all_names()
    quiet_decoders()
    # The signal of a dead loader process can arrive while a line is being logged, which would print a stack trace.
    logging.raiseExceptions = False
    return ended(lambda: tlaam.main(args=arguments, prog_name="tlaam", standalone_mode=False))


def ended(work: Callable[[], object]) -> int:
    """Do some work and return the exit code; an error that users can fix is reported in one line."""
    try:
        result = work()
    except click.UsageError as error:
        return _fail(error.format_message(), 2)
    except click.ClickException as error:
        return _fail(error.format_message(), 1)
    except TlaamError as error:
        return _fail(str(error), getattr(error, "exit_code", 1))  # a stopped run has the code of its signal
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted.", 130)
    except BrokenPipeError:  # the reader of the output has exited, e.g. `| head`
        sys.stderr.close()
        return 0
    except OSError as error:
        return _fail(_said_of(error), 1)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return _fail(
            f"out of memory ({_first_line(error)}). Lower --batch-size or --image-size; "
            "if other programs took the memory, train --resume RUN continues where the run was.",
            1,
        )
    return result if isinstance(result, int) else 0


def _said_of(error: OSError) -> str:
    """Return what the system refused, for which file, and what may help."""
    fault = error.strerror or _first_line(error)
    file = f"'{os.fsdecode(error.filename)}'" if isinstance(error.filename, (str, bytes)) else "a file or the output"
    remedy = _REMEDIES.get(error.errno or 0, "Check the path and its rights.")
    return f"cannot read or write {file}: {fault}. {remedy}"


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Return whether CPU or GPU memory ran out, judged by names, since torch must not be imported here."""
    kind = type(error)
    return (
        isinstance(error, MemoryError)
        or (kind.__name__ == "OutOfMemoryError" and kind.__module__.partition(".")[0] == "torch")
        or any(text in str(error) for text in _OUT_OF_MEMORY)
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _fail(message: str, code: int) -> int:
    click.echo(f"tlaam: {printable(' '.join(message.split()))}", err=True)
    return code
