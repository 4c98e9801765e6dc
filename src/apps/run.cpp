// `quire run`: one answer to a prompt, or a conversation.

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <random>

#include "apps/chat.h"
#include "apps/commands.h"
#include "apps/flags/values.h"
#include "apps/generation.h"
#include "apps/grammar_option.h"
#include "apps/interrupt.h"
#include "apps/kv_store_flags.h"
#include "apps/loaded_drafter.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "apps/speculation_flags.h"
#include "apps/standard_input.h"
#include "base/error.h"
#include "base/mapped_file.h"

namespace quire {
namespace {

struct RunOptions {
  ModelOptions model;
  SamplingOptions sampling;
  ChatTemplateOption chat_template;
  GrammarOption grammar;
  SpeculationFlags speculation;
  KvStoreFlags kv_store;
  std::optional<std::string> prompt;
  std::string prompt_file;
  std::string system;
  bool raw = false;
  bool stats = false;
  bool json = false;
};

// The prompt from the flag, the file, or a standard input that is no terminal; nothing means a conversation.
std::optional<std::string> find_prompt(const RunOptions& options) {
  if (options.prompt) return options.prompt;
  if (!options.prompt_file.empty()) return read_text_file(options.prompt_file, kMaxPromptBytes);
  if (isatty(STDIN_FILENO) != 0) return std::nullopt;
  std::string text = standard_input();
  while (text.ends_with('\n')) text.pop_back();
  if (text.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "the prompt is empty: give --prompt TEXT, --file FILE, or text on standard input");
  }
  return text;
}

json::array logprobs_json(const Generation& result, const TextProcessor& text) {
  json::array out;
  for (const SampledToken& token : result.tokens) {
    json::array top;
    for (const TokenLogprob& other : token.top) {
      top.push_back({{"id", other.id}, {"token", text.tokenizer().token_text(other.id)}, {"logprob", other.logprob}});
    }
    out.push_back({{"id", token.id},
                   {"token", text.tokenizer().token_text(token.id)},
                   {"logprob", token.logprob},
                   {"rank", token.rank},
                   {"top_logprobs", std::move(top)}});
  }
  return out;
}

void print_logprobs(const Generation& result, const TextProcessor& text) {
  for (const SampledToken& token : result.tokens) {
    fmt::print(stderr, "{:>10.4f}  {}", token.logprob,
               json::serialize(json::value(text.tokenizer().token_text(token.id))));
    for (const TokenLogprob& other : token.top) {
      fmt::print(stderr, "  {} {:.4f}", json::serialize(json::value(text.tokenizer().token_text(other.id))),
                 other.logprob);
    }
    fmt::print(stderr, "\n");
  }
}

void answer_once(Engine& engine, const TextProcessor& text, const ChatSettings& settings, const RunOptions& options,
                 const std::string& prompt) {
  json::array messages = first_messages(settings);
  messages.push_back({{"role", "user"}, {"content", prompt}});
  std::vector<int32_t> ids =
      settings.raw ? text.encode_plain(prompt) : text.encode_rendered(text.render_chat(messages, true));
  catch_interrupts();
  const Generation result = generate(
      engine, text, make_input(text, settings, std::move(ids)),
      [&](std::string_view piece) {
        if (options.json) return;
        std::fwrite(piece.data(), 1, piece.size(), stdout);
        std::fflush(stdout);
      },
      is_interrupted);
  const bool wants_logprobs = settings.sampling.num_logprobs >= 0;
  if (options.json) {
    json::object out = {
        {"text", result.text}, {"finish_reason", name(result.finish)}, {"usage", to_json(result.stats)}};
    if (!result.stop.empty()) out["stop_reason"] = result.stop;
    if (wants_logprobs) out["logprobs"] = logprobs_json(result, text);
    fmt::print("{}\n", json::serialize(out));
  } else {
    fmt::print("\n");
    std::fflush(stdout);
    if (wants_logprobs) print_logprobs(result, text);
    if (options.stats) fmt::print(stderr, "\n{}", describe(result.stats));
  }
  if (result.finish == FinishReason::kError) {
    fail(ErrorCode::kCorrupt,
         "the model produced NaN or infinity as logits; its weights are damaged, or its number type overflows");
  }
  if (result.finish == FinishReason::kConstraint) {
    fail(ErrorCode::kUnsupported, "the answer cannot be kept in the form that was asked for: {}", result.error);
  }
}

void run(const RunOptions& options) {
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(options.model.model);
  const std::unique_ptr<TextProcessor> text = TextProcessor::load(*checkpoint);
  options.chat_template.apply_to(*text);
  ChatSettings settings;
  settings.sampling = options.sampling.resolve(checkpoint->generation_config());
  if (settings.sampling.dry.is_on()) options.sampling.find_breakers(settings.sampling, text->tokenizer());
  settings.max_tokens = options.sampling.max_tokens;
  settings.ignore_eos = options.sampling.ignore_eos;
  settings.stops = options.sampling.stop;
  settings.system = options.system;
  settings.show_stats = options.stats;
  if (!options.raw && !text->chat_template_problem().empty()) {
    fail(ErrorCode::kUnsupported, "the model's chat template cannot be used: {}\n--raw continues plain text without it",
         text->chat_template_problem());
  }
  settings.raw = options.raw || !text->has_chat_template();
  // Before the weights are loaded, which may take long.
  const int64_t vocab_size = ModelRunner::info(*checkpoint).vocab_size;
  settings.sampling.validate(vocab_size);
  settings.constraint = options.grammar.constraint(*text, vocab_size);
  const std::optional<std::string> prompt = find_prompt(options);

  EngineOptions engine_options;
  engine_options.seed = std::random_device()();
  engine_options.speculation = options.speculation.resolve();
  options.kv_store.apply_to(engine_options, *checkpoint);
  RunnerOptions runner_options = options.model.runner_options(checkpoint.get());
  make_room_for_drafts(runner_options, engine_options.speculation);
  if (settings.constraint != nullptr) make_room_for_known_drafts(runner_options);
  LoadedModels models = load_with_drafter(engine_options.speculation, *checkpoint, runner_options);
  Engine engine(std::move(models.target), engine_options, std::move(models.drafter));
  if (prompt) {
    answer_once(engine, *text, settings, options, *prompt);
  } else {
    chat(engine, *text, settings);
  }
}

}  // namespace

void add_run_command(Command& program) {
  Command& command = program.add_command("run", "Answer a prompt, or chat on the terminal");
  const auto options = std::make_shared<RunOptions>();
  options->model.add_model(command);
  command.add({{.names = "PROMPT,-p,--prompt",
                .value = text(options->prompt),
                .help = "Answer this prompt and exit; without it, chat, or read the prompt from standard input"},
               {.names = "-f,--file",
                .value = text(options->prompt_file, "FILE"),
                .help = "Read the prompt from a file",
                .excludes = "--prompt"},
               {.names = "--raw,--no-chat,--no-conversation,-no-cnv",
                .value = on_off(options->raw),
                .help = "Continue the text as it is, without the model's chat template"},
               {.names = "--stats",
                .value = on_off(options->stats),
                .help = "Print statistics: time to first token, time per output token, tokens/s, memory"},
               {.names = "--json",
                .value = on_off(options->json),
                .help = "Print one JSON object with text, finish reason and numbers"}});
  command.add({.has_environment = true}, {{.names = "--system,--system-prompt,-sys",
                                           .value = text(options->system),
                                           .help = "System message of the conversation"}});
  options->chat_template.add(command, /*with_tools=*/false);
  options->sampling.add(command);
  options->grammar.add(command);
  options->speculation.add(command);
  options->kv_store.add(command);
  options->model.add_limits(command);
  options->model.add_compute(command);
  command.on_run([options] { run(*options); });
}

}  // namespace quire
