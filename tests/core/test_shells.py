"""The scripts of `flowcore completion`, each in its shell, where somebody presses Tab."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    import fcntl
    import os
    import pty
    import re
    import select
    import signal
    import subprocess
    import termios
    import time
    from collections.abc import Callable, Generator
    from contextlib import contextmanager
    from functools import partial
    from pathlib import Path

    import pytest

    from tests.tools import find_tool

    BIN = Path(sys.executable).parent
    PATIENCE = 60
    SHELLS = {
        "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(flowcore completion bash)"'),
        "zsh": (["zsh", "-f", "-i"], 'eval "$(flowcore completion zsh)"'),
        "fish": (["fish", "--no-config", "-i"], "flowcore completion fish | source"),
    }
    CONFIG = """
imports: [flowcore.testing]
flow:
  first_flow:
    flow_content: ChatOp()
    description: the first
    input_schema:
      query: {type: string}
llm: {default: {backend: scripted, replies: [[it works]]}}
"""

    class Terminal:
        """A terminal with a shell, in which somebody types."""

        def __init__(self, fd: int) -> None:
            self._fd = fd
            self.shown = ""

        def type(self, text: str) -> None:
            os.write(self._fd, text.encode())

        def wait_for(self, pattern: str) -> None:
            """Wait until the shell shows something, and forget all until there."""
            deadline = time.monotonic() + PATIENCE
            while not (found := re.search(pattern, self.shown)):
                assert time.monotonic() < deadline, self.shown
                if select.select([self._fd], [], [], 0.1)[0]:
                    self.shown += os.read(self._fd, 65536).decode(errors="replace")
            self.shown = self.shown[found.end() :]

    @contextmanager
    def terminal(name: str, home: Path) -> Generator[Terminal]:
        command, script = SHELLS[name]
        program = find_tool(command[0], package=name)
        ours, theirs = pty.openpty()
        control = partial(fcntl.ioctl, 0, termios.TIOCSCTTY, 0)
        environment = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(home),
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
            "PS1": "> ",
        }
        with subprocess.Popen(
            [program, *command[1:]], stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
            start_new_session=True, preexec_fn=control,  # noqa: PLW1509 - it takes no lock
        ) as process:  # fmt: skip
            os.close(theirs)
            try:
                shell = Terminal(ours)
                shell.type(f"{script}; echo rea''dy\n")
                shell.wait_for("\nready")
                yield shell
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                os.close(ours)

    @pytest.mark.parametrize("name", SHELLS)
    def test_tab_completes_commands_configs_flows_and_inputs(
        name: str, tmp_path: Path, write: Callable[[str, str], Path]
    ) -> None:
        write("my_config.yaml", CONFIG)
        write("rows.jsonl", '{"query": "hello"}')
        with terminal(name, tmp_path) as shell:
            shell.type("flowcore flo\tconf\tmy_c\t\n")
            shell.wait_for("first_flow")
            shell.wait_for("the first")

            shell.type("flowcore cal\tfir\t--conf\tmy_c\tque\thello\n")
            shell.wait_for("it works")

            shell.type("flowcore bat\tfir\trows.j\t-o out.jsonl conf\tmy_c\t--qui\t; echo do''ne\n")
            shell.wait_for("\ndone")
        assert "it works" in (tmp_path / "out.jsonl").read_text(encoding="utf-8")
