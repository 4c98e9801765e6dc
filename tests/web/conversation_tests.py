"""The list of conversations, drafts, settings."""

import json
import pathlib
import tempfile

from suite import ANSWER, Suite, check


class ConversationTests(Suite):
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
        # Large conversations are kept.
        huge = "{{\"format\": \"quire-conversations\", \"conversations\": [{{\"id\": \"huge1\", \"title\": \"huge\", \"nodes\": {{\"a\": {{\"id\": \"node1\", \"role\": \"user\", \"content\": \"{0}\"}}}}}}]}}"
        page.js(give.format(f"{json.dumps(huge.format('@'))}.replace('@', 'x'.repeat(12 << 20))"))
        page.until("document.getElementById('notice').textContent === '1 conversation imported.'", "the large import")
        self.reload(page)
        check("huge" in page.js(names), "the large conversation is not stored")
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
        self.reload(page)
        check(page.js("window.harmed === undefined"), "a script ran")

    def test_draft_and_headings(self):
        page = self.page()
        headings = "[...document.querySelectorAll('h1')].filter((head) => head.checkVisibility()).map((head) => head.textContent)"
        check(page.js(headings) == ["New conversation"], f"headings of a new conversation: {page.js(headings)}")
        page.js("document.getElementById('prompt').focus()")
        page.type("half a thou")
        self.reload(page)
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
        self.reload(page)
        check(page.js("document.getElementById('prompt').value") == "", "what was sent is a draft still")

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
        self.reload(page)
        self.settled(page, 1)
        check(page.js("[document.getElementById('s_temperature').value, document.getElementById('system').value]") == ["0.5", "Be brief."], "settings were lost")
        page.js("document.getElementById('reset_sampling').click()")
        check(page.js("document.getElementById('s_temperature').value") == "", "reset does nothing")

    def test_schema_and_presets(self):
        page = self.page()
        page.click("#open_drawer")
        page.js("document.getElementById('schema').focus()")
        page.type('{"type": "object"}')
        page.js("document.getElementById('s_temperature').focus()")
        page.type("0.5")
        page.js("document.getElementById('preset_name').focus()")
        page.type("forms")
        page.key("Enter")
        page.click("#reset_sampling")
        page.js("document.getElementById('schema').select()")
        page.type("{")
        self.script(page, {"texts": ["plain"]}, {"texts": ["{}"]})
        self.send(page, "hello")
        self.settled(page, 1)
        body = page.js("scripted.bodies[0]")
        check(not set(body) & {"response_format", "temperature"}, f"what is not valid, or was reset, was sent: {body}")
        page.click("#presets .chip button")
        self.send(page, "hello")
        self.settled(page, 2)
        body = page.js("scripted.bodies[1]")
        check(body["temperature"] == 0.5 and body["response_format"] == {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
              f"the request by the preset is {body}")
        self.reload(page)
        page.click("#open_drawer")
        page.js("document.querySelector(\"#presets [aria-label='Delete forms']\").click()")
        check(page.js("document.querySelectorAll('#presets .chip').length") == 0, "the preset stays")

    def test_defaults_of_the_server(self):
        page = self.page()
        page.until("document.getElementById('state_dot').className === 'ready'", "the server's state")
        page.until("document.querySelectorAll('#suggestions button').length === 4", "the model's card")
        place = "['s_{0}'].map((id) => document.getElementById(id)).map((row) => [row.value, row.placeholder, Number(row.parentNode.querySelector('[type=range]').value)])[0]"
        served = page.js("fetch('v1/models').then((answer) => answer.json()).then(({data}) => data[0].meta.default_generation_settings)") or {}
        for name, value in served.items():
            shown = page.js(f"document.getElementById('s_{name}')?.placeholder ?? null")
            check(shown is None or float(shown) == value, f"{name} is {value} at the server, and the page shows {shown}")
        if not served:
            check(page.js("document.querySelector('#s_top_k ~ [type=range]').className") == "unset nowhere", "the slider stands at a value that nobody set")
        page.js("scripted.defaults = {temperature: 0.65, top_k: 37, top_p: 0.85, min_p: 'x', repetition_penalty: 99}; document.getElementById('change_key').click()")
        page.key("Enter")
        page.until("document.getElementById('s_top_k').placeholder === '37'", "the server's defaults")
        page.click("#open_drawer")
        for name, wanted in (("temperature", 0.65), ("top_k", 37), ("top_p", 0.85)):
            check(page.js(place.format(name)) == ["", str(wanted), wanted], f"{name} shows {page.js(place.format(name))}")
        check(page.js(place.format("min_p"))[1:] == ["default", 0] and page.js(place.format("repetition_penalty"))[1:] == ["default", 1], "a default that is none was taken")
        check(page.js("document.getElementById('sampling_summary').title") == "Sampling: temperature 0.65 · top-p 0.85 · top-k 37", "the composer does not tell the sampling")
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
        self.reload(page)
        check(page.js("document.getElementById('default_system').value") == "Answer in verse.", "the default system prompt was forgotten")
        page.js("document.querySelector('#conversations .open').click()")
        check(page.js("document.getElementById('system').value") == "Be brief.", "a system prompt that was still being typed is lost")
        # The track is drawn in the page's colours, the filled part up to the place.
        check(page.js("getComputedStyle(document.querySelector('[type=range]')).appearance") == "none", "the browser draws the slider")
