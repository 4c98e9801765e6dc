#!/usr/bin/env python3
"""Takes README's picture: the chat beside the live view, an answer and twelve other streams under way.

    quire serve SmolLM2-135M-Instruct.Q4_1.gguf -c 2048 --sequences 16
    tests/web/picture.py http://127.0.0.1:8080/ docs/images/chat.png

On a machine that does nothing else: the picture shows tokens per second.
"""

import json
import pathlib
import sys
import threading
import urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from chromium import Browser  # noqa: E402

QUESTION = "Explain how a rainbow forms, step by step."
TOPICS = ("photosynthesis", "the water cycle", "bread", "magnets", "haiku", "gravity", "autumn leaves", "mountains", "stories", "cities at night", "tides", "clocks")
SYSTEM = "You explain things clearly and in detail, with examples from daily life, for readers of every age, and never end before all is said."


def stream(base, topic):
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"Tell me about {topic}."}]
    body = json.dumps({"messages": messages, "min_tokens": 1400, "max_tokens": 1400, "stream": True}).encode()
    with urllib.request.urlopen(urllib.request.Request(base + "v1/chat/completions", body, {"Content-Type": "application/json"})) as reply:
        reply.read()


def main(base, file):
    browser = Browser()
    try:
        page = browser.new_page(width=1400, height=860)
        page.go(base + "#both")
        page.until("document.getElementById('state_dot').className === 'ready'", "the server's state")
        for topic in TOPICS:
            threading.Thread(target=stream, args=(base, topic), daemon=True).start()
        page.until("document.querySelector('#figure_running .value').textContent === '12'", "twelve streams")
        page.js("document.getElementById('prompt').focus()")
        page.type(QUESTION)
        page.key("Enter")
        page.until("document.querySelector('.answer .body')?.innerText.length > 850 && document.querySelector('#figure_running .value').textContent === '13'",
                   "a longer answer; this one was short, so try again", 120)
        page.screenshot(file)
    finally:
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/") + "/", sys.argv[2])
