"""What becomes of an answer's text: Markdown, maths, code, probabilities; hostile text above all."""

import json

from suite import ANSWER, Suite, check

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


class TextTests(Suite):
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

    def test_accepted_drafts(self):
        page = self.page()
        chunk = lambda text, *marks: {"choices": [{"index": 0, "delta": {"content": text}, "quire_drafts": list(marks)}]}
        events = [chunk("Some **bold", [0, False], [4, True], [7, True]), chunk("** \U0001f98a fox", [11, False], [13, True], [15, False]),
                  {"choices": [], "timings": {"draft_n": 6, "draft_n_accepted": 4}}]
        marked = "[...(CSS.highlights.get('accepted-drafts') ?? [])].map(String)"
        self.script(page, {"events": events}, {"events": events})
        self.send(page, "hello")
        self.settled(page, 1)
        check(page.js("'quire_drafts' in scripted.bodies[0]") is False, "marks were asked for by default")
        numbers = page.js(f"document.querySelector('{ANSWER} .numbers').innerText")
        check("4/6 drafts held" in numbers and "2.3 tokens a step" in numbers, f"the numbers lack the drafts: {numbers!r}")
        check(page.js(marked) == [], "words are marked by default")
        page.click("#open_drawer")
        page.js("document.getElementById('show_drafts').click()")
        page.click("#close_drawer")
        page.js(f"document.querySelector('{ANSWER} [data-action=regenerate]').click()")
        page.until("scripted.bodies.length === 2", "another answer")
        self.settled(page, 1)
        check(page.js("scripted.bodies[1].quire_drafts") is True, "marks were not asked for")
        check(page.js(marked) == ["bold", "\U0001f98a"], f"the marked words are {page.js(marked)}")
        self.shot(page, "drafts")
        self.reload(page)
        self.settled(page, 1)
        check(page.js(marked) == ["bold", "\U0001f98a"], "reloading lost the marks")
        page.click("#open_drawer")
        page.js("document.getElementById('show_drafts').click()")
        check(page.js(marked) == [], "the setting does not remove the marks")

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
