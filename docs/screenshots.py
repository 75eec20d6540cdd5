"""Makes the screenshots of the playground: `nox -s screenshots`, then look at them.

The service is the example of docs/how-to/playground.md. How text looks depends on the fonts of the
machine; on Debian: `apt-get install chromium fonts-inter fonts-jetbrains-mono fonts-noto-cjk`.
"""

# ruff: noqa: E501, RUF001, S101, S603 - Chinese has marks of its own; the program is ours

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

DOCS = Path(__file__).parent
BLOCK = re.compile(r"^```\w+ file=(\S+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
QUERY = {"en": "How does a river delta form?", "zh": "河流三角洲是怎样形成的？"}
IN_CHINESE = {
    "Answers questions about the world, and looks things up on the way.": "回答关于世界的问题，并随时查阅地图集。",
    "What you want to know.": "想了解什么。",
    "How to write it.": "写作方式。",
    "Whether to name sources.": "是否注明来源。",
    "Greets somebody.": "向某人问好。",
    "The areas first, then how deltas form.": "先 查面积, 再 说明 三角洲 如何 形成。",
    "How a delta forms": "三角洲如何形成",
    "A river carries **sediment** to the sea. Where it meets still water it slows down, and what it carried\n"
    "*settles*:": "河流把**泥沙**带向大海。遇到静水时流速变慢，携带的物质便*沉积*下来：",
    "Sand falls first, close to the mouth": "沙最先落下，靠近河口",
    "Silt and clay drift on, and fall further out": "粉砂和黏土继续漂流，落在更远处",
    "The river splits around what it has laid down": "河流绕过沉积物分成多条水道",
    "| Delta | Country | Area in km² |": "| 三角洲 | 国家 | 面积（平方公里） |",
    "Mekong | Vietnam": "湄公河 | 越南",
    "Nile | Egypt": "尼罗河 | 埃及",
    "metres per second": "米每秒",
}


def in_chinese(text: str) -> str:
    """Return a file of the example with its texts in Chinese."""
    for english, chinese in IN_CHINESE.items():
        text = text.replace(english, chinese)
    return text


@contextmanager
def service(language: str) -> Generator[str]:
    """Serve the example of the page; the value is the address."""
    page = (DOCS / "how-to" / "playground.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in BLOCK.findall(page):
            shown = in_chinese(text) if language == "zh" else text
            (Path(folder) / name).write_text(shown, encoding="utf-8")
        command = [str(Path(sys.executable).with_name("flowcore")), "config=atlas", "http.port=0"]
        env = {key: value for key, value in os.environ.items() if not key.startswith("FLOW")}
        process = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        try:
            yield next(
                found[1]
                for line in process.stderr
                if (found := re.search(r"playground: ([^)]+)\)", line))
            )
        finally:
            process.terminate()
            process.wait()
            process.stderr.close()


def finished(page: Page) -> None:
    page.wait_for_selector("#state.done")
    page.wait_for_function("() => !document.querySelector('.answer .tail')")
    page.wait_for_selector(".answer .listing")
    page.wait_for_timeout(300)


def running(page: Page) -> None:
    page.wait_for_selector(".answer li:nth-child(2)")


def shoot(
    browser: Browser,
    url: str,
    name: str,
    size: tuple[int, int],
    until: Callable[[Page], None],
    **look: Any,
) -> None:
    """Run the example, and take a picture when it is so far."""
    width, height = size
    language = "zh" if look.get("locale") == "zh-CN" else "en"
    context = browser.new_context(viewport={"width": width, "height": height}, **look)
    page = context.new_page()
    # The same port in all pictures, whichever it was.
    page.goto(url)
    page.get_by_label("query").fill(QUERY[language])
    page.keyboard.press("Control+Enter")
    until(page)
    page.evaluate(
        "snippet.textContent = snippet.textContent.replace(/127.0.0.1:[0-9]+/, '127.0.0.1:8002')"
    )
    page.evaluate("document.activeElement.blur()")
    path = DOCS / "images" / f"{name}.png"
    page.screenshot(path=path)
    print(f"{path.relative_to(DOCS.parent)}: {path.stat().st_size // 1024} KiB")
    context.close()


def main() -> None:
    """Make all of them."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    arguments = ["--no-sandbox", "--disable-gpu", "--no-proxy-server", "--hide-scrollbars"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        phone: dict[str, Any] = {"device_scale_factor": 1.5, "is_mobile": True, "has_touch": True}
        with service("en") as url:
            shoot(browser, url, "playground", (1320, 900), finished)
            shoot(browser, url, "playground-dark", (1320, 900), finished, color_scheme="dark")
            shoot(browser, url, "playground-phone", (360, 720), running, **phone)
        with service("zh") as url:
            shoot(browser, url, "playground-zh", (1320, 900), finished, locale="zh-CN")
        browser.close()


if __name__ == "__main__":
    main()
