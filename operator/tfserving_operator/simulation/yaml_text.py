"""YAML that users write: all that can be wrong with it is one error."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import yaml
from pydantic import ValidationError
from yaml.constructor import ConstructorError

_MERGE_TAG = "tag:yaml.org,2002:merge"
_FLOAT_TAG = "tag:yaml.org,2002:float"


class NotYamlError(ValueError):
    """A text that is not YAML; the message says why, without a line break."""


def yaml_documents(text: str) -> list[Any]:
    """Return the documents in ``text``.

    Raises:
        NotYamlError: There is a fault in it, or a mapping has a key twice, of which one would be lost.
    """
    try:
        return list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise NotYamlError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise NotYamlError("it is nested too deeply") from error
    except (ValueError, LookupError, AttributeError) as error:
        # PyYAML lets through what its constructors raise: of dates as 2024-13-01, !!int x, !!bool x, !!timestamp x.
        raise NotYamlError(f"a date, number or tagged value in it is none: {' '.join(str(error).split())}") from error


def fault_words(error: ValidationError) -> list[tuple[str, str]]:
    """Return where each fault is, as a path with dots, and what is wrong there, in words for writers of YAML."""
    return [(".".join(map(str, fault["loc"])), _words(fault["type"], fault["msg"])) for fault in error.errors()]


def _words(kind: str, message: str) -> str:
    known = {"extra_forbidden": "there is no such field", "missing": "it is missing"}
    return known.get(kind) or message.removeprefix("Value error, ").replace("Input should be", "it should be")


class _Loader(yaml.SafeLoader):
    """As kubectl reads YAML: no key twice, and 1e3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping, unless a key is in it twice; what is merged in by << may well be overwritten."""
        keys = Counter((key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for (tag, name), count in keys.items():
            if count > 1 and tag != _MERGE_TAG:
                problem = f"the key {name!r} stands {count} times in a mapping"
                raise ConstructorError(problem=problem, problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(_FLOAT_TAG, re.compile(r"[-+]?[0-9]+([.][0-9]*)?[eE][-+]?[0-9]+\Z"), list("-+0123456789"))
