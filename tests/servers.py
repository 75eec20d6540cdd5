"""Which server the tests of the service run on: ``TEST_SERVER=uvicorn`` for another than ours."""

from __future__ import annotations

import os
from typing import Literal, cast

SERVER = cast("Literal['hypercorn', 'uvicorn']", os.environ.get("TEST_SERVER", "hypercorn"))
