"""The command line. Commands import what is heavy when they run, so that `surefoot --help` answers at once."""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from surefoot.cli import look, review, run, studio, threads
from surefoot.cli.screen import FAILED, WRONG_USE, say
from surefoot.cli.signals import handlers_restored
from surefoot.shadow import refuse_shadows

__all__ = ["app", "main"]

app = typer.Typer(
    name="surefoot",
    help="Run LangGraph pipelines of model calls that fail gracefully and recover by themselves.",
    epilog="Exit status: 0 done, 1 something failed, 2 wrong use, 3 done but waiting for a person, 130 Ctrl-C "
    "twice, 143 SIGTERM twice.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

for command in (
    run.run, threads.resume, review.inbox, review.review, look.explain, threads.threads, look.draw, look.doctor,
    studio.studio,
):  # fmt: skip
    app.command()(command)

INTERRUPTED = 130


def _print_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"{_versions()}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the versions.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Take what stands before a command."""


def _versions() -> str:
    """Return the versions that matter where something goes wrong."""
    import platform
    from importlib import metadata

    from surefoot import __version__

    found = [f"surefoot {__version__}"]
    for name in ("langgraph", "langchain-core"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"no {name}")
    return f"{found[0]} ({', '.join([*found[1:], f'Python {platform.python_version()}'])})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; every error becomes one line on stderr."""
    refuse_shadows()
    # For the command line itself handlers of signals stay until the process has ended.
    with handlers_restored() if arguments is not None else nullcontext():
        return _main(sys.argv[1:] if arguments is None else arguments)


def _main(arguments: Sequence[str]) -> int:
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions and not _debugging():
                warnings.simplefilter("ignore")
            return int(app(args=list(arguments), prog_name="surefoot", standalone_mode=False) or 0)
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter must not trip over it again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (KeyboardInterrupt, typer.Abort):
        say("surefoot: stopped; what was done is kept, and `surefoot resume --all` goes on with it")
        return INTERRUPTED
    except ImportError as error:
        say(f"surefoot: {error.name or error} is not installed as it should be: install Surefoot again")
        return FAILED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
            return _told(error)
        # Whatever is left to be flushed at exit would fail in the same way.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        say(f"surefoot: the output cannot be written ({str(error.strerror).lower()}); what was run is kept")
        return FAILED
    except Exception as error:
        return _told(error)


def _told(error: Exception) -> int:
    """Say an error in one line and return its exit status."""
    if _debugging():
        traceback.print_exc()
    line, status = explain(error)
    say(line if line.startswith("Usage:") else f"surefoot: {line}")
    return status


def explain(error: Exception) -> tuple[str, int]:
    """Return one line about an error, and the exit status that it means."""
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        return _usage(error), int(error.exit_code)
    from checkpointers import SaverError, UnsupportedUrl
    from nodes.errors import ConfigurationError, InputError, SurefootError
    from state import redact
    from surefoot.errors import UsageError

    told = " ".join(str(error).split())
    if isinstance(error, (UsageError, InputError, ConfigurationError, UnsupportedUrl)):
        return told, WRONG_USE
    if isinstance(error, (SurefootError, SaverError)):
        return told, FAILED
    return f"unexpected {type(error).__name__}: {redact(told)} (SUREFOOT_DEBUG=1 shows where)", FAILED


def _usage(error: Any) -> str:
    """Return what the option parser says, with the command whose help answers it."""
    context, told = getattr(error, "ctx", None), str(error.format_message()).strip()
    if context is None or told.startswith("Usage:"):
        return told
    return f"{told.rstrip('.')}; see `{context.command_path} --help`"


def _debugging() -> bool:
    return os.environ.get("SUREFOOT_DEBUG", "") not in ("", "0")
