from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent
from types import ModuleType

from flowcore import FlowApp
from flowcore.testing import run_op
from flowcore_example import HelloOp

README = Path(__file__).parents[3] / "plugins" / "flowcore-example" / "README.md"


async def test_the_op_greets_by_name():
    result = await run_op(HelloOp(), name="Bob")

    assert result.response.answer == "Hello Bob"


async def test_the_op_greets_the_world_where_nobody_is_named():
    result = await run_op(HelloOp())

    assert result.response.answer == "Hello world"


async def test_the_op_is_found_by_its_name_through_the_config_that_the_package_ships():
    async with FlowApp("hello") as app:
        assert (await app.execute("hello", name="Bob")).answer == "Hello Bob"
        assert (await app.execute("hello")).answer == "Hello world"


def test_the_entry_point_names_the_plugin():
    (entry,) = entry_points(group="flowcore", name="example")

    assert entry.value == "flowcore_example"


async def test_the_plugin_of_the_readme_works_as_written():
    text = README.read_text(encoding="utf-8")
    (code,) = re.findall(r"^ *```python\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    weather = ModuleType("flowcore_weather")
    exec(dedent(code), vars(weather))

    config = {"flow": {"weather": {"flow_content": "WeatherOp()"}}}
    async with FlowApp(config, plugins=[weather]) as app:
        assert (await app.execute("weather", city="Ulm")).answer == "In Ulm it is fine."
