#!/usr/bin/env python3
"""Drives Quire's web page in headless Chromium against a running server.

    tests/web/web_test.py http://127.0.0.1:8080/ [--key KEY] [--only WORD] [--screenshots FOLDER]

Needs Debian's package chromium and Python's standard library. The server's own answers are used for streaming and the live
view; failures, stops and hostile text are scripted inside the page, so that they happen the same way each time.
"""

import argparse
import pathlib
import sys
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from chat_tests import ChatTests  # noqa: E402
from chromium import Browser  # noqa: E402
from conversation_tests import ConversationTests  # noqa: E402
from frame_tests import FrameTests  # noqa: E402
from live_tests import LiveTests  # noqa: E402
from text_tests import TextTests  # noqa: E402

SUITES = (ChatTests, ConversationTests, FrameTests, LiveTests, TextTests)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", help="address of a running server, such as http://127.0.0.1:8080/")
    parser.add_argument("--key", help="API key that the server wants")
    parser.add_argument("--only", default="", help="run the tests whose names hold this word")
    parser.add_argument("--screenshots", help="folder for pictures, those of failures included")
    parser.add_argument("--chromium", help="the browser's program")
    options = parser.parse_args()
    tests = [(suite, name) for suite in SUITES for name in dir(suite) if name.startswith("test_") and options.only in name]
    browser = Browser(options.chromium)
    failed = 0
    try:
        for suite, name in tests:
            error = suite(browser, options).run(name)
            print(f"{'FAIL' if error else 'ok  '} {name}", flush=True)
            if error:
                failed += 1
                text = "".join(traceback.format_exception(error)) if not isinstance(error, AssertionError) else f"     {error}\n"
                print(text, end="", flush=True)
    finally:
        browser.close()
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
