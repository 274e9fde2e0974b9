"""A Python that has TensorFlow, apart from the project's own: 2 GB that only training and a few tests need."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from e2e.cluster.locks import exclusive
from e2e.cluster.paths import cache_root

CHECKOUT = Path(__file__).resolve().parents[2]
UV = CHECKOUT / "scripts" / "uv"
TOOLS = ("tensorflow-cpu", "scikit-learn", "keras", "tensorflow-serving-api")


def tensorflow_python() -> list[str]:
    """Return the command of a Python with TensorFlow and scikit-learn, installed first where it is missing."""
    if sys.platform != "linux":
        return _unlocked_python()
    environment = cache_root() / "venv-tensorflow"
    with exclusive(cache_root() / "venv-tensorflow.lock"):
        subprocess.run(
            [UV, "sync-locked", "--group", "tensorflow"],
            env={**os.environ, "UV_PROJECT_ENVIRONMENT": str(environment)},
            check=True,
        )
    return [str(environment / "bin" / "python"), "-P"]


def _unlocked_python() -> list[str]:
    # tensorflow-cpu, which the lock file names, has wheels for Linux only; elsewhere tensorflow itself is CPU-only.
    versions = locked_versions()
    tensorflow = versions.pop("tensorflow-cpu")
    wanted = [f"tensorflow=={tensorflow}", *(f"{name}=={version}" for name, version in versions.items())]
    requirements = [argument for requirement in wanted for argument in ("--with", requirement)]
    return [str(UV), "run", "--no-project", *requirements, "python", "-P"]


def locked_versions() -> dict[str, str]:
    """Return the versions that uv.lock pins for what the trained model depends on, by package name."""
    lock = tomllib.loads((CHECKOUT / "uv.lock").read_text())
    return {package["name"]: package["version"] for package in lock["package"] if package["name"] in TOOLS}
