"""Headless Chromium by the DevTools protocol over a pipe; Python's standard library alone."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

DEADLINE_S = 20


class Browser:
    """A Chromium with its own profile, which is deleted with it."""

    def __init__(self, program=None):
        program = program or shutil.which("chromium") or shutil.which("chromium-browser")
        if not program:
            raise SystemExit("Chromium was not found; install Debian's package chromium or name the program with --chromium.")
        self.profile = tempfile.mkdtemp(prefix="quire-web-test-")
        to_browser, self.write_end = os.pipe()
        self.read_end, from_browser = os.pipe()

        def place_pipe():
            # Chromium reads commands from descriptor 3 and writes to 4; both are copied to high numbers first: they may collide.
            high_in, high_out = os.dup2(to_browser, 90), os.dup2(from_browser, 91)
            os.dup2(high_in, 3)
            os.dup2(high_out, 4)

        flags = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self.profile}", "--no-first-run",
                 "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-background-networking",
                 "--disable-component-update", "--lang=en-GB"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        self.process = subprocess.Popen([program, *flags], preexec_fn=place_pipe, close_fds=False,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.buffer = b""
        self.next_id = 1
        self.answers = {}
        self.listeners = {}
        self.downloads = []

    def close(self):
        try:
            self.call("Browser.close")
            self.process.wait(DEADLINE_S)
        except Exception:
            self.process.kill()
            self.process.wait()
        os.close(self.write_end)
        os.close(self.read_end)
        shutil.rmtree(self.profile, ignore_errors=True)

    def call(self, method, parameters=None, session=None):
        message = {"id": self.next_id, "method": method, "params": parameters or {}}
        self.next_id += 1
        if session:
            message["sessionId"] = session
        write_all(self.write_end, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + DEADLINE_S
        while message["id"] not in self.answers:
            self.read_one(deadline, method)
        answer = self.answers.pop(message["id"])
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def read_one(self, deadline, waiting_for):
        while b"\0" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.read_end], [], [], left)[0]:
                raise TimeoutError(f"Chromium did not answer {waiting_for} within {DEADLINE_S} s")
            data = os.read(self.read_end, 1 << 20)
            if not data:
                raise RuntimeError("Chromium ended")
            self.buffer += data
        text, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(text)
        if "id" in message:
            self.answers[message["id"]] = message
        elif message["method"].startswith("Browser.download"):
            self.downloads.append(message["params"])
        elif message.get("sessionId") in self.listeners:
            self.listeners[message["sessionId"]](message["method"], message["params"])

    def new_page(self, **options):
        return Page(self, **options)


class Page:
    """A tab in a separate browser context: empty storage, its own record of requests, messages and violations."""

    def __init__(self, browser, width=1280, height=800, dark=False, phone=False, before=""):
        self.browser = browser
        self.context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call("Target.createTarget", {"url": "about:blank", "browserContextId": self.context})["targetId"]
        self.session = browser.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self.requests, self.console, self.dialogs = [], [], []
        browser.listeners[self.session] = self.event
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone})
        self.colours(dark)
        if before:
            self.call("Page.addScriptToEvaluateOnNewDocument", {"source": before})

    def close(self):
        del self.browser.listeners[self.session]
        self.browser.call("Target.disposeBrowserContext", {"browserContextId": self.context})

    def call(self, method, parameters=None):
        return self.browser.call(method, parameters, self.session)

    def event(self, method, parameters):
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.console.append("exception: " + details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded":
            self.console.append(f"{parameters['entry']['level']}: {parameters['entry']['text']}")
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.console.append(parameters["type"] + ": " + " ".join(str(item.get("value")) for item in parameters["args"]))
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(parameters["message"])
            # Sent without waiting: another reply is being waited for already.
            message = {"id": 0, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}, "sessionId": self.session}
            write_all(self.browser.write_end, json.dumps(message).encode() + b"\0")

    def colours(self, dark):
        self.call("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})

    def go(self, url):
        self.call("Page.navigate", {"url": url})
        self.until("document.readyState === 'complete' && document.querySelector('#send svg') !== null", "the page to load")

    def reload(self):
        self.js("window.quire_old_page = true")
        self.call("Page.reload")
        self.until("!window.quire_old_page && document.readyState === 'complete' && document.querySelector('#send svg') !== null", "the page to load again")

    def js(self, expression):
        result = self.call("Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True, "userGesture": True})
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"].get("exception", {}).get("description", "script failed") + "\nin: " + expression)
        return result["result"].get("value")

    def until(self, expression, what, seconds=DEADLINE_S):
        deadline = time.monotonic() + seconds
        while True:
            try:
                value = self.js(expression)
            except RuntimeError as error:
                # Between two documents there is nothing to evaluate.
                if "context" not in str(error).lower() and "null" not in str(error).lower():
                    raise
                value = None
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not appear within {seconds} s; console: {self.console[-5:]}")
            time.sleep(0.03)

    def click(self, selector):
        """A real click in the middle of the element, which must stand still there: on a busy machine a
        drawer may still slide, or a row that was just added move what lies below it."""
        place = self.until(f"""new Promise((resolve) => {{
            const middle = () => {{
                const element = document.querySelector({json.dumps(selector)});
                if (!element || element.disabled) return null;
                element.scrollIntoView({{block: 'nearest', behavior: 'instant'}});
                const box = element.getBoundingClientRect();
                const x = box.left + box.width / 2, y = box.top + box.height / 2;
                return box.width && element.contains(document.elementFromPoint(x, y)) ? [x, y] : null;
            }};
            const first = middle();
            setTimeout(() => {{
                const second = first && middle();
                resolve(second && first.join() === second.join() ? second : null);
            }}, 40);
        }})""", f"{selector} to be clickable")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", {"type": kind, "x": place[0], "y": place[1], "button": "none" if kind == "mouseMoved" else "left", "clickCount": 0 if kind == "mouseMoved" else 1})

    def hover(self, selector):
        place = self.js(f"(() => {{ const box = document.querySelector({json.dumps(selector)}).getClientRects()[0]; return [box.left + box.width / 2, box.top + box.height / 2]; }})()")
        self.call("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": place[0], "y": place[1]})

    def type(self, text):
        self.call("Input.insertText", {"text": text})

    def key(self, key, code=None, modifiers=0, key_code=0):
        codes = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowRight": 39, "ArrowLeft": 37}
        parameters = {"key": key, "code": code or key, "modifiers": modifiers, "windowsVirtualKeyCode": key_code or codes.get(key, 0)}
        if key == "Enter":
            parameters["text"] = "\r"
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", **parameters})
        parameters.pop("text", None)
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", **parameters})

    def downloaded(self):
        """Waits for a download to end and gives its suggested name."""
        deadline = time.monotonic() + DEADLINE_S
        while not any(event.get("state") == "completed" for event in self.browser.downloads):
            self.browser.read_one(deadline, "the download")
        return next(event["suggestedFilename"] for event in self.browser.downloads if "suggestedFilename" in event)

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", {"format": "png"})["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))


def write_all(descriptor, data):
    while data:
        data = data[os.write(descriptor, data):]
