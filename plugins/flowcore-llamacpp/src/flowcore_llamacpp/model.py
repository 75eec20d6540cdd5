"""A model in memory: loaded on first use, freed once."""

from __future__ import annotations

import importlib
import logging
import secrets
import threading
from pathlib import Path
from typing import Any

from flowcore import BackendError
from flowcore_llamacpp.settings import EngineParams

logger = logging.getLogger("flowcore_llamacpp")

PROMPT_BATCH = 512
"""Tokens of a prompt that are processed at once; a stop takes effect between two batches."""


class Model:
    """A GGUF model and the engine that runs it. All methods may be called from any thread.

    Args:
        path: The GGUF file.
        name: Name of the model.
        params: What shapes the engine.
    """

    def __init__(self, path: Path, name: str, params: EngineParams) -> None:
        self._path = path
        self._name = name
        self._params = params
        self._lock = threading.Lock()
        self._server: Any = None

    def server(self) -> Any:
        """Return the engine; the first call loads the model, others wait for it.

        Raises:
            BackendError: If the model cannot be loaded (code ``model_load_failed``).
        """
        with self._lock:
            if self._server is None:
                self._server = self._load()
            return self._server

    def free(self) -> None:
        """Give the memory back; nothing may be generating."""
        with self._lock:
            if self._server is not None:
                # To free the engine is to wait for its current batch while holding the GIL. This
                # call waits for it without.
                self._server.handle_metrics()
                self._server = None

    def _load(self) -> Any:
        self._read_ahead()
        # Imported here because it is large; by name because it has no types.
        xllamacpp: Any = importlib.import_module("xllamacpp")
        try:
            return xllamacpp.Server(self._engine_params(xllamacpp.CommonParams()))
        except RuntimeError as error:
            raise BackendError(
                f"llama.cpp cannot load {str(self._path)!r}: the file is damaged, its architecture "
                "is unknown to the installed xllamacpp, or the memory does not suffice; set the "
                "logger 'flowcore_llamacpp' to DEBUG to see the engine's log",
                code="model_load_failed",
            ) from error

    def _read_ahead(self) -> None:
        # xllamacpp holds the GIL while it loads, which halts the event loop; so what can be slow,
        # the disk, is done first: the file is then in the page cache.
        try:
            with self._path.open("rb", buffering=0) as file:
                block = bytearray(1 << 20)
                while file.readinto(block):
                    pass
        except OSError as error:
            raise BackendError(
                f"cannot read the model file {str(self._path)!r} ({error.strerror})",
                code="model_load_failed",
            ) from error

    def _engine_params(self, engine: Any) -> Any:
        params = self._params
        engine.model.path = str(self._path)
        engine.model_alias = {self._name}
        # The engine divides its context among the requests that run at once.
        engine.n_ctx = params.n_ctx * params.n_parallel
        engine.n_parallel = params.n_parallel
        engine.n_batch = PROMPT_BATCH
        if params.n_threads is not None:
            engine.cpuparams.n_threads = params.n_threads
            engine.cpuparams_batch.n_threads = params.n_threads
        if params.n_gpu_layers is not None:
            engine.n_gpu_layers = params.n_gpu_layers
        engine.chat_template = params.chat_template
        # The first request warms up just as well, and without holding the GIL.
        engine.warmup = False
        # By default gigabytes of old prompts are kept.
        engine.cache_ram_mib = 0
        # The engine logs to stderr, without a way to redirect it.
        engine.verbosity = 3 if logger.isEnabledFor(logging.DEBUG) else 0
        # The engine always opens a port on loopback. Nobody is meant to use it: other users of
        # this machine, and web pages in its browser, must not get at the model.
        engine.api_keys = [secrets.token_urlsafe(32)]
        engine.cors_origins = "http://127.0.0.1"
        engine.cors_origins_explicit = True
        engine.ui = False
        engine.endpoint_slots = False
        engine.endpoint_metrics = True  # handle_metrics needs it
        engine.n_threads_http = 1
        return engine
