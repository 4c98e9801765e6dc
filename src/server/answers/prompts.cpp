#include "server/answers/prompts.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "dialogue/sampling_words.h"
#include "server/answers/answer_errors.h"
#include "server/http/content_coding.h"
#include "server/schema/field_error.h"

namespace quire {
namespace {

constexpr double kMaxTimeoutSeconds = 86400.0;

// Uses the request's own template, if it has one.
MarkedText render(const TextProcessor& text, const ApiRequest& request, const json::array& messages) {
  std::span<const Tool> tools = request.tools;
  if (request.tool_choice == ToolChoice::kNone) tools = {};
  if (request.chat_template.empty()) {
    return text.render_chat(messages, request.add_generation_prompt, request.template_variables, tools);
  }
  return text.render_chat(ChatTemplate::parse(request.chat_template), messages, request.add_generation_prompt,
                          request.template_variables, tools);
}

// Letters alone: whatever a template does to text, it leaves them as they are.
constexpr std::string_view kOpenEnd = "QuireContinuesHere";

// A mark that nothing of the request holds: one more repeat than its longest run of them. One pass, since a client may
// send a body full of marks.
std::string unheard_of_mark(const ApiRequest& request) {
  const std::string held =
      json::serialize(request.messages) + json::serialize(request.template_variables) + request.chat_template;
  size_t longest = 0;
  size_t run = 0;
  size_t run_end = std::string::npos;
  for (size_t at = held.find(kOpenEnd); at != std::string::npos; at = held.find(kOpenEnd, run_end)) {
    run = at == run_end ? run + 1 : 1;
    run_end = at + kOpenEnd.size();
    longest = std::max(longest, run);
  }
  std::string mark;
  for (size_t i = 0; i <= longest; ++i) mark += kOpenEnd;
  return mark;
}

// Puts the mark behind the last message's text, so that the end of that text can be found in the rendering: a template
// closes the message there, and may write the same characters anywhere.
void mark_open_end(json::array& messages, std::string_view mark) {
  json::value& content = messages.back().as_object()["content"];
  if (content.is_string()) {
    content.get_string() += mark;
  } else if (content.is_array() && !content.get_array().empty()) {
    content.get_array().back().as_object().at("text").as_string() += mark;
  } else {
    content = mark;
  }
}

void cut_at_open_end(MarkedText& rendered, std::string_view mark) {
  const size_t end = rendered.text.rfind(mark);
  if (end == std::string::npos) {
    refuse_unsupported("continue_final_message",
                       "the chat template does not write the last message's text, so that it cannot be continued");
  }
  rendered.cut(end);
}

constexpr const char* kContextLength = "This model's maximum context length is {} tokens. However, ";

ApiError context_overflow(int64_t context_length, int64_t num_tokens, int64_t completion, const std::string& path,
                          std::string_view bound = "") {
  return {400, "invalid_request_error", "context_length_exceeded",
          fmt::format(kContextLength, context_length) +
              fmt::format("you requested {}{} tokens ({} in the messages, {} in the completion). Please reduce the "
                          "length of the messages or completion.",
                          bound, num_tokens + completion, num_tokens, completion),
          path};
}

// A guess at the answer: data, whose special names are plain text.
std::vector<int32_t> prediction_tokens(const ServedModel& model, const std::string& text) {
  const Tokenizer& tokenizer = model.text->tokenizer();
  const int64_t context_length = model.engine->max_sequence_tokens();
  if (tokenizer.min_tokens(text) > context_length) {
    refuse_field("prediction.content", fmt::format("'prediction.content' has more than {} tokens, which no answer of "
                                                   "this model has; leave it out or shorten it",
                                                   context_length));
  }
  std::vector<int32_t> ids = tokenizer.encode(text, {.add_special_tokens = false, .parse_special = false});
  // min_tokens() is a bound from below; no answer reaches what lies beyond the context.
  ids.resize(std::min(ids.size(), static_cast<size_t>(context_length)));
  return ids;
}

// Seconds, in the header x-request-timeout; 0 when absent.
double header_timeout_ms(const http::Request& from) {
  const std::string_view text = from.header("x-request-timeout");
  if (text.empty()) return 0.0;
  double seconds = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || !(seconds > 0.0) || seconds > kMaxTimeoutSeconds) {
    refuse_field("x-request-timeout",
                 fmt::format("the header x-request-timeout should be seconds above 0, at most {}, found \"{}\"",
                             kMaxTimeoutSeconds, printable(text, 40)));
  }
  return seconds * 1000.0;
}

// What the request gives as text.
void add_sampling_words(SamplingParams& sampling, const ApiRequest& request, const Tokenizer& tokenizer) {
  if (!request.bad_words.empty()) sampling.bad_words = bad_word_tokens(tokenizer, request.bad_words);
  if (request.dry_breakers && sampling.dry.is_on()) {
    sampling.dry.breakers = dry_breaker_tokens(tokenizer, *request.dry_breakers);
  }
}

}  // namespace

// The listener lets no other coding through.
std::string_view unpack_body(const http::Request& from, const Limits& limits, std::string& unpacked) {
  const auto coding = http::content_coding(from.header("content-encoding")).value_or(http::ContentCoding::kNone);
  if (coding == http::ContentCoding::kNone) return from.body;
  switch (http::unpack(coding, from.body, limits.body_bytes, unpacked)) {
    case http::UnpackOutcome::kDone: break;
    case http::UnpackOutcome::kTooLarge:
      throw ApiError(413, "invalid_request_error", "request_too_large",
                     fmt::format("the request's body unpacks to more than the {} bytes that this server allows",
                                 limits.body_bytes));
    case http::UnpackOutcome::kMalformed:
      refuse_field("content-encoding", fmt::format("the request's body is not what Content-Encoding says: {}",
                                                   printable(from.header("content-encoding"), 40)));
  }
  return unpacked;
}

json::object read_body(const http::Request& from, const Limits& limits) {
  std::string unpacked;
  return parse_body(unpack_body(from, limits, unpacked), limits);
}

ModelRequest read_request(const ServerContext& context, const http::Request& from, const Api& api) {
  const json::object body = read_body(from, context.limits);
  const ServedModel& model = require_model(context, model_named(body));
  return {.model = model,
          .request = parse_request(body, api,
                                   {.limits = context.limits,
                                    .default_sampling = model.default_sampling,
                                    .vocab_size = model.card.vocab_size,
                                    .allow_request_templates = context.allow_request_templates,
                                    .drop_client_markers = context.drop_client_markers})};
}

MarkedText chat_text(const ServedModel& model, const ApiRequest& request) {
  MarkedText rendered;
  std::string mark;
  json::array messages = request.messages;
  if (request.continue_final_message) mark_open_end(messages, mark = unheard_of_mark(request));
  try {
    rendered = render(*model.text, request, messages);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kUnsupported) refuse_unsupported("messages", error.what());
    if (error.code() == ErrorCode::kLimit && request.chat_template.empty()) {
      throw ApiError(400, "invalid_request_error", "context_length_exceeded",
                     fmt::format(kContextLength, model.engine->max_sequence_tokens()) +
                         fmt::format("{}. Please reduce the length of the messages.", error.what()),
                     "messages");
    }
    refuse_field(request.chat_template.empty() ? "messages" : "chat_template",
                 fmt::format("the chat template refuses these messages: {}", error.what()));
  }
  if (request.continue_final_message) cut_at_open_end(rendered, mark);
  return rendered;
}

std::vector<int32_t> chat_prompt(const ServedModel& model, const ApiRequest& request, bool must_fit) {
  const MarkedText rendered = chat_text(model, request);
  if (must_fit) refuse_overlong(model, request, rendered.text, "messages");
  return model.text->encode_rendered(rendered, {.add_special_tokens = request.add_special_tokens.value_or(false),
                                                .parse_special = request.parse_special.value_or(false)});
}

void refuse_overlong(const ServedModel& model, const ApiRequest& request, std::string_view text,
                     const std::string& path) {
  if (request.truncate_prompt_tokens) return;
  const int64_t least = model.text->tokenizer().min_tokens(text);
  const int64_t context_length = model.engine->max_sequence_tokens();
  if (least > context_length) throw context_overflow(context_length, least, 0, path, "at least ");
}

std::vector<int32_t> plain_prompt(const ServedModel& model, const ApiRequest& request, const PromptValue& prompt,
                                  bool parse_special, const std::string& path) {
  std::vector<int32_t> ids;
  const auto add = [&](const PromptValue& part, bool add_special_tokens) {
    if (part.is_text) refuse_overlong(model, request, part.text, path);
    const std::vector<int32_t> more =
        part.is_text ? model.text->tokenizer().encode(
                           part.text, {.add_special_tokens = add_special_tokens, .parse_special = parse_special})
                     : part.ids;
    ids.insert(ids.end(), more.begin(), more.end());
  };
  add(prompt, request.add_special_tokens.value_or(true));
  for (const PromptValue& part : prompt.more) add(part, false);
  if (ids.empty()) refuse_field(path, fmt::format("'{}' holds no token; give at least one", path));
  return ids;
}

std::optional<int64_t> kept_tokens(const ApiRequest& request, int64_t max_tokens, int64_t context_length) {
  if (!request.truncate_prompt_tokens) return std::nullopt;
  const int64_t asked = *request.truncate_prompt_tokens;
  return asked < 0 ? context_length - std::max<int64_t>(max_tokens, 1) : asked;
}

bool fit_prompt(std::vector<int32_t>& prompt, const ApiRequest& request, int64_t max_tokens, int64_t context_length,
                const std::string& path) {
  const int64_t completion = max_tokens < 0 ? 1 : max_tokens;
  bool is_cut = false;
  const int64_t keep = kept_tokens(request, max_tokens, context_length).value_or(0);
  if (keep > 0 && static_cast<int64_t>(prompt.size()) > keep) {
    prompt.erase(prompt.begin(), prompt.end() - static_cast<std::ptrdiff_t>(keep));
    is_cut = true;
  }
  const auto size = static_cast<int64_t>(prompt.size());
  if (completion > context_length - size) {
    throw context_overflow(context_length, size, completion, path);
  }
  return is_cut;
}

GenerateRequest engine_request(const ServedModel& model, const http::Request& from, const ApiRequest& request) {
  GenerateRequest out;
  out.sampling = request.sampling;
  add_sampling_words(out.sampling, request, model.text->tokenizer());
  out.num_choices = request.num_choices;
  if (request.use_beam_search) {
    out.beam = request.beam;
    out.beam.width = request.beam_width.value_or(request.num_choices);
  }
  // One list, so that min_tokens holds for the caller's stop tokens too.
  if (!request.ignore_eos) out.eog_ids = model.text->eog_ids();
  out.eog_ids.insert(out.eog_ids.end(), request.stop_token_ids.begin(), request.stop_token_ids.end());
  out.max_drafts = request.max_drafts;
  if (!request.prediction.empty()) out.prediction = prediction_tokens(model, request.prediction);
  out.priority = request.priority;
  out.tenant = from.tenant;
  out.timeout_ms = request.timeout_ms > 0.0 ? request.timeout_ms : header_timeout_ms(from);
  // Prompts of different keys never share blocks.
  out.cache_salt = from.tenant + "/salt/" + request.cache_salt;
  out.shares_cache = request.cache_prompt;
  return out;
}

}  // namespace quire
