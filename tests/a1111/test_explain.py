"""The panel "Concord Explain" and the route that its page asks, on every shape of host."""

import asyncio
import json
import shutil
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
from webui_fake import ROOT
from webui_text import install

JSON = {"content-type": "application/json"}
SCRIPT = ROOT / "javascript" / "concord_prompt.js"


@pytest.fixture
def host(webui_fake, monkeypatch):
    webui_fake.inside = install(webui_fake, monkeypatch, embeddings={"blob": [0] * 3})
    webui_fake.panel = webui_fake.part("explain_panel")
    return webui_fake


@pytest.fixture
def starlette(monkeypatch):
    """Starlette's answers and its pool of threads, in a few lines."""
    responses, concurrency = ModuleType("starlette.responses"), ModuleType("starlette.concurrency")
    responses.JSONResponse = lambda data, status_code=200: SimpleNamespace(data=data, status=status_code)

    async def run_in_threadpool(work, *given):
        return await asyncio.to_thread(work, *given)

    concurrency.run_in_threadpool = run_in_threadpool
    monkeypatch.setitem(sys.modules, "starlette", ModuleType("starlette"))
    monkeypatch.setitem(sys.modules, "starlette.responses", responses)
    monkeypatch.setitem(sys.modules, "starlette.concurrency", concurrency)


class Request:
    """A request whose body comes in blocks; ``left`` are those not asked for."""

    def __init__(self, *blocks, headers=JSON):
        self.left, self.headers = list(blocks), headers

    async def stream(self):
        while self.left:
            yield self.left.pop(0)


class App:
    """The host's server: its table of routes."""

    def __init__(self):
        self.router = SimpleNamespace(routes=[SimpleNamespace(path="/")])

    def add_route(self, path, answer, methods):
        self.router.routes.append(SimpleNamespace(path=path, answer=answer, methods=methods))


def test_the_panel_is_there_and_takes_no_arguments(host):
    [kind] = host.panel.register()
    for img2img, tab in ((False, "txt2img"), (True, "img2img")):
        script, controls = host.make_ui(kind, img2img=img2img)
        assert controls == []
        assert script.alwayson
        ids = [one.elem_id for one in host.gradio.made if one.elem_id]
        assert {f"concord_{tab}_explain", f"concord_{tab}_explain_shown"} <= set(ids)


def test_the_route_is_there_once_and_the_newest(host):
    app = App()
    host.panel.register()
    for callback in host.callbacks["app_started"] * 2:
        callback(None, app)
    assert [one.path for one in app.router.routes] == ["/", "/concord/explain"]
    assert app.router.routes[1].methods == ["POST"]


def test_an_answer_is_json_and_an_error_one_line_of_it(host, starlette):
    asked = json.dumps({"text": "a cat", "dialect": "host", "sampler": "Heun", "picture": True}).encode()
    found = asyncio.run(host.panel.answered(Request(asked[:9], asked[9:])))
    assert found.data["tokens"] == 2
    json.dumps(found.data)
    refused = asyncio.run(host.panel.answered(Request(b'{"text": 1}')))
    assert (refused.status, refused.data) == (400, {"error": "text is 1; send the text"})
    foreign = asyncio.run(host.panel.answered(Request(asked, headers={})))
    assert foreign.status == 400


def test_a_body_that_is_too_long_is_not_read_to_its_end(host, starlette):
    request = Request(*[b"a" * 100_000] * 50)
    assert asyncio.run(host.panel.answered(request)).status == 400
    assert len(request.left) > 40


def test_the_hosts_embeddings_and_loras_are_known(host):
    found = host.panel.explained({"text": "a blob <lora:ink:1> <lora:nix:1>"})
    assert found["tokens"] == 4
    [warning] = found["warnings"]
    assert "nix" in warning["message"]


def test_the_calls_of_the_hosts_sampler_count(host):
    """Of two steps by Heun A1111 makes four: each word of four has its own."""
    text = "[a|b|c|d]"
    assert host.panel.explained({"text": text, "steps": 2, "sampler": "Heun"})["texts"] == 4
    assert host.panel.explained({"text": text, "steps": 2, "sampler": "Euler"})["texts"] == 2
    asked = {"text": text, "steps": 2, "sampler": "Heun", "dialect": "concord"}
    assert host.panel.explained(asked)["texts"] == 2


def test_the_hosts_settings_count(host):
    text = "a # b\nc"
    assert host.panel.explained({"text": text})["tokens"] == 2
    host.opts.add_option("enable_prompt_comments", SimpleNamespace(default=False))
    assert host.panel.explained({"text": text})["tokens"] == 4


def test_a_host_without_a_model_yet_explains_too(host):
    host.shared.sd_model = SimpleNamespace()
    assert host.panel.explained({"text": "a blob"})["tokens"] == 2


PAGE = """
const fs = require("fs");
const nodes = {};
class Node {
  constructor(tag) { this.tag = tag; this.children = []; this.style = {}; this.kinds = [];
    this.classList = { add: (one) => this.kinds.push(one) }; this.offsetParent = {}; this.textContent = ""; }
  append(...more) { this.children.push(...more); }
  replaceChildren(...all) { this.children = all; }
  set className(name) { this.kinds = name.split(" ").filter(Boolean); }
  get text() { return this.textContent + this.children.map((one) => one.text).join(""); }
}
const root = new Node("div");
const fields = { "#txt2img_prompt textarea": INPUT, "#txt2img_neg_prompt textarea": "bad",
  "#txt2img_steps input[type=number]": "10", "#txt2img_sampling input": "Euler",
  "#concord_txt2img_prompt_dialect input": "concord" };
const asked = [];
let tick;
Object.assign(globalThis, {
  document: { createElement: (tag) => new Node(tag), head: new Node("head"), baseURI: "http://host/sub/" },
  gradioApp: () => ({ querySelector: (selector) =>
    selector.startsWith("#concord_txt2img_explain") ? root : selector in fields ? { value: fields[selector] } : null }),
  onUiLoaded: (work) => work(),
  setInterval: (work) => { tick = work; },
  fetch: async (url, given) => { asked.push([String(url), JSON.parse(given.body)]);
    const answer = ANSWERS[JSON.parse(given.body).negative ? 1 : 0];
    return { ok: true, status: 200, json: async () => answer }; },
});
(0, eval)(fs.readFileSync(process.argv[2], "utf8"));
(async () => {
  tick(); tick();
  await new Promise((done) => setTimeout(done, 20));
  tick(); tick();
  await new Promise((done) => setTimeout(done, 20));
  const flat = (node) => [node, ...node.children.flatMap(flat)];
  console.log(JSON.stringify({ asked, shown: flat(root).map((one) => [one.tag, one.kinds, one.textContent]) }));
})();
"""


def test_the_page_asks_once_and_shows_chunks_weights_and_warnings(host, tmp_path):
    """Run in Node, over a page of a few lines."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed, which runs the page's script")
    text = "a (red:1.3) cat BREAK dog (open"
    answers = [host.panel.explained({"text": one, "steps": 10, "picture": True}) for one in (text, "bad")]
    page = PAGE.replace("INPUT", json.dumps(text)).replace("ANSWERS", json.dumps(answers))
    (tmp_path / "page.js").write_text(page, encoding="utf-8")
    done = subprocess.run(
        [node, str(tmp_path / "page.js"), str(SCRIPT)], capture_output=True, text=True, check=True
    )
    seen = json.loads(done.stdout)
    assert [url for url, _ in seen["asked"]] == ["http://host/sub/concord/explain"] * 2
    question = {"steps": 10, "dialect": "concord", "picture": True, "sampler": "Euler"}
    assert [one for _, one in seen["asked"]] == [
        question | {"negative": False, "text": text},
        question | {"negative": True, "text": "bad"},
    ]
    badges = [words for _, kinds, words in seen["shown"] if "edge" in kinds]
    assert badges == ["3/75", "2/75", "1/75"]
    assert [words for _, kinds, words in seen["shown"] if "weighted" in kinds and "odd" not in kinds] == [
        "red"
    ]
    assert any("warning" in kinds and "bracket" in words for _, kinds, words in seen["shown"])
    marked = "".join(words for _, kinds, words in seen["shown"] if "chunk" in kinds)
    assert marked.startswith("a (red:1.3) cat")
