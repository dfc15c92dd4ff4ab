"""The command line: one module per command, imported when called."""

from __future__ import annotations


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with its code, as the module of this name does.

    Version 0.1 had the function here. Importing the module puts it in the function's place.
    """
    from spct.cli.main import main as run

    run(argv)
