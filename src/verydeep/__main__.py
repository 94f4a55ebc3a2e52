"""`python -m verydeep` is the command `verydeep`."""

from verydeep.cli.app import main

if __name__ == "__main__":
    main()
