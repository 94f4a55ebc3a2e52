"""The command `verydeep`, which is `python -m verydeep` too."""

from verydeep.cli.lean import begin_lean


def main() -> None:
    """Run the command that the process was started with, and end the process."""
    begin_lean()
    from verydeep.cli.app import main as run_command  # after it, since a new beginning imports everything anew

    run_command()


if __name__ == "__main__":
    main()
