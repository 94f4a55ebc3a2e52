"""The command `verydeep`: its commands, and how it ends.

Exit status: 0 where all went well, 2 after a mistake that the user can mend (one line says which), 130 after Ctrl-C. A
bug ends with its traceback and 1.
"""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from verydeep import __version__
from verydeep.cli.data import data
from verydeep.cli.demo import demo
from verydeep.cli.evaluate import evaluate
from verydeep.cli.features import features
from verydeep.cli.fuse import fuse
from verydeep.cli.localise import localise
from verydeep.cli.nets import nets
from verydeep.cli.numbers import TakesNumbers
from verydeep.cli.options import is_first
from verydeep.cli.predict import predict
from verydeep.cli.report import report
from verydeep.cli.reproduce import reproduce
from verydeep.cli.serve import serve
from verydeep.cli.terminal import Interrupted, remark
from verydeep.cli.train import train
from verydeep.cli.transfer import transfer
from verydeep.cli.weights import weights
from verydeep.errors import VerydeepError

MISTAKE, INTERRUPTED = 2, 130

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # or else --help waits for a parser of Markdown
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)
for command in (demo, nets, train, transfer, evaluate, fuse, predict, features, reproduce, report, serve):
    app.command(cls=TakesNumbers)(command)
app.add_typer(data, name="data")
app.add_typer(weights, name="weights")
app.add_typer(localise, name="localise")


def print_version(wanted: bool) -> bool:
    """Print the version and end, where that is wanted."""
    if wanted:
        print(f"verydeep {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def verydeep(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=print_version)] = False,
) -> None:
    """Very deep ConvNets: train, test and use the nets of the VGG paper, by its protocols."""


def main() -> None:
    """Run the command that the process was started with, and end the process.

    Of several processes the first alone speaks, but for mistakes, which any may make.
    """
    if not is_first():
        sys.stdout = sys.stderr = Path(os.devnull).open("w")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command; its exit status."""
    try:
        status = app(arguments or ["--help"], prog_name="verydeep", standalone_mode=False) or 0
        sys.stdout.flush()
        if status == INTERRUPTED:  # typer's word for it
            raise KeyboardInterrupt
        return status
    except typer.TyperException as error:  # of the command line itself, such as an option that does not exist
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "verydeep"
        return mistake(f"{command}: {error.format_message()} (see {command} --help)")
    except VerydeepError as error:
        return mistake(str(error))
    except (KeyboardInterrupt, Interrupted) as interruption:
        remark(str(interruption) or "verydeep: interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # who reads, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at the end
        return 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return mistake(f"{error.filename or 'verydeep'}: the disk is full; make room and give the command again")
        raise


def mistake(message: str) -> int:
    """Say on one line what the user can mend."""
    print(" ".join(message.split()), file=sys.stderr if is_first() else sys.__stderr__)
    return MISTAKE
