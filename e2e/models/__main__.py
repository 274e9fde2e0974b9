"""Makes the quickstart model and prints where it is: ``python -m e2e.models``."""

from __future__ import annotations

import sys

from e2e.models import trained_digits


def main() -> None:
    model = trained_digits(progress=lambda phrase: print(phrase, file=sys.stderr))
    print(model.directory)


if __name__ == "__main__":
    main()
