"""The command ``tlaam``: finds the verb, and turns every error a user can mend into one line and an exit code."""

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
    "index": "Write the reference index of a finished run: look-alikes, and what is out of distribution.",
    "predict": "Name what photographs show, and show why.",
    "undo": "Put back the photographs that predict --sort-into has sorted.",
    "embed": "Write one vector an image: what it looks like to a model.",
    "demo": "Open a page in the browser that shows what a model sees in your pictures.",
    "serve": "Answer over HTTP, in JSON.",
    "push": "Send a trained model to the Hugging Face hub, with a card of what was measured.",
    "export": "Write a trained model as one ONNX file, checked against PyTorch, or as a page for phones.",
    "add-class": "Teach an exported model one more class, from a few photographs, without training.",
    "rename": "Give a class of an exported model another name.",
    "merge": "Make several classes of an exported model one.",
    "remove": "Take a class out of an exported model.",
    "check": "List what is wrong with a data set; changes nothing.",
    "clean": "List suspects: wrong labels, copies, leaks, poor images; with a page to decide on them.",
    "compare": "Train several systems under the same settings, and compare them.",
    "download": "Get a public data set, checked and extracted.",
    "quickstart": "See it work on an embedded data set, in minutes.",
}

_EXTRAS = {
    **dict.fromkeys(("train", "evaluate", "report", "index", "push", "compare"), "train"),
    "clean": "clean",
    "quickstart": "quickstart",
    **dict.fromkeys(("add-class", "rename", "merge", "remove"), "teach"),
    **dict.fromkeys(("demo", "serve"), "serve"),
}
"""What brings the packages that a verb needs; the others do without, or say it when they know what they are given."""

_FORMER = {"gallery": "index"}
"""Former names of verbs, which still do what they did."""

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
    "could not create a primitive",  # oneDNN, which found no memory for its code or scratch
    "could not execute a primitive",
)


class _Verbs(click.Group):
    """Loads a verb's file only when it is asked for."""

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
    invoke_without_command=True,  # help without a verb is done here: click's own exits with 0 or 2, by its release
)
@click.version_option(package_name="tlaam")
@click.pass_context
def tlaam(context: click.Context) -> None:
    """Tell apart things that look alike, from labelled photographs alone (TL-AAM)."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 1 an error in data, model or run, 2 a wrong call."""
    keep_freed_memory()
    accept_all_names()
    quiet_decoders()
    # A signal that says a loader has died can arrive while a line is logged, which would print a stack trace for it.
    logging.raiseExceptions = False
    return ended(lambda: tlaam.main(args=arguments, prog_name="tlaam", standalone_mode=False))


def ended(work: Callable[[], object]) -> int:
    """Do some work and return the exit code; an error that a user can mend is said in one line."""
    try:
        result = work()
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
    """Say what the system refused, of which file, and what may help."""
    fault = error.strerror or _first_line(error)
    file = f"'{os.fsdecode(error.filename)}'" if isinstance(error.filename, (str, bytes)) else "a file or the output"
    remedy = _REMEDIES.get(error.errno or 0, "Check the path and its rights.")
    return f"cannot read or write {file}: {fault}. {remedy}"


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether memory ran out, on the processor or the GPU; known by names, since torch is not to be imported here."""
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
