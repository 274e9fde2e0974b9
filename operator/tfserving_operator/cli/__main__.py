"""``tfs``: one module a command."""

from __future__ import annotations

import click

from tfserving_operator.cli.simulate import simulate
from tfserving_operator.telemetry import VERSION


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="tfs")
def main() -> None:
    """Tools for people who run ServedModels."""


main.add_command(simulate)

if __name__ == "__main__":
    main()
