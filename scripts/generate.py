"""Write the files that are made from the API models and the settings, or check that they are up to date.

``python scripts/generate.py`` writes them; ``--check`` writes nothing and exits 1 when one differs.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "operator"), str(ROOT)]

from scripts.settings_page import render_settings_page  # noqa: E402
from tfserving_operator.api.crd import build_crd, render_crd  # noqa: E402 - needs the source root
from tfserving_operator.api.reference import render_reference  # noqa: E402

CRD_FILE = "tfserving.dev_servedmodels.yaml"


def generated_files() -> dict[Path, str]:
    """Return the content of every generated file by its path in the checkout."""
    crd = render_crd()
    return {
        Path("crds") / CRD_FILE: crd,
        Path("charts/tfserving-operator/crds") / CRD_FILE: crd,
        Path("docs/api.md"): render_reference(build_crd()),
        Path("docs/settings.md"): render_settings_page(),
    }


def main() -> int:
    """Write or check all generated files; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, show differences, exit 1 on any")
    check = parser.parse_args().check
    stale = {path: text for path, text in generated_files().items() if _current(path) != text}
    for path, text in stale.items():
        if check:
            sys.stdout.writelines(_difference(path, text))
        else:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path}\n")
    if check and stale:
        sys.stderr.write("Generated files differ: run `make generate` and commit the result.\n")
    return 1 if check and stale else 0


def _current(path: Path) -> str:
    file = ROOT / path
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _difference(path: Path, text: str) -> list[str]:
    old, new = _current(path).splitlines(keepends=True), text.splitlines(keepends=True)
    return list(difflib.unified_diff(old, new, f"{path} (in the checkout)", f"{path} (generated)"))


if __name__ == "__main__":
    raise SystemExit(main())
