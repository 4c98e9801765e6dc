"""The page as a whole: policy, proxies, colours, names, narrow screens."""

import urllib.parse
import urllib.request

from proxy import Proxy
from suite import ANSWER, Suite, check


class FrameTests(Suite):
    def test_headers(self):
        with urllib.request.urlopen(self.base) as reply:
            policy = reply.headers.get("Content-Security-Policy", "")
        for wanted in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"):
            check(wanted in policy, f"the policy lacks {wanted}: {policy!r}")
        check("unsafe" not in policy and "http:" not in policy and "*" not in policy, policy)

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

    def test_dark_and_light(self):
        page = self.page()
        brightness = "(() => { const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number); return (r + g + b) / 3; })()"
        check(page.js(brightness) > 200, "light is not light")
        page.colours(dark=True)
        page.until(f"{brightness} < 60", "dark by the system's wish")
        page.click("#theme")
        page.until(f"{brightness} > 200", "light by the switch")
        self.reload(page)
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


def contrast(one, other):
    def luminance(colour):
        parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
