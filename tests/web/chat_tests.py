"""Writing, streaming, branches, failures."""

import json

from suite import ANSWER, Suite, check


class ChatTests(Suite):
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
        self.reload(page)
        self.settled(page, 1)
        check(page.js(f"document.querySelector('{ANSWER} .body').innerText") == text, "reloading changed the answer")
        check(page.js("document.querySelectorAll('#conversations li').length") == 1, "the conversation is not listed")
        page.click("#theme")
        self.shot(page, "chat-dark")

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
        self.reload(page)
        self.settled(page, 1)
        text = page.js(f"document.querySelector('{ANSWER} .body').innerText")
        check(text.startswith("half an") and text != "half an", f"the answer did not go on: {text!r}")
        body = page.js("scripted.bodies")
        check(len(body) == 1 and body[0]["messages"][-1] == {"role": "assistant", "content": "half an"}, f"the requests after reloading: {body}")
        self.reload(page)
        self.settled(page, 1)
        check(page.js("scripted.bodies.length") == 0, "a finished answer went on again")

    def test_attached_files(self):
        page = self.page()
        give = """(() => {{ const files = new DataTransfer(); for (const file of [{0}]) files.items.add(file);
            const input = document.getElementById('attach_files'); input.files = files.files; input.dispatchEvent(new Event('change')); }})()"""
        page.js(give.format("new File(['one ```two```\\n'], 'notes.md'), new File([new Uint8Array([255, 0, 1])], 'picture.png'), new File(['3'], 'three.txt')"))
        page.until("document.querySelectorAll('#attachments .chip').length === 2", "the two text files")
        check("picture.png was not attached" in page.js("document.getElementById('notice').textContent"), "the file that is no text was not named")
        page.click("#attachments [aria-label='Remove three.txt']")
        self.script(page, {"texts": ["read"]}, {"texts": ["again"]})
        self.send(page, "sum up")
        self.settled(page, 1)
        wanted = [{"role": "user", "content": "notes.md:\n````\none ```two```\n````\n\nsum up"}]
        check(page.js("scripted.bodies[0].messages") == wanted, f"the message is {page.js('scripted.bodies[0].messages')}")
        check(page.js("document.getElementById('attachments').hidden"), "what was sent is attached still")
        self.reload(page)
        self.settled(page, 1)
        check(page.js("document.querySelector('.attachment').textContent").startswith("notes.md"), "the file is not shown with its message")

    def test_tools(self):
        page = self.page()
        page.click("#open_drawer")
        page.js("document.getElementById('tools').focus()")
        page.type('[{"name": "weather", "parameters": {"type": "object"}}')
        check("Not sent" in page.js("document.getElementById('tools_problem').textContent"), "broken JSON is not named")
        page.type("]")
        check(page.js("document.getElementById('tools_problem').textContent") == "", "the tools are wrong still")
        page.key("Escape")
        delta = lambda **call: {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **call}]}}]}
        calls = [delta(id="call_1", type="function", function={"name": "weather", "arguments": ""}), delta(function={"arguments": '{"city":'}),
                 delta(function={"arguments": ' "<b>Oslo</b>"}'}), {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}, "[DONE]"]
        self.script(page, {"events": calls}, {"texts": ["It rains."]})
        self.send(page, "How is it in Oslo?")
        self.settled(page, 1)
        check(page.js("document.querySelector('.call pre').textContent") == '{\n  "city": "<b>Oslo</b>"\n}', "the call's arguments are not shown")
        self.shot(page, "tools")
        self.reload(page)
        self.script(page, {"texts": ["It rains."]})
        page.js("document.querySelector('.results textarea').focus()")
        page.type("rain, 7 degrees")
        page.click("[data-action=results]")
        self.settled(page, 2)
        body = page.js("scripted.bodies[0]")
        check(body["tools"] == [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}], f"the tools are {body.get('tools')}")
        call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "<b>Oslo</b>"}'}}
        check(body["messages"][1:] == [{"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "call_1", "content": "rain, 7 degrees"}],
              f"the messages are {body['messages']}")
        check(page.js("document.querySelector('.results textarea') === null"), "answered calls ask for results still")

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
        self.reload(page)
        self.settled(page, 1)
        check(page.js(body) == "to the edited", "the branch was lost by reloading")
        page.click(".user [aria-label='Previous version']")
        page.until(f"{body} === 'second'", "the old branch with its chosen version")

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
        self.reload(page)
        page.until(f"({texts}).join() === 'first,two'", "the deletion to last")
        self.send(page, "after")
        self.settled(page, 2)
        check([message["content"] for message in page.js("scripted.bodies.at(-1).messages")] == ["first", "two", "after"], "deleted messages are still sent")

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
        self.reload(page)
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
