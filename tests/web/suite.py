"""What every test of the page has: pages with scripted replies, what users do, and what must hold of every page."""

import json
import pathlib
import urllib.parse

SCRIPT = (pathlib.Path(__file__).parent / "scripted_fetch.js").read_text()
ANSWER = ".message.answer:last-child"


class Suite:
    def __init__(self, browser, options):
        self.browser, self.options, self.pages = browser, options, []
        self.base = options.base.rstrip("/") + "/"

    def page(self, path="", **more):
        key = f"try {{ sessionStorage.setItem('quire.key', {json.dumps(self.options.key)}); }} catch {{}}" if self.options.key else ""
        page = self.browser.new_page(before=SCRIPT + key, **more)
        self.pages.append(page)
        page.go(self.base + path)
        self.opened(page)
        return page

    def reload(self, page):
        page.reload()
        self.opened(page)

    def opened(self, page):
        page.until("document.getElementById('page_title')?.textContent !== 'Quire'", "the conversations that are stored")

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
