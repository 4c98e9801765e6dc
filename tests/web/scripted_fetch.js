// Runs in the page before its own scripts: answers chat requests as a test scripted them and records what the page did.
(() => {
  const real = window.fetch.bind(window);
  const state = {replies: [], bodies: [], keys: [], polls: 0, violations: [], open: null, aborted: 0, status: null, asked: "", models: null, defaults: null};
  window.scripted = state;
  document.addEventListener("securitypolicyviolation", (event) => state.violations.push(`${event.violatedDirective} ${event.blockedURI}`));

  const encoder = new TextEncoder();
  const event_of = (value) => encoder.encode(`data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`);
  const chunk = (text, logprobs) => ({object: "chat.completion.chunk", model: "scripted", choices: [{index: 0, delta: {content: text}, ...(logprobs ? {logprobs: {content: logprobs}} : {})}]});

  // reply: {status, error, headers} or {texts, logprobs, events, end: "done" | "hold" | "cut" | "break"}
  function stream(reply, signal) {
    return new ReadableStream({
      start(controller) {
        const finish = () => {
          controller.enqueue(event_of({choices: [{index: 0, delta: {}, finish_reason: "stop"}]}));
          controller.enqueue(event_of({choices: [], usage: {prompt_tokens: 40, completion_tokens: 7, total_tokens: 47, prompt_tokens_details: {cached_tokens: 32}},
            timings: {ttft_ms: 81, decode_ms: 200, queue_ms: 1, tokens_per_second: 41.5, cached_tokens: 32}}));
          controller.enqueue(event_of("[DONE]"));
          controller.close();
        };
        state.open = {push: (text) => controller.enqueue(event_of(chunk(text))), finish};
        signal?.addEventListener("abort", () => {
          ++state.aborted;
          controller.error(new DOMException("aborted", "AbortError"));
        });
        (reply.texts ?? []).forEach((text, index) => controller.enqueue(event_of(chunk(text, reply.logprobs?.[index]))));
        for (const event of reply.events ?? []) controller.enqueue(event_of(event));
        if (reply.end === "cut") controller.close();
        else if (reply.end === "break") setTimeout(() => controller.error(new TypeError("network error")));
        else if (reply.end !== "hold") finish();
      },
    });
  }

  window.fetch = async (path, options = {}) => {
    // The page may stand under any path.
    const {pathname: place, search} = new URL(path, document.baseURI);
    if (place.endsWith("/status")) {
      ++state.polls;
      state.asked = search;
      if (state.status) return new Response(JSON.stringify(state.status));
    }
    if (place.endsWith("/v1/models") && state.models) return new Response(JSON.stringify({data: state.models}));
    if (place.endsWith("/v1/models") && state.defaults) {
      const models = await (await real(path, options)).json();
      models.data[0].meta.default_generation_settings = state.defaults;
      return new Response(JSON.stringify(models));
    }
    if (!place.endsWith("/v1/chat/completions")) return real(path, options);
    state.bodies.push(JSON.parse(options.body));
    state.keys.push(options.headers.Authorization ?? "");
    const reply = state.replies.shift();
    if (!reply) return real(path, options);
    if (reply.offline) throw new TypeError("Failed to fetch");
    if (reply.status) return new Response(JSON.stringify({error: reply.error ?? {}}), {status: reply.status, headers: reply.headers ?? {}});
    return new Response(stream(reply, options.signal), {headers: {"Content-Type": "text/event-stream"}});
  };
})();
