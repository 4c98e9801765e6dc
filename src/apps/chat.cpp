#include "apps/chat.h"

#include <editline/readline.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "apps/conversations.h"
#include "apps/generation.h"
#include "apps/interrupt.h"
#include "base/error.h"
#include "dialogue/reasoning.h"

namespace quire {
namespace {

constexpr const char* kHelp =
    "/set NAME VALUE   change temperature, top_k, top_p, min_p, typical_p,\n"
    "                  repetition_penalty, presence_penalty, frequency_penalty, seed,\n"
    "                  max_tokens, system, stats (on, off) or effort (of reasoning: none,\n"
    "                  low, high ..., as the model has it); /set alone shows them\n"
    "/clear            forget the conversation\n"
    "/save NAME        keep the conversation under a name\n"
    "/load NAME        go on with one that was saved; /load alone lists them\n"
    "/bye              leave (also Ctrl-D)\n"
    "\"\"\"               begins and ends text of several lines\n"
    "Ctrl-C            stops the answer\n";

template <typename T>
T parse_number(std::string_view name, std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    fail(ErrorCode::kInvalidArgument, "{} needs a number, found '{}'", name, printable(text, 40));
  }
  return value;
}

// Prints an answer as it comes, reasoning dimmed, and keeps its content.
class ShownAnswer {
 public:
  ShownAnswer(const ReasoningFormat* format, bool is_open)
      : parser_(format == nullptr ? make_plain_parser() : make_reasoning_parser(*format, is_open, make_plain_parser())),
        is_terminal_(isatty(STDOUT_FILENO) != 0) {}

  void push(std::string_view text) {
    parser_->push(text, parts_);
    print();
  }
  const std::string& finish() {
    parser_->finish(parts_);
    print();
    show_as(AnswerPartKind::kContent);
    return content_;
  }

 private:
  void print() {
    for (const AnswerPart& part : std::exchange(parts_, {})) {
      if (part.kind == AnswerPartKind::kContent && shown_ == AnswerPartKind::kReasoning) fmt::print("\n\n");
      show_as(part.kind);
      std::fwrite(part.text.data(), 1, part.text.size(), stdout);
      if (part.kind == AnswerPartKind::kContent) content_ += part.text;
    }
    std::fflush(stdout);
  }

  void show_as(AnswerPartKind kind) {
    if (is_terminal_ && kind != shown_) fmt::print("{}", kind == AnswerPartKind::kReasoning ? "\x1b[2m" : "\x1b[0m");
    shown_ = kind;
  }

  const std::unique_ptr<OutputParser> parser_;
  const bool is_terminal_;
  std::vector<AnswerPart> parts_;
  AnswerPartKind shown_ = AnswerPartKind::kContent;
  std::string content_;
};

class Chat {
 public:
  Chat(Engine& engine, const TextProcessor& text, ChatSettings settings)
      : engine_(engine), text_(text), settings_(std::move(settings)), messages_(first_messages(settings_)) {}

  void run() {
    // The line editor reads characters instead of bytes only in a locale that names an encoding.
    if (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
    catch_interrupts();
    fmt::print(stderr, "Type a message, /help for commands, /bye to leave.\n");
    while (const auto input = read_input()) {
      if (input->empty()) continue;
      try {
        if (input->front() == '/') {
          if (!command(*input)) return;
        } else {
          answer(*input);
        }
      } catch (const Error& error) {
        fmt::print(stderr, "{}\n", error.what());
        if (error.code() == ErrorCode::kLimit) fmt::print(stderr, "/clear starts a new conversation.\n");
      }
    }
    fmt::print("\n");  // ends the line of the prompt
  }

 private:
  // A line, or several between """; nothing at the end of input.
  std::optional<std::string> read_input() {
    std::optional<std::string> line = read_line(">>> ");
    if (!line || !line->starts_with("\"\"\"")) return line;
    std::string all = line->substr(3);
    while (!all.ends_with("\"\"\"")) {
      line = read_line("... ");
      if (!line) return line;
      if (is_interrupted_line_) return std::string();
      all += '\n' + *line;
    }
    all.resize(all.size() - 3);
    return all;
  }

  std::optional<std::string> read_line(const char* prompt) {
    clear_interrupt();
    is_interrupted_line_ = false;
    char* line = ::readline(prompt);
    if (line == nullptr) {
      if (!is_interrupted()) return std::nullopt;
      is_interrupted_line_ = true;
      fmt::print(stderr, "\n(/bye leaves)\n");
      return std::string();
    }
    std::string text(line);
    std::free(line);
    if (!text.empty()) ::add_history(text.c_str());
    return text;
  }

  void answer(const std::string& input) {
    json::array messages = messages_;
    messages.push_back({{"role", "user"}, {"content", input}});
    const MarkedText rendered = settings_.raw ? MarkedText() : text_.render_chat(messages, true, template_variables());
    const ReasoningFormat* const format = settings_.raw ? nullptr : text_.reasoning_format();
    GenerationInput request =
        make_input(text_, settings_, settings_.raw ? text_.encode_plain(input) : text_.encode_rendered(rendered));
    if (format != nullptr) request.shown_tokens = text_.mark_tokens(/*with_calls=*/false);
    ShownAnswer shown(format, format != nullptr && opens_reasoning(*format, rendered.text));
    clear_interrupt();
    const Generation result = generate(
        engine_, text_, std::move(request), [&](std::string_view piece) { shown.push(piece); }, is_interrupted);
    const std::string& content = shown.finish();
    fmt::print("\n");
    std::fflush(stdout);
    if (result.finish == FinishReason::kLength)
      fmt::print(stderr, "(stopped: max_tokens or the end of the context is reached)\n");
    if (result.finish == FinishReason::kCancelled) fmt::print(stderr, "(stopped)\n");
    if (result.finish == FinishReason::kError) fmt::print(stderr, "(stopped: the model produced NaN or infinity)\n");
    if (result.finish == FinishReason::kConstraint) fmt::print(stderr, "(stopped: {})\n", result.error);
    if (settings_.show_stats) fmt::print(stderr, "{}", describe(result.stats));
    if (!settings_.raw) {
      messages.push_back({{"role", "assistant"}, {"content", content}});
      messages_ = std::move(messages);
    }
  }

  json::object template_variables() const {
    if (effort_.empty()) return {};
    json::object variables = {{"reasoning_effort", effort_}};
    if (effort_ == "none") variables["enable_thinking"] = false;
    return variables;
  }

  // False when the conversation is over.
  bool command(const std::string& line) {
    const size_t space = line.find(' ');
    const std::string verb = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : line.substr(line.find_first_not_of(' ', space));
    if (verb == "/bye" || verb == "/exit" || verb == "/quit") return false;
    if (verb == "/help" || verb == "/?") {
      fmt::print("{}", kHelp);
    } else if (verb == "/clear") {
      forget();
    } else if (verb == "/save") {
      save(rest);
    } else if (verb == "/load") {
      load(rest);
    } else if (verb == "/set") {
      set(rest);
    } else {
      fail(ErrorCode::kInvalidArgument, "unknown command {}; /help lists the commands", printable(verb, 40));
    }
    return true;
  }

  void forget() {
    messages_ = first_messages(settings_);
    fmt::print(stderr, "(a new conversation)\n");
  }

  void save(const std::string& name) const {
    if (settings_.raw) fail(ErrorCode::kInvalidArgument, "/save: plain text is continued without a conversation");
    Conversations::of_user().save(name, messages_);
    fmt::print(stderr, "(saved: {} messages; /load {} goes on with them)\n", messages_.size(), name);
  }

  void load(const std::string& name) {
    const Conversations conversations = Conversations::of_user();
    if (name.empty()) {
      for (const std::string& saved : conversations.names()) fmt::print("{}\n", saved);
      return;
    }
    if (settings_.raw) fail(ErrorCode::kInvalidArgument, "/load: plain text is continued without a conversation");
    messages_ = conversations.load(name);
    const bool has_system = !messages_.empty() && get_string(messages_[0].as_object(), "role") == "system";
    settings_.system = has_system ? get_string(messages_[0].as_object(), "content") : "";  // also after /clear
    fmt::print(stderr, "({} messages)\n", messages_.size());
  }

  void set(const std::string& rest) {
    if (rest.empty()) return show();
    const size_t space = rest.find(' ');
    const std::string name = rest.substr(0, space);
    const std::string value = space == std::string::npos ? "" : rest.substr(space + 1);
    SamplingParams changed = settings_.sampling;
    const auto number = [&] { return parse_number<float>(name, value); };
    if (name == "temperature") {
      changed.temperature = number();
    } else if (name == "top_k") {
      changed.top_k = parse_number<int32_t>(name, value);
    } else if (name == "top_p") {
      changed.top_p = number();
    } else if (name == "min_p") {
      changed.min_p = number();
    } else if (name == "typical_p") {
      changed.typical_p = number();
    } else if (name == "repetition_penalty") {
      changed.repetition_penalty = number();
    } else if (name == "presence_penalty") {
      changed.presence_penalty = number();
    } else if (name == "frequency_penalty") {
      changed.frequency_penalty = number();
    } else if (name == "seed") {
      const auto seed = parse_number<int64_t>(name, value);
      changed.seed = seed < 0 ? std::nullopt : std::optional<uint64_t>(seed);
    } else if (name == "max_tokens") {
      settings_.max_tokens = std::max<int64_t>(-1, parse_number<int64_t>(name, value));
    } else if (name == "system") {
      settings_.system = value;
      forget();
    } else if (name == "effort") {
      effort_ = value;
    } else if (name == "stats") {
      settings_.show_stats = value != "off";
    } else {
      fail(ErrorCode::kInvalidArgument, "unknown setting {}; /help lists the settings", printable(name, 40));
    }
    changed.validate(engine_.runner().info().vocab_size);
    settings_.sampling = changed;
  }

  void show() const {
    const SamplingParams& sampling = settings_.sampling;
    fmt::print(
        "temperature {}\ntop_k {}\ntop_p {}\nmin_p {}\ntypical_p {}\nrepetition_penalty {}\npresence_penalty {}\n",
        sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, sampling.typical_p,
        sampling.repetition_penalty, sampling.presence_penalty);
    fmt::print("frequency_penalty {}\nseed {}\nmax_tokens {}\nsystem {}\nstats {}\neffort {}\n",
               sampling.frequency_penalty, sampling.seed ? std::to_string(*sampling.seed) : "new each time",
               settings_.max_tokens, settings_.system, settings_.show_stats ? "on" : "off",
               effort_.empty() ? "the model's own" : effort_);
  }

  Engine& engine_;
  const TextProcessor& text_;
  ChatSettings settings_;
  json::array messages_;
  std::string effort_;  // of reasoning; empty: the model's own
  bool is_interrupted_line_ = false;
};

}  // namespace

GenerationInput make_input(const TextProcessor& text, const ChatSettings& settings, std::vector<int32_t> prompt) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.sampling = settings.sampling;
  request.max_tokens = settings.max_tokens;
  request.ignore_eos = settings.ignore_eos;
  request.eog_ids = text.eog_ids();
  request.constraint = settings.constraint;
  return {.request = std::move(request), .stops = settings.stops, .continues_prompt = settings.raw};
}

json::array first_messages(const ChatSettings& settings) {
  json::array messages;
  if (!settings.system.empty()) messages.push_back({{"role", "system"}, {"content", settings.system}});
  return messages;
}

void chat(Engine& engine, const TextProcessor& text, ChatSettings settings) {
  Chat(engine, text, std::move(settings)).run();
}

}  // namespace quire
