"""The live view of the engine."""

import json

from suite import Suite, check


class LiveTests(Suite):
    def test_live_view(self):
        page = self.page("#live", width=1440, height=1000)
        page.until("document.querySelector('#figure_speed .value').textContent !== '–'", "the second reading")
        check(page.js("Number(document.querySelector('#map_title').textContent.split(' ')[0].replaceAll(',', '')) > 0"), "no blocks in the map")
        check(page.js("document.querySelector('.kv_map canvas').height > 0"), "the map is not drawn")
        check(page.js("document.querySelectorAll('.kv_map').length") == 1, "a model of one group has one map")
        self.shot(page, "live-light")
        page.click("#theme")
        self.shot(page, "live-dark")

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

    def test_live_view_of_the_chosen_model(self):
        page = self.page()
        check(page.js("document.getElementById('model_field').hidden"), "one model leaves nothing to choose")
        status = {"state": "ready", "uptime_s": 5, "model": {"id": "first"}, "engine": {"num_running": 3}}
        page.js(f"scripted.models = [{{id: 'first'}}, {{id: 'org/second'}}]; scripted.status = {json.dumps(status)}; document.getElementById('change_key').click()")
        page.key("Enter")
        page.until("!document.getElementById('model_field').hidden", "a choice of two models")
        page.js("document.getElementById('model_choice').value = 'org/second'; document.getElementById('model_choice').dispatchEvent(new Event('change'))")
        page.until("scripted.asked === '?model=org%2Fsecond'", "the status of the chosen model")

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
