"""The main job in one go: a server, a real model, a question over HTTP, a streamed answer.

Run it with `nox -s demo`, or `nox -s demo -- "another question"`.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys

from flowcore_http import HttpClient

FLOW = "demo_stream_http_flow"


def start_server() -> tuple[subprocess.Popen[str], str]:
    """Start `flowcore config=local` on a free port and return it with its address."""
    command = [sys.executable, "-m", "flowcore", "config=local", "http.port=0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    assert server.stderr is not None
    printed = ""
    for line in server.stderr:
        printed += line
        if found := re.search(r"serving at (\S+)", line):
            return server, found[1]
    raise SystemExit(f"the server did not start:\n{printed}")


async def ask(url: str, question: str) -> None:
    """Send the question and print the answer as it is generated."""
    async with HttpClient(url) as client:
        print("health:   ", await client.health_check())
        print("endpoints:", ", ".join((await client.list_endpoints())["paths"]))
        print(f"question:  {question}\nanswer:    ", end="", flush=True)
        async for chunk in client.execute_stream_flow(FLOW, query=question):
            if chunk["type"] == "answer":
                print(chunk["content"], end="", flush=True)
            elif chunk["type"] == "usage":
                print(f"\nusage:     {chunk['content']}")
            elif chunk["type"] == "error":
                raise SystemExit(f"\nthe flow failed: {chunk['content']}")


def main() -> None:
    question = " ".join(sys.argv[1:]) or "What is the capital of France, and what is it known for?"
    server, url = start_server()
    try:
        asyncio.run(ask(url, question))
    finally:
        server.terminate()
        server.communicate(timeout=30)
    body = shlex.quote(json.dumps({"query": question}, ensure_ascii=False))
    print("\nThe same with curl, while `nox -s serve` runs:")
    print(f"  curl -N -X POST http://127.0.0.1:8002/{FLOW} \\")
    print(f"    -H 'Content-Type: application/json' -d {body}")


if __name__ == "__main__":
    main()
