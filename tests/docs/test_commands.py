"""Commands that the pages name exist, and take what the pages give them. None of them is run."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import click
import pytest

from e2e.modelserver.flag_parsing import parse_command_line
from tests.docs.test_pages import PAGES, ROOT
from tfserving_operator.cli.__main__ import main as tfs

FENCED_OR_INLINE = re.compile(r"^```\w*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
# One may be within another (run -- python -m …): each is found by its beginning.
COMMAND = re.compile(r"(?:^|(?<=[\s(=]))(python -m|tfs) (?=((?:[^\n\\]|\\\n)*))", re.MULTILINE)
END_OF_COMMAND = {"|", "||", "&&", ";", ">", "2>", "…"}
INCOMPLETE = "the following arguments are required"
"""What a parser says of a command that is only mentioned."""


def named_commands() -> Iterator[tuple[Path, str, list[str]]]:
    """Yield page, program and arguments of each command in a page's code."""
    for page in PAGES:
        for fenced, inline in FENCED_OR_INLINE.findall(page.read_text()):
            for program, rest in COMMAND.findall(fenced or inline):
                yield page, program, words_of(rest)


def words_of(text: str) -> list[str]:
    """Return the arguments in ``text`` up to the end of the command, optional ones without their brackets."""
    words: list[str] = []
    for word in shlex.split(text.replace("\\\n", " ").replace("[", "").replace("]", ""), comments=True):
        if word in END_OF_COMMAND:
            break
        words.append(word)
    return words


def parameters(program: str) -> list[Any]:
    unique = {(page.relative_to(ROOT), *words): words for page, found, words in named_commands() if found == program}
    return [pytest.param(words, id=" ".join(map(str, key))) for key, words in unique.items()]


@pytest.mark.parametrize("words", parameters("python -m"))
def test_a_module_that_a_page_runs_exists_and_takes_these_arguments(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, *arguments = words
    spec = find_spec(name)
    assert spec is not None
    is_package = spec.submodule_search_locations is not None
    if is_package:
        assert find_spec(f"{name}.__main__") is not None, f"{name} is a package that cannot be run"
    if arguments:
        complaint = complaint_about(import_module(f"{name}.__main__" if is_package else name), arguments, monkeypatch)
        assert complaint is None


@pytest.mark.parametrize("words", parameters("tfs"))
def test_a_tfs_command_that_a_page_names_exists_and_takes_these_arguments(words: list[str]) -> None:
    name, *arguments = words
    assert isinstance(tfs, click.Group)
    assert name in tfs.commands
    assert click_complaint(tfs.commands[name], arguments) is None


def test_no_page_upgrades_without_the_values_that_the_new_chart_adds() -> None:
    blocks = [fenced for page in PAGES for fenced, _ in FENCED_OR_INLINE.findall(page.read_text())]
    upgrades = [block for block in blocks if "helm upgrade" in block]
    assert any("--reset-then-reuse-values" in block for block in upgrades)
    assert not [block for block in upgrades if "--reuse-values" in block]


def test_the_usual_commands_are_among_those_checked() -> None:
    found = {" ".join([program, *words[:2]]) for _, program, words in named_commands()}
    assert found >= {"python -m e2e.cluster up", "python -m e2e.load http://SERVICE.NAMESPACE:8501/v1/models/MODEL:predict",
                     "tfs simulate --trace"}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["e2e.cluster.__main__", "upp"], "invalid choice: 'upp'"),
        (["e2e.cluster.__main__", "up", "--nodes", "2", "--bogus"], "unrecognized arguments: --bogus"),
        (["benchmarks.autoscaling.__main__", "--bogus"], "--bogus"),
        (["e2e.modelserver.__main__", "--bogus=1"], "--bogus"),
        (["e2e.models.__main__", "--bogus"], "takes no arguments"),
    ],
)
def test_a_wrong_argument_is_complained_about(
    words: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, *arguments = words
    assert complaint in str(complaint_about(import_module(name), arguments, monkeypatch))


def complaint_about(module: ModuleType, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Return what ``module`` would say of ``arguments``, None when it takes them."""
    if isinstance(module.main, click.Command):
        return click_complaint(module.main, arguments)
    if hasattr(module, "parse_command_line"):  # the model server's flags, which are parsed in a way of their own
        line = parse_command_line(arguments)
        return "; ".join([*line.complaints, *line.left_over]) or None
    if not hasattr(module, "argparse"):
        return "takes no arguments"
    return argparse_complaint(module.main, arguments, monkeypatch)


def click_complaint(command: click.Command, arguments: list[str]) -> str | None:
    try:
        command.make_parser(click.Context(command)).parse_args(list(arguments))
    except click.UsageError as error:
        return error.format_message()
    return None


class ParserMade(Exception):
    """A program has described its arguments and would go on to read them."""


def argparse_complaint(main: Callable[[], object], arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> str | None:
    with monkeypatch.context() as patched:
        # parse_args goes through it, too.
        patched.setattr(argparse.ArgumentParser, "parse_known_args", hand_over)
        with pytest.raises(ParserMade) as made:
            main()
        (parser,) = made.value.args
    with monkeypatch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "error", complain)
        try:
            parser.parse_args(arguments)
        except click.UsageError as error:
            return None if error.message.startswith(INCOMPLETE) else error.message
    return None


def hand_over(parser: argparse.ArgumentParser, *_: object) -> NoReturn:
    raise ParserMade(parser)


def complain(_: argparse.ArgumentParser, message: str) -> NoReturn:
    raise click.UsageError(message)
