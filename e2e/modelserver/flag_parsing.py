"""Reads a command line as TensorFlow's flag library does, mistakes included.

A flag is `--name=value`; `--name value` is not a flag. What no flag takes is left over. A boolean may
be bare, and takes every argument that merely *begins* with its name: `--enable_batchingx` is a bad
value of `--enable_batching`, not an unknown flag.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from e2e.modelserver.options import FLAGS, Flag, FlagType, ServerOptions

Value = bool | int | float | str

INTEGER = re.compile(r"\s*[+-]?\d+\Z")
FLOAT = re.compile(r"\s*[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf(inity)?|nan)\Z", re.IGNORECASE)


class BadValue(Exception):
    """A value that a known flag cannot take; the server prints its usage and exits."""


@dataclass(frozen=True)
class CommandLine:
    """What a command line says: options, arguments that no flag took, and complaints about values."""

    options: ServerOptions
    left_over: tuple[str, ...]
    complaints: tuple[str, ...]

    @property
    def usable(self) -> bool:
        return not self.complaints and self.left_over[:1] != ("--help",)


def parse_command_line(arguments: Sequence[str]) -> CommandLine:
    """Return what ``arguments`` (without the program's name) say. A later duplicate wins."""
    values: dict[str, Value] = {}
    left_over: list[str] = []
    complaints: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--":
            left_over += arguments[position:]
            break
        flag = next((flag for flag in FLAGS if takes(flag, argument)), None)
        if flag is None:
            left_over.append(argument)
            continue
        try:
            values[flag.name] = read_value(flag, argument)
        except BadValue as error:
            complaints.append(str(error))
    return CommandLine(ServerOptions(**values), tuple(left_over), tuple(complaints))  # type: ignore[arg-type] # checked by read_value


def takes(flag: Flag, argument: str) -> bool:
    return argument.startswith(f"--{flag.name}" if flag.type is FlagType.BOOL else f"--{flag.name}=")


def read_value(flag: Flag, argument: str) -> Value:
    text = argument.removeprefix(f"--{flag.name}")
    if flag.type is FlagType.BOOL:
        return _read_bool(flag, text)
    text = text.removeprefix("=")
    reader = READERS[flag.type]
    return reader(flag, text)


def _read_bool(flag: Flag, text: str) -> bool:
    if text == "" or text.lower() == "=true":
        return True
    if text.lower() == "=false":
        return False
    raise _bad(flag, text)


def _read_integer(bits: int) -> Callable[[Flag, str], int]:
    def read(flag: Flag, text: str) -> int:
        if not INTEGER.match(text):
            raise _bad(flag, text)
        # scanf stores into a fixed width; what does not fit wraps.
        return (int(text) + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))

    return read


def _read_float(flag: Flag, text: str) -> float:
    if not FLOAT.match(text):
        raise _bad(flag, text)
    return float(text)


def _read_string(_flag: Flag, text: str) -> str:
    return text


READERS: dict[FlagType, Callable[[Flag, str], Value]] = {
    FlagType.INT32: _read_integer(32),
    FlagType.INT64: _read_integer(64),
    FlagType.FLOAT: _read_float,
    FlagType.STRING: _read_string,
}


def _bad(flag: Flag, text: str) -> BadValue:
    return BadValue(f"Couldn't interpret value {text} for flag {flag.name}.")


def usage_text(program: str) -> str:
    """Return the text that is printed for an unknown argument and before an exit over a bad value."""
    defaults = ServerOptions()
    lines = [f"usage: {program}", "Flags:"]
    for flag in FLAGS:
        shown = f"--{flag.name}={_shown_default(flag, getattr(defaults, flag.name))}"
        lines.append(f"\t{shown:<33}\t{flag.type.value}\t{flag.usage}")
    return "\n".join(lines) + "\n"


def _shown_default(flag: Flag, value: Value) -> str:
    if flag.type is FlagType.BOOL:
        return "true" if value else "false"
    if flag.type is FlagType.STRING:
        return f'"{value}"'
    if flag.type is FlagType.FLOAT:
        return f"{value:f}"
    return str(value)
