"""The playground's endpoints: what they answer, to whom, and that nothing in a text can run."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from itertools import pairwise
from typing import Any

import anyio
import httpx
import pytest

from flowcore import BaseAsyncOp
from flowcore_http import HttpSettings
from flowcore_http.listener import listen
from flowcore_http.playground.markdown import render
from flowcore_http.serving import announce

KEY = "alice-has-this-key-0123456789"
EVIL = "<script>alert('x')</script>"
FLOWS: dict[str, Any] = {
    "demo": {
        "flow_content": "IdleOp() >> (IdleOp() | IdleOp())",
        "stream": True,
        "description": f"Does nothing {EVIL}",
        "input_schema": {"query": {"type": "string", "enum": ["a", EVIL]}},
    },
    "plain": {"flow_content": "IdleOp()"},
}
STATIC = files("flowcore_http.playground") / "static"
ASSETS = sorted(path.name for path in STATIC.iterdir() if path.name != "page.html")
PATHS = ["/playground", *(f"/playground/{name}" for name in ASSETS)]


class IdleOp(BaseAsyncOp):
    """Does nothing."""

    async def async_execute(self):
        pass


@pytest.fixture
async def client(serve):
    async with serve(FLOWS, IdleOp, playground=True) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            yield http


@pytest.fixture
async def guarded(serve):
    limits = {"api_keys": {"alice": KEY}, "rate_limit": "1/hour"}
    async with serve(FLOWS, IdleOp, playground=True, **limits) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            yield http


def bearer(key: str = KEY) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# --- the page and its parts ---


async def test_the_page_names_its_parts_and_nothing_from_elsewhere(client):
    page = await client.get("/playground")
    parts = re.findall(r'(?:src|href)="([^"#]+)"', page.text)

    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "docs" in parts
    for part in parts:
        assert (await client.get(f"/{part}")).status_code == 200
    for path in PATHS:
        text = (await client.get(path)).text
        assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("main.js", "text/javascript; charset=utf-8"),
        ("layout.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_a_part_of_the_page_has_its_content_type(client, name, kind):
    response = await client.get(f"/playground/{name}")

    assert response.headers["Content-Type"] == kind
    assert response.content == (STATIC / name).read_bytes()


def test_each_colour_is_written_once_light_and_dark_side_by_side():
    written = re.findall(r"(--[\w-]+):([^;]+);", (STATIC / "colors.css").read_text("utf-8"))

    assert "--ink" in dict(written)
    assert len(written) == len(dict(written))
    assert all("light-dark(" in value for _, value in written)


async def test_every_answer_forbids_what_the_page_does_not_need(client):
    asked = [
        *[await client.get(path) for path in PATHS],
        await client.get("/playground/flows.json"),
        await client.post("/playground/markdown", json={"text": "x"}),
    ]

    for response in asked:
        policy = dict(
            part.strip().split(" ", 1)
            for part in response.headers["Content-Security-Policy"].split(";")
        )
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self'",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
            "trusted-types": "'none'",
        }
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_no_module_of_the_page_makes_markup_or_code_from_text():
    for name in ASSETS:
        text = (STATIC / name).read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|Function\(|"
            r"srcdoc|createContextualFragment|setHTML|\.style\b|setTimeout\(['\"]",
            text,
        ), name
    page = (STATIC / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", page)


async def test_a_part_that_the_browser_has_is_not_sent_again(client):
    first = await client.get("/playground/main.js")
    tag = first.headers["ETag"]
    again = await client.get("/playground/main.js", headers={"If-None-Match": f'"x", W/{tag}'})
    other = await client.get("/playground/main.js", headers={"If-None-Match": '"other"'})

    assert first.headers["Cache-Control"] == "no-cache"
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert other.status_code == 200


@pytest.mark.parametrize("path", ["/playground", "/playground/main.js", "/playground/flows.json"])
async def test_head_tells_the_length_and_other_methods_are_refused(client, path):
    got = await client.get(path)
    head = await client.head(path)
    posted = await client.post(path, json={})

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(got.content))
    assert (posted.status_code, posted.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize(
    "path",
    [
        *("/playground/", "/playground/page.html", "/playground/routes.py", "/playground/x.js"),
        *(
            "/playground/../playground/routes.py",
            "/playground/..%2froutes.py",
            "/playground/%2e%2e",
        ),
        *("/playground//main.js", "/playground/main.js/", "/playground/static/main.js"),
        "/playground/%2e%2e",
    ],
)
async def test_nothing_else_is_found_below_the_page(client, path):
    assert (await client.get(path)).status_code == 404


# --- where it is ---


@pytest.mark.parametrize(("setting", "status"), [(None, 404), (False, 404), (True, 200)])
async def test_an_app_for_other_servers_has_it_if_that_is_said(serve, setting, status):
    async with serve(FLOWS, IdleOp, playground=setting) as server, httpx.AsyncClient() as http:
        for path in ("/playground", "/playground/main.js", "/playground/flows.json"):
            assert (await http.get(f"{server.url}{path}")).status_code == status


@pytest.mark.parametrize(
    ("host", "setting", "shown"),
    [
        ("127.0.0.1", None, True),
        ("127.0.0.1", False, False),
        ("0.0.0.0", None, False),
        ("0.0.0.0", True, True),
    ],
)
def test_the_service_has_it_where_only_this_machine_can_reach_it(
    make_app, capsys, host, setting, shown
):
    settings = HttpSettings(host=host, port=0, playground=setting)
    with listen(settings) as sock:
        announce(make_app(FLOWS, IdleOp), settings, sock)

    assert ("/playground)" in capsys.readouterr().err) is shown


# --- keys and limits ---


async def test_code_is_for_everybody_and_the_flows_are_for_those_with_a_key(guarded):
    for path in PATHS:
        response = await guarded.get(path)
        assert response.status_code == 200
        assert "demo" not in response.text
    assert (await guarded.get("/playground/flows.json")).status_code == 401
    refused = await guarded.post("/playground/markdown", json={"text": "x"})
    assert refused.status_code == 401
    assert (await guarded.get("/playground/nothing.js")).status_code == 401


async def test_the_page_takes_nothing_of_the_rate_of_its_user(guarded):
    for _ in range(3):
        for path in (*PATHS[:3], "/playground/flows.json"):
            assert (await guarded.get(path, headers=bearer())).status_code == 200
        body = {"text": "x"}
        rendered = await guarded.post("/playground/markdown", json=body, headers=bearer())
        assert rendered.status_code == 200

    statuses = [
        (await guarded.post("/plain", json={}, headers=bearer())).status_code for _ in range(2)
    ]
    assert statuses == [200, 429]


# --- the list of flows ---


async def test_the_flows_come_with_their_forms_and_drawings(client):
    response = await client.get("/playground/flows.json")
    listed = response.json()
    demo, plain = listed["flows"]

    assert response.headers["Cache-Control"] == "no-store"
    assert listed["keys"] is False
    assert (demo["name"], demo["stream"], plain["stream"]) == ("demo", True, False)
    assert demo["description"] == f"Does nothing {EVIL}"
    assert demo["input_schema"]["properties"]["query"]["enum"] == ["a", EVIL]
    assert re.findall(r'"data-op": "([^"]*)"', json.dumps(demo["graph"])) == [
        *("0.0", "0.1.0", "0.1.1"),
    ]
    assert demo["graph"][0] == "svg"


async def test_drawing_many_large_flows_keeps_no_other_request_waiting(serve):
    flow = {"flow_content": " >> ".join(["IdleOp()"] * 300), "stream": True}
    ticks: list[float] = []
    drawn: list[object] = []
    async with serve({f"f{n}": flow for n in range(20)}, IdleOp, playground=True) as server:
        async with (
            httpx.AsyncClient(base_url=server.url) as http,
            anyio.create_task_group() as tasks,
        ):
            listed = anyio.Event()

            async def tick() -> None:
                while not listed.is_set():
                    ticks.append(anyio.current_time())
                    await anyio.sleep(0.001)

            tasks.start_soon(tick)
            response = await http.get("/playground/flows.json", timeout=30)
            drawn += response.json()["flows"]
            listed.set()

    assert len(drawn) == 20
    assert max(later - tick for tick, later in pairwise(ticks)) < (ticks[-1] - ticks[0]) / 2


async def test_the_list_says_whether_the_examples_need_a_key(guarded):
    listed = (await guarded.get("/playground/flows.json", headers=bearer())).json()

    assert listed["keys"] is True
    assert KEY not in json.dumps(listed)


# --- Markdown ---


def names(trees: list[Any]) -> set[str]:
    """Return the elements in trees."""
    found: set[str] = set()
    for tree in trees:
        if isinstance(tree, list):
            found |= {tree[0], *names(tree[2:])}
    return found


def links(trees: list[Any]) -> list[dict[str, str]]:
    """Return the attributes of the links in trees."""
    found: list[dict[str, str]] = []
    for tree in trees:
        if isinstance(tree, list):
            found += [tree[1]] if tree[0] == "a" else []
            found += links(tree[2:])
    return found


def text_of(trees: list[Any]) -> str:
    return "".join(tree if isinstance(tree, str) else text_of(tree[2:]) for tree in trees)


def all_of(text: str) -> list[Any]:
    rendered = render(text)
    return [*rendered["closed"], *rendered["open"]]


async def test_markdown_is_answered_as_trees(client):
    response = await client.post("/playground/markdown", json={"text": "# A\n\n- *b* `c`\n"})

    assert response.json() == {
        "closed": [["h1", {}, "A"]],
        "final": 5,
        "open": [["ul", {}, ["li", {}, ["em", {}, "b"], " ", ["code", {}, "c"]]]],
        "fence": "",
    }


def test_tables_and_strikethrough_are_known():
    assert {"table", "thead", "th", "tbody", "td", "s"} <= names(
        all_of("| a | b |\n|:--|--:|\n| ~~c~~ | d |\n")
    )
    (table,) = all_of("| a |\n|:-:|\n| b |\n")
    assert table[2][2][2][1] == {"data-align": "center"}


@pytest.mark.parametrize(
    "text",
    [
        EVIL,
        "<img src=x onerror=alert(1)>",
        "a <b onclick=alert(1)>b</b>",
        "<svg/onload=alert(1)>",
        "<!-- x --> <?php ?> <![CDATA[x]]>",
        "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
        "- <style>*{display:none}</style>",
    ],
)
def test_html_stays_text(text):
    trees = all_of(text)

    assert names(trees) <= {"p", "ul", "li"}
    assert text_of(trees) == text.removeprefix("- ")


@pytest.mark.parametrize(
    "url",
    [
        *("javascript:alert(1)", "JaVaScRiPt:alert(1)", "&#106;avascript:alert(1)"),
        *("vbscript:x", "data:text/html;base64,PHNjcmlwdD4=", "data:image/png;base64,iVBORw0KGgo="),
        *("file:///etc/passwd", "blob:http://x/y", "//evil.example", "/runs/1/cancel", "#x", "x"),
        *("java%0ascript:alert(1)", "\u0001javascript:alert(1)", "view-source:http://x"),
    ],
)
def test_a_link_leads_to_a_web_page_or_to_mail_or_nowhere(url):
    for text in (f"[a]({url})", f"[a](<{url}>)", f"![a]({url})", f"[a][b]\n\n[b]: {url}"):
        assert all(attributes == {} for attributes in links(all_of(text)))


@pytest.mark.parametrize("url", ["http://a.example/x?y=1", "https://a.example", "mailto:a@b.c"])
def test_web_pages_and_mail_can_be_linked(url):
    for text in (f"[a]({url})", f"<{url.removeprefix('mailto:')}>"):
        assert links(all_of(text)) == [{"href": url}]


def test_an_image_is_a_link_for_nothing_is_loaded_from_elsewhere():
    trees = all_of('![the *sea*](https://a.example/x.png "title") ![](https://a.example/y.png)')

    assert "img" not in names(trees)
    assert links(trees) == [
        {"href": "https://a.example/x.png"},
        {"href": "https://a.example/y.png"},
    ]
    assert "the *sea*" in text_of(trees)
    assert "https://a.example/y.png" in text_of(trees)


def test_only_attributes_that_mean_something_are_passed_on():
    trees = all_of('```py onclick="x"\na\n```\n\n[a](https://x.example "title")\n\n3. x\n')

    assert trees == [
        ["pre", {}, ["code", {"data-language": "py"}, "a\n"]],
        ["p", {}, ["a", {"href": "https://x.example"}, "a"]],
        ["ol", {"start": "3"}, ["li", {}, "x"]],
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_what_is_final_is_counted_as_javascript_counts(end):
    first = f"\U0001f600 paragraph{end}{end}"
    rendered = render(f"{first}and the ne")

    assert rendered["final"] == len(first) + 1
    assert text_of(rendered["open"]) == "and the ne"


@pytest.mark.parametrize(
    "text",
    [
        "# A\n\nb **c**\n\n- d\n- e\n\n  f\n\n1. g\n\n| h |\n|---|\n| i |\n",
        "> a\n\n---\n\nb\n===\n\nc\n---\n",
        "a\n\n```py\nb\n\nc\n```\n\nd\n\n    e\n\n    f\n\ng\n",
        "你好\n\n- 一\n- 二\n\n**三**\n",
    ],
)
def test_a_text_in_pieces_becomes_what_it_is_as_a_whole(text):
    for step in (1, 3, 7):
        closed: list[Any] = []
        start = 0
        rendered: dict[str, Any] = {"open": []}
        for end in range(step, len(text) + step, step):
            rendered = render(text[start:end])
            closed += rendered["closed"]
            start += rendered["final"]

        assert [*closed, *rendered["open"]] == all_of(text)


@pytest.mark.parametrize(
    ("text", "fence"),
    [
        ("```py\na", "```py\n"),
        ("~~~~\na\n~~~\n", "~~~~\n"),
        ("```\n", "```\n"),
        ("```py\na\n```\n", ""),
        ("```py\na\n````", ""),
        ("a", ""),
        ("", ""),
    ],
)
def test_an_open_code_block_is_told_so_that_it_can_go_on(text, fence):
    assert render(text)["fence"] == fence


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{}", 422, "invalid_input"),
        (b'{"text": 1}', 422, "invalid_input"),
        (b"[]", 422, "invalid_input"),
        (b"# A", 400, "invalid_json"),
        (json.dumps({"text": "x" * 80_001}).encode(), 413, "body_too_large"),
        (json.dumps({"text": "x" * 12_001}).encode(), 413, "body_too_large"),
    ],
)
async def test_a_request_for_markdown_is_checked(client, body, status, code):
    kind = {"Content-Type": "application/json"}
    response = await client.post("/playground/markdown", content=body, headers=kind)

    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 12_000, "![" * 6_000, "*a " * 4_000, "[a](" * 3_000, "`" * 12_000, "> " * 6_000),
        "a|" * 100 + "\n" + "-|" * 100 + "\n" + "x\n" * 5_000,
        "".join("  " * depth + "- a\n" for depth in range(100)),
    ],
    ids=range(8),
)
async def test_a_text_that_is_hard_to_parse_is_parsed_in_bounded_time(client, text):
    with anyio.fail_after(10):
        response = await client.post("/playground/markdown", json={"text": text}, timeout=10)

    assert response.status_code == 200


def depth(trees: list[Any]) -> int:
    return 1 + max((depth(tree[2:]) for tree in trees if isinstance(tree, list)), default=0)


async def test_nesting_ends_somewhere_and_the_text_stays(client):
    text = "*" * 5_000 + "a" + "*" * 5_000
    response = await client.post("/playground/markdown", json={"text": text})
    (paragraph,) = response.json()["open"]

    assert text_of([paragraph]) == "a"
    assert depth([paragraph]) < 100


def test_a_table_that_lacks_most_of_its_cells_is_none():
    wide = "a|" * 500 + "\n" + "-|" * 500 + "\n"
    assert names(all_of(wide + "x\n" * 5_000)) == {"p"}
    full = all_of(wide + "b|" * 500 + "\n")
    assert json.dumps(full).count('["td"') == 500
    short = all_of("a|b|c|d|e|f\n-|-|-|-|-|-\n1|2|3|4|5|6\n1|2|3|4|5|6\n1\n")
    assert json.dumps(short).count('["tr"') == 4


async def test_a_lone_surrogate_does_no_harm(client):
    body = b'{"text": "a\\ud800b"}'
    kind = {"Content-Type": "application/json"}
    response = await client.post("/playground/markdown", content=body, headers=kind)

    assert response.status_code in {200, 400}
