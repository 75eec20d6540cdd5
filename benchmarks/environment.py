"""An environment of its own for each peer, made by uv and kept between runs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.peer import Peer

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".nox" / "bench-peers"
INSTALL_SECONDS = 600
KEPT_SECONDS = 86_400
PYTHON = Path("Scripts/python.exe" if os.name == "nt" else "bin/python")


class InstallError(Exception):
    """A peer's environment cannot be made; the text is the end of what uv said."""


def prepare(peer: Peer) -> Path:
    """Make the peer's environment unless it is there; return its Python.

    Environments of other dependencies or sources stay for a day, for they may be in use.

    Raises:
        InstallError: uv failed.
    """
    folder = FOLDER / f"{peer.name}-{_digest(peer)[:12]}"
    if not folder.exists():
        new = folder.with_name(f"{folder.name}.{os.getpid()}")
        try:
            _install(peer, new)
            new.rename(folder)
        except OSError:
            if not folder.exists():
                raise
        finally:
            shutil.rmtree(new, ignore_errors=True)
    os.utime(folder)
    for other in FOLDER.glob(f"{peer.name}-*"):
        if other.stat().st_mtime < time.time() - KEPT_SECONDS:
            shutil.rmtree(other, ignore_errors=True)
    return folder / PYTHON


def _install(peer: Peer, folder: Path) -> None:
    _uv("venv", "--python", sys.executable, str(folder))
    # Compiled, or the first start of each peer would compile what it imports, and only that one.
    install = ("pip", "install", "--compile-bytecode", "--python", str(folder / PYTHON))
    if peer.repo:
        # uv keeps what it built from a folder; the sources may have changed since.
        repo = [f"./{path}" for path in peer.repo]
        constraints = ("--constraint", "constraints.txt", "--reinstall")
        _uv(*install, *constraints, *repo, *peer.dependencies)
    elif peer.dependencies:
        _uv(*install, *peer.dependencies)
    if peer.alone:
        _uv(*install, "--constraint", "constraints.txt", "--no-deps", *peer.alone)


def versions(python: Path) -> dict[str, str]:
    """Return the versions of the distributions in an environment."""
    listed = json.loads(_uv("pip", "list", "--python", str(python), "--format", "json"))
    return {each["name"]: each["version"] for each in listed}


def _digest(peer: Peer) -> str:
    digest = hashlib.sha256(repr((sys.version, peer.dependencies, peer.alone, peer.repo)).encode())
    for folder in peer.repo:
        source = ROOT / folder.partition("[")[0]
        paths = (path for path in source.rglob("*") if "__pycache__" not in path.parts)
        for path in sorted(paths):
            if path.is_file():
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _uv(*arguments: str) -> str:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise InstallError("uv is missing: pip install uv")
    done = subprocess.run(
        [uv, *arguments], cwd=ROOT, capture_output=True, timeout=INSTALL_SECONDS, check=False
    )
    if done.returncode:
        raise InstallError(done.stderr.decode(errors="replace").strip()[-2000:])
    return done.stdout.decode()
