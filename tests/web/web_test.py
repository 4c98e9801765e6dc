#!/usr/bin/env python3
"""Drives Quire's web page in headless Chromium against a running server.

    tests/web/web_test.py http://127.0.0.1:8080/ [--key KEY] [--only WORD] [--screenshots FOLDER]

Needs Debian's package chromium and Python's standard library. The server's own answers are used for streaming and the live
view; failures, stops and hostile text are scripted inside the page, so that they happen the same way each time.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import traceback
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from chromium import Browser  # noqa: E402
from proxy import Proxy  # noqa: E402

SCRIPT = (pathlib.Path(__file__).parent / "scripted_fetch.js").read_text()
ANSWER = ".message.answer:last-child"
HOSTILE = """<script>window.harmed = 1</script>
<img src=x onerror="window.harmed = 2"> <svg onload="window.harmed = 3"></svg> <iframe srcdoc="<script>parent.harmed=4</script>"></iframe>

[one](javascript:window.harmed=5) [two](JaVaScRiPt:window.harmed=5) [three](java\tscript:window.harmed=5) [four](data:text/html,<script>1</script>)
[five](vbscript:x) [six](\u0001javascript:window.harmed=5) [seven](//other.example/x) [good](https://example.org/a?b=(c))
![picture](https://example.org/pixel.png) <https://example.org/auto> https://example.org/bare.
<a href="javascript:window.harmed=6" onclick="window.harmed=7">raw</a>

| a | <img src=x onerror=window.harmed=8> |
|---|---|
| `<b>` | **<i onclick=window.harmed=9>x</i>** |

```html" onmouseover="window.harmed=10
<script>window.harmed = 11</script>
```
> # <script>window.harmed = 12</script>
- <details open ontoggle=window.harmed=13>
"""


class Suite:
    def __init__(self, browser, options):
        self.browser, self.options, self.pages = browser, options, []
        self.base = options.base.rstrip("/") + "/"

    def page(self, path="", **more):
        key = f"try {{ sessionStorage.setItem('quire.key', {json.dumps(self.options.key)}); }} catch {{}}" if self.options.key else ""
        page = self.browser.new_page(before=SCRIPT + key, **more)
        self.pages.append(page)
        page.go(self.base + path)
        return page

    def script(self, page, *replies):
        page.js(f"scripted.replies.push(...{json.dumps(replies)})")

    def send(self, page, text):
        page.js("document.getElementById('prompt').focus()")
        page.type(text)
        page.key("Enter")

    def settled(self, page, answers):
        page.until(f"document.querySelectorAll('.message.answer').length === {answers} && document.getElementById('stop').hidden && !document.querySelector('.streaming')", f"{answers} finished answers")

    def shot(self, page, name):
        if self.options.screenshots:
            page.screenshot(f"{self.options.screenshots}/{name}.png")

    # ---- with the server's own answers

    def test_headers(self):
        with urllib.request.urlopen(self.base) as reply:
            policy = reply.headers.get("Content-Security-Policy", "")
        for wanted in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"):
            check(wanted in policy, f"the policy lacks {wanted}: {policy!r}")
        check("unsafe" not in policy and "http:" not in policy and "*" not in policy, policy)

    def test_stream_from_server_and_reload(self):
        page = self.page()
        self.send(page, "Tell me a short story about a fox.")
        self.settled(page, 1)
        text = page.js(f"document.querySelector('{ANSWER} .body').innerText")
        numbers = page.js(f"document.querySelector('{ANSWER} .numbers').innerText")
        check(len(text) > 3, "the server's answer is empty")
        for word in ("first token", "tokens/s", "prompt", "cached"):
            check(word in numbers, f"the numbers lack {word!r}: {numbers!r}")
        self.shot(page, "chat-light")
        page.reload()
        self.settled(page, 1)
        check(page.js(f"document.querySelector('{ANSWER} .body').innerText") == text, "reloading changed the answer")
        check(page.js("document.querySelectorAll('#conversations li').length") == 1, "the conversation is not listed")
        page.click("#theme")
        self.shot(page, "chat-dark")

    def test_live_view(self):
        page = self.page("#live", width=1440, height=1000)
        page.until("document.querySelector('#figure_speed .value').textContent !== '–'", "the second reading")
        check(page.js("Number(document.querySelector('#map_title').textContent.split(' ')[0].replaceAll(',', '')) > 0"), "no blocks in the map")
        check(page.js("document.querySelector('.kv_map canvas').height > 0"), "the map is not drawn")
        check(page.js("document.querySelectorAll('.kv_map').length") == 1, "a model of one group has one map")
        self.shot(page, "live-light")
        page.click("#theme")
        self.shot(page, "live-dark")

    # ---- scripted

    def test_live_view_polls_only_while_seen(self):
        page = self.page("#live")
        seen = page.js("scripted.polls")
        page.until(f"scripted.polls > {seen} + 1", "two more readings")
        hide = "Object.defineProperty(document, 'hidden', {{configurable: true, value: {0}}}); document.dispatchEvent(new Event('visibilitychange'))"
        page.js(hide.format("true"))
        # A reading in progress may still end; then the clock must have stopped: its period passes in the page's time.
        page.js("new Promise((done) => setTimeout(done, 1200))")
        before = page.js("scripted.polls")
        page.js("new Promise((done) => setTimeout(done, 2500))")
        check(page.js("scripted.polls") == before, "a hidden page went on polling")
        page.js(hide.format("false"))
        page.until(f"scripted.polls > {before}", "polling to go on")
        page.click(".views [data-view=chat]")
        page.js("new Promise((done) => setTimeout(done, 1200))")
        before = page.js("scripted.polls")
        page.js("new Promise((done) => setTimeout(done, 2500))")
        check(page.js("scripted.polls") == before, "the chat went on polling")

    def test_live_view_of_a_large_cache(self):
        page = self.page()
        page.until("document.getElementById('state_dot').className === 'ready'", "the server's own state")
        blocks = "fasc" * 25000
        group = {"window": 0, "blocks_total": len(blocks), "blocks_active": 50000, "blocks_cached": 25000, "blocks": blocks}
        status = {"state": "ready", "uptime_s": 5, "model": {"id": "m"}, "engine": {"num_running": 3, "num_waiting": 2, "block_size": 16, "groups": [group],
                  "num_aborted": 31, "num_failed_steps": 17},
                  "latency": {"ttft_s": {"bounds": [0.1, 1], "counts": [8, 1, 1], "count": 10, "sum": 2}}}
        page.js(f"scripted.status = {json.dumps(status)}")
        page.click(".views [data-view=live]")
        page.until("document.getElementById('map_title').textContent.startsWith('100,000 blocks')", "the large map")
        check(page.js("document.querySelector('.kv_map canvas').clientHeight <= 240"), "the map is too high")
        page.hover(".kv_map canvas")
        check("active" in page.until("document.querySelector('.map_point').textContent", "what is under the pointer"), "the pointer tells nothing")
        check(page.js("document.querySelector('.kv_map .legend').innerText").replace("\n", " ").find("25,000") >= 0, "the legend has no counts")
        check("p50" in page.js("document.querySelector('#latency_ttft .bars').getAttribute('aria-label')"), "no quantiles")
        facts = page.js("document.getElementById('facts').innerText").replace("\n", " ")
        check("Ended by a failed step 31" in facts and "Failed steps 17" in facts, f"the counters are missing: {facts}")
        # Counts are those of each bucket, even where they rise: nothing is guessed.
        histogram = {"bounds": [0.1, 0.2, 0.4], "counts": [1, 2, 3, 4], "count": 10, "sum": 2}
        found = page.js(f"import(new URL('status.js', document.baseURI)).then(({{read_status}}) => read_status({json.dumps({'latency': {'itl_s': histogram}})}).latency.itl)")
        check(found == histogram, f"the histogram was changed: {found}")
        # A server whose status lacks these parts is shown without them.
        page.js("scripted.status = {state: 'loading'}")
        page.until("document.getElementById('state_text').textContent.includes('loading')", "the loading state")

    def test_live_view_of_groups_and_latencies(self):
        page = self.page(width=1440, height=1300)
        page.until("document.getElementById('state_dot').className === 'ready'", "the server's own state")
        scale = [100, 112, 125, 140, 160, 180, 200, 224, 250, 280, 315, 355, 400, 450, 500, 560, 630, 710, 800, 900]
        bounds = [number / 10 ** (6 - decade) for decade in range(8) for number in scale] + [1e4]

        def histogram(*seconds):
            counts = [0] * (len(bounds) + 1)
            for value in seconds:
                counts[next((index for index, bound in enumerate(bounds) if bound >= value), len(bounds))] += 1
            return {"bounds": bounds, "counts": counts, "count": len(seconds), "sum": sum(seconds)}

        groups = [{"window": 0, "blocks_total": 600, "blocks_active": 200, "blocks_cached": 100, "blocks": "a" * 200 + "c" * 100 + "f" * 300},
                  {"window": 512, "blocks_total": 90, "blocks_active": 40, "blocks_cached": 0, "blocks": "s" * 10 + "a" * 30 + "f" * 50}]
        status = {"state": "ready", "uptime_s": 5, "model": {"id": "m"}, "engine": {"block_size": 32, "groups": groups},
                  "latency": {"ttft_s": histogram(*[0.02] * 30, *[0.9] * 60, 2, 3, *[77] * 8), "itl_s": histogram(0.004, 0.0041), "e2e_s": histogram(20000)}}
        page.js(f"scripted.status = {json.dumps(status)}")
        page.click(".views [data-view=live]")
        page.until("document.querySelectorAll('.kv_map').length === 2", "a map of each group")
        legends = page.js("[...document.querySelectorAll('.kv_map')].map((map) => map.innerText.replaceAll('\\n', ' ').trim())")
        check("see all tokens: 600 blocks" in legends[0] and "active 200 shared 0 cached 100 free 300" in legends[0], legends[0])
        check("see the last 512 tokens: 90 blocks" in legends[1] and "active 30 shared 10 cached 0 free 50" in legends[1], legends[1])
        check(page.js("document.getElementById('maps').clientHeight") < 420, "two maps are too high")
        values = "[...document.querySelectorAll('#latency_{0} dd')].map((value) => value.textContent)"
        ttft = page.js(values.format("ttft"))
        check(ttft[2].startswith("1 min 1"), f"77 seconds are shown as {ttft[2]}")
        check(page.js(values.format("itl"))[0] in ("4.0 ms", "4.1 ms", "4.2 ms", "4.3 ms", "4.4 ms", "4.5 ms"), f"4 ms are shown as {page.js(values.format('itl'))}")
        check(page.js(values.format("e2e"))[0].startswith("2 h"), "what lies above all bounds")
        for name in ("ttft", "itl", "e2e"):
            marks = page.js(f"[...document.querySelectorAll('#latency_{name} .axis span')].map((mark) => [mark.textContent, mark.getBoundingClientRect().left, mark.getBoundingClientRect().right])")
            check(2 <= len(marks) <= 6, f"{name}: marks of the axis {marks}")
            check(all(a[2] < b[1] for a, b in zip(marks, marks[1:])), f"{name}: marks cover each other: {marks}")
        # A bar under its mark: 900 ms end where "1 s" stands.
        place = page.js("""(() => { const bars = [...document.querySelectorAll('#latency_ttft .bars span')]; const at = bars.find((bar) => bar.title.endsWith('60 (60 %)')).getBoundingClientRect();
            const mark = [...document.querySelectorAll('#latency_ttft .axis span')].find((each) => each.textContent === '1 s').getBoundingClientRect(); return [at.right, (mark.left + mark.right) / 2, at.width]; })()""")
        check(0 <= place[1] - place[0] <= 2.5 * place[2], f"the mark and its bar do not belong together: {place}")
        self.shot(page, "live-groups")

    def test_stop_by_key_and_button(self):
        page = self.page()
        for stop in (lambda: page.key("Escape"), lambda: page.click("#stop")):
            page.js("scripted.aborted = 0; document.getElementById('new_chat').click()")
            self.script(page, {"texts": ["Once upon", " a time"], "end": "hold"})
            self.send(page, "go on")
            page.until("document.querySelector('.answer .body')?.innerText.includes('Once upon a time')", "the text so far")
            check(page.js(f"document.querySelector('{ANSWER}').getAttribute('aria-busy')") == "true", "the answer is not marked busy")
            stop()
            self.settled(page, 1)
            check(page.js("scripted.aborted") == 1, "the request was not aborted")
            check("stopped" in page.js(f"document.querySelector('{ANSWER} .numbers').innerText"), "the answer is not marked as stopped")
            check("Once upon a time" in page.js(f"document.querySelector('{ANSWER} .body').innerText"), "what had arrived is gone")

    def test_leaving_while_streaming(self):
        page = self.page()
        self.script(page, {"texts": ["half an"], "end": "hold"})
        self.send(page, "write")
        page.until("document.querySelector('.answer .body')?.innerText.includes('half an')", "the text so far")
        page.reload()
        self.settled(page, 1)
        check("half an" in page.js(f"document.querySelector('{ANSWER} .body').innerText"), "the text was lost")
        check("unfinished" in page.js(f"document.querySelector('{ANSWER} .numbers').innerText"), "the answer looks finished")

    def test_regenerate_and_edit_branch(self):
        page = self.page()
        body = f"document.querySelector('{ANSWER} .body').innerText"
        self.script(page, {"texts": ["first"]}, {"texts": ["second"]}, {"texts": ["third"]}, {"texts": ["to the edited"]})
        self.send(page, "question")
        self.settled(page, 1)
        for text in ("second", "third"):
            page.click(f"{ANSWER} [data-action=regenerate]")
            page.until(f"{body} === '{text}'", text)
            self.settled(page, 1)
        check(page.js(f"document.querySelector('{ANSWER} .place').textContent") == "3/3", "not at 3/3")
        page.click(f"{ANSWER} [aria-label='Previous version']")
        page.until(f"{body} === 'second'", "the second version")
        check(page.js(f"document.querySelector('{ANSWER} .place').textContent") == "2/3", "not at 2/3")
        page.click(".user [data-action=edit]")
        page.js("document.querySelector('.editor textarea').select()")
        page.type("another question")
        page.key("Enter")
        page.until(f"document.querySelectorAll('.answer').length === 1 && {body} === 'to the edited'", "the answer to the edited message")
        self.settled(page, 1)
        check(page.js("scripted.bodies.at(-1).messages") == [{"role": "user", "content": "another question"}], "the edited request is wrong")
        page.reload()
        self.settled(page, 1)
        check(page.js(body) == "to the edited", "the branch was lost by reloading")
        page.click(".user [aria-label='Previous version']")
        page.until(f"{body} === 'second'", "the old branch with its chosen version")

    def test_failures(self):
        page = self.page()
        title = f"document.querySelector('{ANSWER} .failure h3')?.textContent"
        error = {"message": "The queue is full: 64 requests.", "type": "rate_limit_error", "code": "queue_full", "param": None}
        self.script(page, {"status": 429, "error": error, "headers": {"Retry-After": "2"}}, {"texts": ["after the wait"]})
        self.send(page, "hello")
        page.until(f"{title} === 'The server is busy'", "the 429 card")
        check(page.js("document.querySelector('[data-action=retry]').disabled"), "Retry-After is not respected")
        check("64 requests" in page.js("document.querySelector('.failure').innerText"), "the server's words are missing")
        self.shot(page, "failure-429")
        page.click("[data-action=retry]")
        page.until(f"document.querySelector('{ANSWER} .body').innerText === 'after the wait'", "the retried answer")
        self.settled(page, 1)
        check(page.js("document.querySelector('.failure') === null"), "the card stayed")
        cases = [({"status": 503, "error": {"message": "loading", "code": "model_loading"}}, "The model is still loading"),
                 ({"status": 400, "error": {"message": "This model's maximum context length is 8", "code": "context_length_exceeded"}}, "The conversation is too long"),
                 ({"status": 400, "error": {"message": "temperature", "param": "temperature"}}, "The server refused the request"),
                 ({"status": 500}, "The server failed"),
                 ({"offline": True}, "The server cannot be reached"),
                 ({"texts": ["some of it"], "end": "cut"}, "The answer broke off"),
                 ({"texts": ["some of it"], "end": "break"}, "The answer broke off"),
                 ({"texts": ["some of it"], "events": [{"error": {"message": "numbers", "code": "numeric_error"}}, "[DONE]"]}, "The answer failed")]
        for number, (reply, wanted) in enumerate(cases):
            self.script(page, reply)
            self.send(page, f"case {number}")
            page.until(f"{title} === {json.dumps(wanted)}", wanted)
            self.settled(page, number + 2)
            kept = page.js(f"document.querySelector('{ANSWER} .body').innerText")
            check(kept == "".join(reply.get("texts", [])), f"{wanted}: the text is {kept!r}")
        roles = page.js("scripted.bodies.at(-1).messages.map(({role}) => role)")
        check(all(a != b for a, b in zip(roles, roles[1:])), f"roles do not alternate: {roles}")
        page.reload()
        page.until(f"{title} === 'The answer failed'", "the card after reloading")

    def test_key(self):
        page = self.page()
        self.script(page, {"status": 401, "error": {"message": "no key", "code": "invalid_api_key"}}, {"texts": ["with the key"]})
        self.send(page, "hello")
        page.click("[data-action=key]")
        page.until("document.getElementById('key_dialog').open", "the key dialog")
        page.js("document.getElementById('key_input').select()")
        page.type("secret-1")
        page.key("Enter")
        page.until(f"document.querySelector('{ANSWER} .body').innerText === 'with the key'", "the answer")
        check(page.js("scripted.keys.at(-1)") == "Bearer secret-1", "the key was not sent")
        stored = page.js("[JSON.stringify(Object.entries(localStorage)), sessionStorage.getItem('quire.key')]")
        check("secret-1" not in stored[0] and stored[1] == "secret-1", "the key must be in sessionStorage alone")

    def test_hostile_markdown(self):
        page = self.page()
        # In pieces, so that every intermediate state is rendered too.
        self.script(page, {"texts": [HOSTILE[i:i + 7] for i in range(0, len(HOSTILE), 7)]})
        self.send(page, HOSTILE)
        self.settled(page, 1)
        allowed = set("P H3 H4 H5 H6 A BR EM STRONG DEL CODE PRE FIGURE FIGCAPTION SPAN BUTTON SVG PATH DIV TABLE THEAD TBODY TR TH TD UL OL LI BLOCKQUOTE HR INPUT".split())
        found = set(page.js("[...document.querySelectorAll('.said *, .prose *')].map((element) => element.tagName.toUpperCase())"))
        check(found <= allowed, f"elements that must not be: {found - allowed}")
        check(page.js("[...document.querySelectorAll('.message *')].every((element) => ![...element.attributes].some(({name}) => name.startsWith('on')))"), "a handler attribute")
        links = page.js("[...document.querySelectorAll('.prose a')].map((link) => [link.protocol, link.rel, link.host])")
        check(len(links) == 4 and all(link == ["https:", "noopener noreferrer nofollow", "example.org"] for link in links), f"links: {links}")
        check(page.js("window.harmed === undefined"), f"a script ran: {page.js('window.harmed')}")
        # Text that is not understood must not be lost.
        text = page.js(f"document.querySelector('{ANSWER} .body').textContent")
        for word in ("<script>window.harmed = 1</script>", "javascript:window.harmed=5", "<details open"):
            check(word in text, f"{word!r} is missing")

    def test_markdown(self):
        page = self.page()
        source = ("# Title\n\nOne *two* **three** ***four*** `five` ~~six~~ snake_case_name 2 * 3 * 4\nnext line\n\n1. first\n   - inner *a*\n     - innermost\n2. second\n\n"
                  "- [x] done\n- [ ] open\n\n> quoted\n> - list\n\n| a | b |\n|:-:|--:|\n| 1 | `x|y` |\n\n```cpp\nint main() { return 0; } // done\n```\n\n***\n\n[link](mailto:a@example.org \"t\") \\*plain\\*\n\n~~~\nopen fence\n**not bold**")
        expected = {"h3.level1": 1, "em": 3, "strong": 2, "del": 1, "ol > li": 2, "ol ul ul > li": 1, "input:checked": 1, "blockquote li": 1, "td": 2,
                    "td.right > code": 1, "figure.code": 2, ".t-keyword": 2, ".t-comment": 1, "hr": 1, "a[href^='mailto:']": 1, "p br": 1}
        self.script(page, {"texts": [source[i:i + 5] for i in range(0, len(source), 5)]}, {"texts": [source]})
        self.send(page, "in pieces")
        self.settled(page, 1)
        for selector, number in expected.items():
            found = page.js(f"document.querySelectorAll({json.dumps(ANSWER + ' .body ' + selector)}).length")
            check(found == number, f"{selector}: {found} instead of {number}")
        html = page.js(f"document.querySelector('{ANSWER} .body').innerHTML")
        check("snake_case_name" in html and "*plain*" in html and "**not bold**" in html and "2 * 3 * 4" in html, "literal text was changed")
        self.send(page, "at once")
        self.settled(page, 2)
        check(page.js(f"document.querySelector('{ANSWER} .body').innerHTML") == html, "streaming and rendering at once differ")

    def test_markdown_of_any_shape_ends(self):
        page = self.page()
        shapes = ["[" * 50000, "](" * 30000, "*a " * 30000, "_*" * 30000, "`" * 9999 + "a", "> " * 5000 + "x", "- " * 5000 + "x", "\n".join("  " * i + "- x" for i in range(300)),
                  "|" * 20000 + "\n|-|", "#" * 50000, "~" * 50000, "![[" * 20000, "<http://" * 9000, "https://a" * 9000, "\n" * 50000, "1. \n" * 9000, "```\n" * 9000, "- a\n\n" * 9000, "\\" * 50000,
                  "\\(" * 25000, "\\[\n" * 9000, "$$\n\n" * 9000, "$a" * 25000, "\\(" + "{" * 3000 + "\\)", "\\(" + "\\sqrt" * 600 + "\\)", "\\[" + "x^" * 1900 + "\\]"]
        for shape in shapes:
            page.js(f"import(new URL('markdown.js', document.baseURI)).then(({{render_markdown}}) => render_markdown(document.createElement('div'), {json.dumps(shape)}))")
        code = ["'" * 30000, "/*" * 20000, "\"\\" * 20000, "0x" * 20000, "<" * 30000, "a(" * 20000, "# " * 20000]
        for text in code:
            for language in ("cpp", "python", "bash", "html", "json", "sql", "yaml"):
                page.js(f"import(new URL('highlight.js', document.baseURI)).then(({{highlight}}) => highlight({json.dumps(text)}, '{language}').length)")

    def test_maths(self):
        page = self.page()
        body = f"{ANSWER} .body"
        source = ("Inline \\(a_b\\) and $x^2\\,dx$ and \\(\\weird{x}_i\\).\n\n\\[\n\\sum_{i=1}^{n} i\n= \\frac{n(n+1)}{2}\n\\]\n\n$$ e^{i\\pi} + 1 = 0 $$\n\n"
                  "\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}\n\nBare x^2\\,dx, \\alpha_1 and \\(unfinished. It costs $5 and $6, or $7-$8 in $HOME/bin, US$ 5, $9, or 10$.\n\nAlso $O(n)$, $n$ and $x, y$.\n\n1\\. no list, \\*no emphasis\\*")
        self.script(page, {"texts": [source[i:i + 3] for i in range(0, len(source), 3)]}, {"texts": [source]})
        self.send(page, "in pieces")
        self.settled(page, 1)
        drawn = page.js(f"[...document.querySelectorAll('{body} math')].map((math) => [math.title || math.getAttribute('title'), math.getAttribute('display')])")
        check(drawn == [["a_b", None], ["x^2\\,dx", None], ["\\sum_{i=1}^{n} i\n= \\frac{n(n+1)}{2}", "block"], ["e^{i\\pi} + 1 = 0", "block"],
                        ["\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}", "block"], ["O(n)", None], ["n", None], ["x, y", None]], f"formulas: {drawn}")
        check(page.js(f"document.querySelectorAll('{body} :is(msub, munderover, mfrac, mtable.aligned)').length") == 4, "the formulas' parts are wrong")
        # What is not known stays as it was written.
        check(page.js(f"document.querySelector('{body} code.maths').textContent") == "\\(\\weird{x}_i\\)", "an unknown command was changed")
        text = page.js(f"document.querySelector('{ANSWER} .body').textContent")
        for wanted in ("Bare x^2\\,dx, \\alpha_1 and \\(unfinished. It costs $5 and $6, or $7-$8 in $HOME/bin, US$ 5, $9, or 10$.", "1. no list, *no emphasis*"):
            check(wanted in text, f"{wanted!r} is not in {text!r}")
        check(page.js(f"document.querySelectorAll('{body} em').length") == 0, "emphasis where none is")
        self.shot(page, "maths")
        html = page.js(f"document.querySelector('{ANSWER} .body').innerHTML")
        self.send(page, "at once")
        self.settled(page, 2)
        check(page.js(f"document.querySelector('{ANSWER} .body').innerHTML") == html, "streaming and rendering at once differ")

    def test_code_is_dense(self):
        page = self.page()
        self.script(page, {"texts": ["```py\n" + "x = 1\n" * 20 + "```"]})
        self.send(page, "code")
        self.settled(page, 1)
        height = page.js("document.querySelector('.code code').getBoundingClientRect().height / 20")
        check(height <= 21, f"a line of code is {height} pixels high")

    def test_probabilities(self):
        page = self.page()
        page.click("#probabilities")
        entry = lambda token, logprob, data, *top: {"token": token, "logprob": logprob, "bytes": list(data), "top_logprobs": [{"token": t, "logprob": p} for t, p in top]}
        logprobs = [[entry("Hello", -0.01, b"Hello", ("Hello", -0.01), ("Hi", -5))],
                    [entry(" fox", -2.5, b" fox", (" cat", -0.2), (" fox", -2.5), ("\n", -4), (" dog", -5), (" <b>", -6))],
                    [entry("\ufffd", -1, b"\xf0\x9f"), entry("\ufffd", -0.1, b"\xa6\x8a")]]
        self.script(page, {"texts": ["Hello", " fox", "\U0001f98a"], "logprobs": logprobs})
        self.send(page, "hello")
        self.settled(page, 1)
        check(page.js("[scripted.bodies[0].logprobs, scripted.bodies[0].top_logprobs]") == [True, 5], "probabilities were not asked for")
        check(page.js("[...document.querySelectorAll('.token')].map((token) => token.textContent)") == ["Hello", " fox", "·", "\U0001f98a"], "the tokens' texts are wrong")
        check(page.js("document.querySelectorAll('.token')[1].className") == "token p4 beaten", "the tint is wrong")
        page.hover(".token:nth-child(2)")
        rows = "[...document.querySelectorAll('#token_card li')].map((row) => row.innerText.replaceAll('\\n', ' '))"
        page.until("!document.getElementById('token_card').hidden", "the card")
        found = page.js(rows)
        check(len(found) == 5 and "82 %" in found[0] and "cat" in found[0] and "<b>" in found[4], f"candidates: {found}")
        self.shot(page, "probabilities")
        page.js("document.querySelector('.token').focus()")
        check(len(page.js(rows)) == 2, "focus shows another token's card")
        page.key("ArrowRight")
        check(page.js("document.activeElement.textContent") == " fox" and len(page.js(rows)) == 5, "arrows do not move")
        page.js("document.getElementById('scroller').dispatchEvent(new Event('scroll'))")
        check(page.js("!document.getElementById('token_card').hidden"), "scrolling to the focused token hid its card")
        page.click("#probabilities")
        page.until(f"!document.querySelector('{ANSWER} .body').hidden && document.querySelector('{ANSWER} .tokens').hidden", "prose again")

    def test_keyboard(self):
        page = self.page()
        page.js("document.getElementById('prompt').focus()")
        page.type("first")
        page.key("Enter", modifiers=8)
        page.js("document.execCommand('insertText', false, 'second')")
        check(page.js("document.querySelectorAll('.message').length") == 0, "Shift+Enter sent the message")
        # An input method's Enter, in both ways that browsers report it.
        for extra in ("isComposing: true", "keyCode: 229"):
            page.js(f"document.getElementById('prompt').dispatchEvent(new KeyboardEvent('keydown', {{key: 'Enter', bubbles: true, cancelable: true, {extra}}}))")
        check(page.js("document.querySelectorAll('.message').length") == 0, "Enter was taken from the input method")
        self.script(page, {"texts": ["fine"]})
        page.key("Enter")
        self.settled(page, 1)
        check(page.js("scripted.bodies[0].messages[0].content").split() == ["first", "second"], "the message is wrong")
        page.key("n", "KeyN", modifiers=1)
        page.until("document.querySelectorAll('.message').length === 0 && document.activeElement.id === 'prompt'", "a new conversation by key")
        page.key("k", "KeyK", modifiers=2)
        page.until("document.activeElement.id === 'search'", "the search by key")
        page.key("s", "KeyS", modifiers=1)
        page.until("document.body.classList.contains('drawer_open')", "the settings by key")
        page.key("Escape")
        page.until("!document.body.classList.contains('drawer_open')", "Escape to close the settings")

    def test_scrolling_yields(self):
        page = self.page(height=500)
        self.script(page, {"texts": ["line\n\n"] * 40, "end": "hold"})
        self.send(page, "long")
        at_end = "(() => { const box = document.getElementById('scroller'); return box.scrollHeight - box.scrollTop - box.clientHeight < 5 && box.scrollTop > 100; })()"
        page.until(at_end, "the view to follow the text")
        page.js("document.getElementById('scroller').scrollTop = 50")
        page.until("!document.getElementById('to_end').hidden", "the button to the end")
        page.js("for (let i = 0; i < 20; ++i) scripted.open.push('more\\n\\n')")
        page.until("document.querySelectorAll('.answer p').length >= 59", "more text")
        check(page.js("document.getElementById('scroller').scrollTop") == 50, "the view was taken from the reader")
        page.click("#to_end")
        page.js("scripted.open.push('last'); scripted.open.finish()")
        self.settled(page, 1)
        page.until(at_end, "the view to follow again")

    def test_growing_text_is_followed(self):
        page = self.page(height=500)
        self.script(page, {"texts": ["line\n\n"] * 40, "end": "hold"})
        self.send(page, "long")
        rest = "(() => { const box = document.getElementById('scroller'); return box.scrollHeight - box.scrollTop - box.clientHeight; })()"
        page.until(f"document.querySelectorAll('.answer .body > p').length === 40 && {rest} < 2", "the view to follow the text")
        frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done))))"
        # The text grows by more than a line after the view was moved and before the browser says so.
        page.js(f"""(() => {{ const box = document.getElementById('scroller'); box.scrollTop -= 1; box.scrollTop = box.scrollHeight;
            const high = document.createElement('div'); high.style.height = '300px'; document.getElementById('messages').append(high); }})(); {frames}""")
        check(page.js(f"{rest} < 2 && document.getElementById('to_end').hidden"), "following ended by itself")
        page.js(f"scripted.open.push('more\\n\\n'.repeat(30)); {frames}")
        page.until(f"document.querySelectorAll('.answer .body > p').length === 70 && {rest} < 2", "the view to follow further text")
        # A smaller window, such as when a keyboard slides in, is no wish to stop.
        page.call("Emulation.setDeviceMetricsOverride", {"width": 1280, "height": 380, "deviceScaleFactor": 1, "mobile": False})
        page.until(f"innerHeight === 380 && {rest} < 2", "the end in a smaller window")
        # A small step back is one.
        page.js("document.getElementById('scroller').scrollTop -= 30")
        page.until("!document.getElementById('to_end').hidden", "the button to the end")
        page.js(f"scripted.open.push('more\\n\\n'.repeat(5)); {frames}")
        check(page.js(f"{rest} > 100"), "the view was taken from the reader")
        page.js("scripted.open.finish()")
        self.settled(page, 1)

    def test_ninth_answer_keeps_the_message(self):
        page = self.page()
        self.script(page, *[{"texts": [f"answer {number}"], "end": "hold"} for number in range(8)])
        for number in range(8):
            page.click("#new_chat")
            self.send(page, f"question {number}")
            page.until(f"scripted.bodies.length === {number + 1} && document.querySelector('.answer .body')?.innerText === 'answer {number}'", f"answer {number}")
        page.click("#new_chat")
        self.send(page, "the ninth question")
        page.until("document.getElementById('notice').textContent.includes('8 answers')", "the refusal")
        check(page.js("document.getElementById('prompt').value") == "the ninth question", "the message is lost")
        check(page.js("document.querySelectorAll('.message').length === 0 && document.querySelectorAll('#conversations li').length === 8"), "an empty conversation was made")
        # The same for the other ways to ask: a finished conversation, its editor and its button.
        page.js("document.querySelectorAll('#conversations .open')[7].click()")
        page.click("#stop")
        self.settled(page, 1)
        page.click("#new_chat")
        self.script(page, {"texts": ["again"], "end": "hold"})
        self.send(page, "the ninth question, later")
        page.until("scripted.bodies.length === 9", "a place that became free")
        page.js("[...document.querySelectorAll('#conversations .open')].find((open) => open.innerText.includes('question 0')).click()")
        page.click(".user [data-action=edit]")
        page.js("document.querySelector('.editor textarea').select()")
        page.type("edited with care")
        page.key("Enter")
        check(page.js("document.querySelector('.editor textarea')?.value") == "edited with care", "the editor lost its text")
        page.click(".editor button[type=button]")
        page.click(f"{ANSWER} [data-action=regenerate]")
        check(page.js("document.querySelectorAll('.message').length === 2 && document.querySelector('.branches') === null && scripted.bodies.length === 9"), "an empty answer was added")

    def test_behind_a_proxy(self):
        proxy = Proxy(self.base, "/llm/")
        try:
            straight, self.base = self.base, proxy.base
            page = self.page("#both", width=1300)
            page.until("document.getElementById('state_dot').className === 'ready' && document.querySelector('.kv_map canvas')?.height > 0", "the server's state")
            self.send(page, "Tell me a short story about a fox.")
            self.settled(page, 1)
            check(len(page.js(f"document.querySelector('{ANSWER} .body').innerText")) > 3, "no answer through the proxy")
            asked = [urllib.parse.urlsplit(url).path for url in page.requests if url.startswith("http")]
            check(all(path.startswith("/llm/") for path in asked), f"requests beside the page's own path: {asked}")
            page.js("document.execCommand = (command) => { window.copied = document.activeElement.value; return true; }; navigator.clipboard.writeText = async (text) => { window.copied = text; }")
            page.click(f"{ANSWER} [aria-label^='Copy this request']")
            page.until(f"window.copied?.includes('{self.base}v1/chat/completions')", "the curl command with the proxy's address")
            self.finish("test_behind_a_proxy")
        finally:
            self.base = straight
            for page in self.pages:
                page.close()
            self.pages = []
            proxy.close()

    def test_sampling_and_system_prompt(self):
        page = self.page()
        page.click("#open_drawer")
        for name, value in (("temperature", "0.5"), ("top_k", "40"), ("seed", "7"), ("max_tokens", "99"), ("min_p", "9")):
            page.js(f"document.getElementById('s_{name}').focus()")
            page.type(value)
        check(page.js("document.getElementById('s_min_p').getAttribute('aria-invalid')") == "true", "min-p 9 was accepted")
        page.js("document.getElementById('stop_strings').focus()")
        page.type("END\n\\n\\n")
        page.js("document.getElementById('system').focus()")
        page.type("Be brief.")
        self.script(page, {"texts": ["ok"]})
        self.send(page, "hello")
        self.settled(page, 1)
        body = page.js("scripted.bodies[0]")
        wanted = {"temperature": 0.5, "top_k": 40, "seed": 7, "max_tokens": 99, "stop": ["END", "\n\n"], "stream": True, "quire_timings": True, "stream_options": {"include_usage": True}}
        check({key: body.get(key) for key in wanted} == wanted, f"the request is {body}")
        check("min_p" not in body and "top_p" not in body and "logprobs" not in body, f"fields that nobody set: {body}")
        check(body["messages"][0] == {"role": "system", "content": "Be brief."}, "no system prompt")
        self.shot(page, "settings")
        page.reload()
        self.settled(page, 1)
        check(page.js("[document.getElementById('s_temperature').value, document.getElementById('system').value]") == ["0.5", "Be brief."], "settings were lost")
        page.js("document.getElementById('reset_sampling').click()")
        check(page.js("document.getElementById('s_temperature').value") == "", "reset does nothing")

    def test_conversations(self):
        page = self.page()
        self.script(page, {"texts": ["one"]}, {"texts": ["two"]})
        self.send(page, "alpha question")
        self.settled(page, 1)
        page.click("#new_chat")
        self.send(page, "beta question")
        self.settled(page, 1)
        names = "[...document.querySelectorAll('#conversations .name')].map((name) => name.textContent)"
        check(page.js(names) == ["beta question", "alpha question"], "the list is wrong")
        page.js("document.querySelector(\"#conversations li.active [aria-label='Rename conversation']\").click()")
        page.js("document.querySelector('#conversations input').select()")
        page.type("renamed")
        page.key("Enter")
        page.until(f"({names})[0] === 'renamed'", "the new name")
        with tempfile.TemporaryDirectory() as folder:
            self.browser.call("Browser.setDownloadBehavior", {"behavior": "allow", "browserContextId": page.context, "downloadPath": folder, "eventsEnabled": True})
            page.click("#export_all")
            name = page.downloaded()
            exported = next(pathlib.Path(folder).iterdir()).read_text()
            check(name.startswith("quire-conversations-") and json.loads(exported)["format"] == "quire-conversations", f"the export is {name}")
            page.browser.downloads.clear()
            page.js("document.querySelector(\"#conversations li.active [aria-label='Export conversation as Markdown']\").click()")
            name = page.downloaded()
            found = (pathlib.Path(folder) / name).read_text()
            check(name == "renamed.md" and found == "# renamed\n\n## You\n\nbeta question\n\n## scripted\n\ntwo\n", f"{name} holds {found!r}")
        remove = "document.querySelector(\"#conversations li.active [aria-label='Delete conversation']\").click()"
        page.js(remove)
        page.until(f"({names}).join() === 'alpha question'", "one conversation to be gone")
        page.click("#notice [data-action=undo]")
        page.until(f"({names}).join() === 'renamed,alpha question' && document.querySelector('{ANSWER} .body').innerText === 'two'", "the conversation to come back")
        page.js(remove)
        page.until(f"({names}).join() === 'alpha question' && document.querySelectorAll('.message').length === 0", "the conversation to go again")
        check(not page.dialogs, "deleting asked")
        give = """(() => {{ const files = new DataTransfer(); files.items.add(new File([{0}], 'x.json'));
            const input = document.getElementById('import_file'); input.files = files.files; input.dispatchEvent(new Event('change')); }})()"""
        page.js(give.format(json.dumps(exported)))
        page.until(f"({names}).join() === 'renamed,alpha question'", "the import")
        page.js("document.getElementById('search').value = 'alpha'; document.getElementById('search').dispatchEvent(new Event('input'))")
        check(page.js(names) == ["alpha question"], "the search finds something else")
        page.js("document.getElementById('search').value = ''; document.getElementById('search').dispatchEvent(new Event('input'))")
        # More than the browser stores is said, and is not called imported without a word.
        huge = "{{\"format\": \"quire-conversations\", \"conversations\": [{{\"id\": \"huge1\", \"title\": \"huge\", \"nodes\": {{\"a\": {{\"id\": \"node1\", \"role\": \"user\", \"content\": \"{0}\"}}}}}}]}}"
        page.js(give.format(f"{json.dumps(huge.format('@'))}.replace('@', 'x'.repeat(12 << 20))"))
        page.until("document.getElementById('notice').textContent.includes('1 found no room')", "the word that storage is full")
        page.js("document.querySelector(\"#conversations [data-id=huge1] [aria-label='Delete conversation']\").click()")
        # A circle of parents, wrong types, an id that is markup: no import may break the page.
        node = {"id": "node1", "parent": "node2", "role": "user", "content": "<img src=x onerror=window.harmed=1>", "children": ["node9"], "chosen": "node9"}
        hostile = {"format": "quire-conversations", "conversations": [{"id": "conv1", "title": "<b>bold</b>", "nodes": {"a": node, "b": {**node, "id": "node2", "parent": "node1"},
                   "c": {"id": "node3", "parent": None, "role": 5, "content": 7, "tokens": [None, {"text": 3}], "stats": "x", "failure": [], "state": "streaming"}}}]}
        page.js(give.format(json.dumps(json.dumps(hostile))))
        page.until(f"({names}).includes('<b>bold</b>')", "the hostile import as text")
        page.js("[...document.querySelectorAll('#conversations .open')].find((open) => open.innerText.includes('bold')).click()")
        self.settled(page, 1)
        page.js(give.format(json.dumps("{}")))
        page.until("document.getElementById('notice').textContent.includes('Nothing was imported')", "the refusal")
        page.reload()
        check(page.js("window.harmed === undefined"), "a script ran")

    def test_delete_a_message(self):
        page = self.page()
        self.script(page, *[{"texts": [text]} for text in ("one", "two", "three", "four")])
        texts = "[...document.querySelectorAll('.message :is(.said, .body.prose)')].map((text) => text.innerText)"
        self.send(page, "first")
        self.settled(page, 1)
        page.click(f"{ANSWER} [data-action=regenerate]")
        page.until(f"({texts}).join() === 'first,two'", "the second version")
        self.settled(page, 1)
        self.send(page, "second")
        self.settled(page, 2)
        page.js("document.querySelectorAll('.answer')[0].querySelector('[data-action=delete]').click()")
        page.until(f"({texts}).join() === 'first,one'", "the other version, without what followed the deleted one")
        check("3 messages" in page.js("document.getElementById('notice').textContent"), "the notice does not count")
        page.click("#notice [data-action=undo]")
        page.until(f"({texts}).join() === 'first,two,second,three'", "all to come back")
        check(page.js("document.querySelector('.answer .place').textContent") == "2/2", "the versions are in another order")
        page.js("document.querySelectorAll('.user')[1].querySelector('[data-action=delete]').click()")
        page.until(f"({texts}).join() === 'first,two'", "the last question to go")
        page.reload()
        page.until(f"({texts}).join() === 'first,two'", "the deletion to last")
        self.send(page, "after")
        self.settled(page, 2)
        check([message["content"] for message in page.js("scripted.bodies.at(-1).messages")] == ["first", "two", "after"], "deleted messages are still sent")

    def test_continue_a_cut_answer(self):
        page = self.page()
        finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
        self.script(page, {"texts": ["Once upon"], "events": [finish, "[DONE]"]}, {"texts": [" a time."]})
        self.send(page, "tell")
        self.settled(page, 1)
        page.click(f"{ANSWER} [data-action=continue]")
        page.until(f"document.querySelector('{ANSWER} .body').innerText === 'Once upon a time.'", "the rest of the answer")
        self.settled(page, 1)
        body = page.js("scripted.bodies.at(-1)")
        check(body["messages"] == [{"role": "user", "content": "tell"}, {"role": "assistant", "content": "Once upon"}], f"the messages are {body['messages']}")
        check(body["continue_final_message"] is True and body["add_generation_prompt"] is False, f"the request is {body}")
        check(page.js(f"document.querySelector('{ANSWER} [data-action=continue]') === null"), "a whole answer can be continued")
        check(page.js("document.querySelectorAll('.branches').length") == 0, "continuing made a branch")
        # An answer that broke off, by the server itself.
        self.script(page, {"texts": ["The"], "end": "cut"})
        self.send(page, "Tell me a story about a fox.")
        self.settled(page, 2)
        page.click(f"{ANSWER} [data-action=continue]")
        self.settled(page, 2)
        text = page.js(f"document.querySelector('{ANSWER} .body').innerText")
        check(text.startswith("The") and len(text) > 20 and page.js("document.querySelector('.failure') === null"), f"continued by the server: {text!r}")

    def test_draft_and_headings(self):
        page = self.page()
        headings = "[...document.querySelectorAll('h1')].filter((head) => head.checkVisibility()).map((head) => head.textContent)"
        check(page.js(headings) == ["New conversation"], f"headings of a new conversation: {page.js(headings)}")
        page.js("document.getElementById('prompt').focus()")
        page.type("half a thou")
        page.reload()
        check(page.js("document.getElementById('prompt').value") == "half a thou" and not page.js("document.getElementById('send').disabled"), "the draft is lost")
        self.script(page, {"texts": ["suggested"]}, {"texts": ["# Head"]})
        page.click("#suggestions button")
        self.settled(page, 1)
        check(page.js("document.getElementById('prompt').value") == "half a thou", "a suggestion took the draft away")
        page.click("#new_chat")
        page.js("document.getElementById('prompt').focus()")
        page.js("document.getElementById('prompt').setSelectionRange(99, 99)")
        page.type("ght")
        page.key("Enter")
        self.settled(page, 1)
        for view in ("chat", "live"):
            page.click(f".views [data-view={view}]")
            check(page.js(headings) == ["half a thought"], f"headings of the {view} view: {page.js(headings)}")
        page.reload()
        check(page.js("document.getElementById('prompt').value") == "", "what was sent is a draft still")

    def test_defaults_of_the_server(self):
        page = self.page()
        page.until("document.getElementById('state_dot').className === 'ready'", "the server's state")
        place = "['s_{0}'].map((id) => document.getElementById(id)).map((row) => [row.value, row.placeholder, Number(row.parentNode.querySelector('[type=range]').value)])[0]"
        if page.js("document.getElementById('s_top_k').placeholder === 'default'"):
            check(page.js("document.querySelector('#s_top_k ~ [type=range]').className") == "unset nowhere", "the slider stands at a value that nobody set")
        page.js("scripted.defaults = {temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 'x', repetition_penalty: 99}; document.getElementById('change_key').click()")
        page.key("Enter")
        page.until("document.getElementById('s_top_k').placeholder === '40'", "the server's defaults")
        page.click("#open_drawer")
        for name, wanted in (("temperature", 0.8), ("top_k", 40), ("top_p", 0.95)):
            check(page.js(place.format(name)) == ["", str(wanted), wanted], f"{name} shows {page.js(place.format(name))}")
        check(page.js(place.format("min_p"))[1:] == ["default", 0] and page.js(place.format("repetition_penalty"))[1:] == ["default", 1], "a default that is none was taken")
        self.shot(page, "defaults")
        page.js("document.getElementById('default_system').focus()")
        page.type("Answer in verse.")
        self.script(page, {"texts": ["ok"]}, {"texts": ["ok"]})
        self.send(page, "hello")
        self.settled(page, 1)
        body = page.js("scripted.bodies[0]")
        check(not set(body) & {"temperature", "top_k", "top_p", "min_p", "max_tokens", "seed", "stop"}, f"fields that nobody set: {body}")
        check(body["messages"][0] == {"role": "system", "content": "Answer in verse."}, "the default system prompt was not sent")
        page.js("document.getElementById('system').focus()")
        page.js("document.getElementById('system').select()")
        page.type("Be brief.")
        page.key("n", "KeyN", modifiers=1)
        check(page.js("document.getElementById('system').value") == "Answer in verse.", "a new conversation lacks the default system prompt")
        page.reload()
        check(page.js("document.getElementById('default_system').value") == "Answer in verse.", "the default system prompt was forgotten")
        page.js("document.querySelector('#conversations .open').click()")
        check(page.js("document.getElementById('system').value") == "Be brief.", "a system prompt that was still being typed is lost")
        # The track is drawn in the page's colours, the filled part up to the place.
        check(page.js("getComputedStyle(document.querySelector('[type=range]')).appearance") == "none", "the browser draws the slider")

    def test_suggestions_work(self):
        """On the demo model each suggestion's answer is known; on others, suggestions are at least there."""
        page = self.page()
        page.until("document.querySelectorAll('#suggestions button').length === 4", "the suggestions")
        if page.js("fetch('v1/models').then((answer) => answer.json()).then(({data}) => data[0].root)") != "demo":
            return
        answers = {"Reverse this list: lamp, key, bell, spoon": "spoon, bell, key, lamp", "Which number is larger, 35 or 81?": "81 is larger.",
                   "Write this as JSON: age: 41, pet: horse": '{"age": 41, "pet": "horse"}'}
        labels = page.js("[...document.querySelectorAll('#suggestions button')].map((button) => button.textContent)")
        check(set(answers) < set(labels), f"the suggestions are {labels}")
        for seed in range(5):  # of the default sampling
            page.js(f"document.getElementById('s_seed').value = '{seed}'; document.getElementById('s_seed').dispatchEvent(new Event('input'))")
            for place, label in enumerate(labels):
                page.js("document.getElementById('new_chat').click()")
                page.click(f"#suggestions button:nth-child({place + 1})")
                self.settled(page, 1)
                found = page.js(f"document.querySelector('{ANSWER} .body').innerText")
                check(found == answers.get(label, found) and len(found) > 5, f"{label}: {found!r} with seed {seed}")

    def test_dark_and_light(self):
        page = self.page()
        brightness = "(() => { const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number); return (r + g + b) / 3; })()"
        check(page.js(brightness) > 200, "light is not light")
        page.colours(dark=True)
        page.until(f"{brightness} < 60", "dark by the system's wish")
        page.click("#theme")
        page.until(f"{brightness} > 200", "light by the switch")
        page.reload()
        check(page.js(brightness) > 200, "the choice was forgotten")

    def test_contrast(self):
        page = self.page()
        pairs = [(text, ground, 4.5) for text in ("ink", "soft", "accent", "lapis", "verdigris", "gold") for ground in ("paper", "sheet", "wash", "side", "raised", "code")]
        pairs += [("on_accent", "accent", 4.5), ("edge", "sheet", 3), ("edge", "paper", 3)]
        for theme in ("light", "dark"):
            page.js(f"document.documentElement.dataset.theme = '{theme}'")
            for text, ground, least in pairs:
                colours = page.js(f"['{text}', '{ground}'].map((name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim())")
                found = contrast(*colours)
                check(found >= least, f"{theme}: {text} on {ground} has contrast {found:.2f}, needs {least}")

    def test_accessible_names(self):
        page = self.page("#live", width=1300)
        page.click(".views [data-view=both]")
        self.script(page, {"texts": ["# Head\n\n```py\nx\n```\n\n|a|b|\n|-|-|\n|1|2|"]}, {"status": 429, "error": {"message": "full"}})
        self.send(page, "one")
        self.settled(page, 1)
        self.send(page, "two")
        self.settled(page, 2)
        page.click("#open_drawer")
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        nameless = [node["role"]["value"] for node in nodes if not node.get("ignored") and node.get("role", {}).get("value") in
                    ("button", "textbox", "searchbox", "slider", "spinbutton", "link", "combobox", "checkbox", "radio", "image", "dialog")
                    and not node.get("name", {}).get("value")]
        check(not nameless, f"without a name: {nameless}")
        doubled = page.js("(() => { const ids = [...document.querySelectorAll('[id]')].map(({id}) => id); return ids.filter((id, index) => ids.indexOf(id) !== index); })()")
        check(not doubled, f"ids used twice: {doubled}")

    def test_narrow_screens(self):
        for width in (320, 390):
            page = self.page(width=width, height=780, phone=True)
            self.script(page, {"texts": ["```\n" + "wide " * 60 + "\n```\n\n| " + " | ".join("column" for _ in range(12)) + " |\n|" + "-|" * 12 + "\n\n" + "w" * 300]})
            self.send(page, "x" * 200)
            self.settled(page, 1)
            self.shot(page, f"phone-{width}")
            for view in ("chat", "live"):
                page.click(f".views [data-view={view}]")
                over = page.js("[...document.querySelectorAll('header *, .message, .message .prose > *, .composer_row > *, .panel')].filter((element) => { const box = element.getBoundingClientRect(); return box.width && (box.right > innerWidth + 1 || box.left < -1); }).map((element) => element.id || element.className)")
                check(not over, f"at {width} pixels these reach beyond the screen: {over}")
            page.click("#open_sidebar")
            page.until("document.getElementById('sidebar').getBoundingClientRect().left === 0", "the conversations to slide in")
            page.key("Escape")
            page.until("document.getElementById('sidebar').getBoundingClientRect().right <= 0", "the conversations to slide out")

    def finish(self, name):
        """What must hold for every page of every test."""
        host = urllib.parse.urlsplit(self.base).netloc
        for page in self.pages:
            outside = [url for url in page.requests if urllib.parse.urlsplit(url).netloc != host and not url.startswith(("data:", "blob:" + self.base))]
            check(not outside, f"requests to elsewhere: {outside[:3]}")
            check(not page.js("scripted.violations"), f"policy violations: {page.js('scripted.violations')}")
            check(not page.console, f"console: {page.console[:5]}")

    def run(self, name):
        self.pages = []
        try:
            getattr(self, name)()
            self.finish(name)
            return None
        except Exception as error:
            if self.pages:
                self.shot(self.pages[-1], f"FAILED-{name}")
            return error
        finally:
            for page in self.pages:
                page.close()


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def contrast(one, other):
    def luminance(colour):
        parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", help="address of a running server, such as http://127.0.0.1:8080/")
    parser.add_argument("--key", help="API key that the server wants")
    parser.add_argument("--only", default="", help="run the tests whose names hold this word")
    parser.add_argument("--screenshots", help="folder for pictures, those of failures included")
    parser.add_argument("--chromium", help="the browser's program")
    options = parser.parse_args()
    names = [name for name in dir(Suite) if name.startswith("test_") and options.only in name]
    browser = Browser(options.chromium)
    failed = 0
    try:
        suite = Suite(browser, options)
        for name in names:
            error = suite.run(name)
            print(f"{'FAIL' if error else 'ok  '} {name}", flush=True)
            if error:
                failed += 1
                text = "".join(traceback.format_exception(error)) if not isinstance(error, AssertionError) else f"     {error}\n"
                print(text, end="", flush=True)
    finally:
        browser.close()
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
