"""YAML that users write: all that can be wrong with it is one error."""

from __future__ import annotations

from typing import Any

import yaml


class NotYamlError(ValueError):
    """A text that is not YAML; the message says why, without a line break."""


def yaml_documents(text: str) -> list[Any]:
    """Return the documents in ``text``.

    Raises:
        NotYamlError: There is a fault in it.
    """
    try:
        return list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise NotYamlError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise NotYamlError("it is nested too deeply") from error
    except (ValueError, LookupError, AttributeError) as error:
        # PyYAML lets through what its constructors raise: of dates as 2024-13-01, !!int x, !!bool x, !!timestamp x.
        raise NotYamlError(f"a date, number or tagged value in it is none: {' '.join(str(error).split())}") from error
