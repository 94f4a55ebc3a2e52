"""Options that take several numbers at once: `--processes 4 8 64`."""

from typing import Any

from typer.core import TyperCommand

OPTIONS = ("--processes",)


class TakesNumbers(TyperCommand):
    """A command whose `OPTIONS` take numbers one after the other, too, where typer wants the option before each."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments that are left, once the option stands before each of its numbers."""
        spread: list[str] = []
        option = ""
        for argument in args:
            if argument in OPTIONS:
                option = argument
            elif not argument.isdigit():
                option = ""
            elif option and spread[-1] != option:
                spread.append(option)
            spread.append(argument)
        return super().parse_args(ctx, spread)
