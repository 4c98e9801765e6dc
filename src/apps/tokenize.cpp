// `quire tokenize` and `quire detokenize`: text to token ids and back.

#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>

#include "apps/commands.h"
#include "apps/flags/values.h"
#include "apps/ids.h"
#include "apps/loaded_model.h"
#include "apps/standard_input.h"
#include "base/error.h"

namespace quire {
namespace {

struct TokenizeOptions {
  std::string model;
  std::optional<std::string> text;
  bool no_special = false;
  bool plain = false;
  bool pieces = false;
  bool json = false;
};

void tokenize(const TokenizeOptions& options) {
  const auto checkpoint = open_checkpoint(options.model);
  const auto text = TextProcessor::load(*checkpoint);
  const Tokenizer& tokenizer = text->tokenizer();
  const std::string input = options.text ? *options.text : standard_input();
  const auto ids =
      tokenizer.encode(input, {.add_special_tokens = !options.no_special, .parse_special = !options.plain});
  if (options.json) {
    json::array pieces;
    for (const int32_t id : ids) pieces.push_back(json::value(tokenizer.token_text(id)));
    fmt::print("{}\n", json::serialize(json::object{{"ids", json::value_from(ids)}, {"pieces", std::move(pieces)}}));
  } else if (options.pieces) {
    for (const int32_t id : ids) fmt::print("{:>8}  {}\n", id, json::serialize(json::value(tokenizer.token_text(id))));
  } else {
    fmt::print("{}\n", fmt::join(ids, ","));
  }
}

void detokenize(const TokenizeOptions& options) {
  const auto checkpoint = open_checkpoint(options.model);
  const auto text = TextProcessor::load(*checkpoint);
  const auto ids = parse_ids(options.text ? *options.text : standard_input(), text->tokenizer().vocab_size());
  const std::string out = text->tokenizer().decode(ids, options.no_special);
  fmt::print("{}\n", options.json ? json::serialize(json::object{{"text", out}}) : out);
}

}  // namespace

std::vector<int32_t> parse_ids(std::string_view text, int64_t vocab_size) {
  std::vector<int32_t> ids;
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  while (at != end) {
    if (*at == ',' || *at == ' ' || *at == '\n' || *at == '\t' || *at == '[' || *at == ']') {
      ++at;
      continue;
    }
    int32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc()) {
      fail(ErrorCode::kInvalidArgument, "token ids are numbers with commas between, such as 1,15043,29892; found '{}'",
           printable({at, static_cast<size_t>(end - at)}, 20));
    }
    if (id < 0 || id >= vocab_size) {
      fail(ErrorCode::kInvalidArgument, "token id {} is outside the vocabulary (0 to {})", id, vocab_size - 1);
    }
    ids.push_back(id);
    at = next;
  }
  return ids;
}

void add_tokenize_command(Command& program) {
  Command& command = program.add_command("tokenize", "Turn text into token ids");
  const auto options = std::make_shared<TokenizeOptions>();
  command.add({{.names = "MODEL",
                .value = text(options->model, "MODEL"),
                .help = "The model whose tokenizer to use",
                .is_required = true},
               {.names = "TEXT,-p,--prompt",
                .value = text(options->text),
                .help = "The text",
                .default_text = "standard input"},
               {.names = "--no-bos,--no-special",
                .value = on_off(options->no_special),
                .help = "Do not add the model's begin and end tokens"},
               {.names = "--no-parse-special",
                .value = on_off(options->plain),
                .help = "Read names of special tokens as plain text"},
               {.names = "--pieces", .value = on_off(options->pieces), .help = "Print one token a line, with its text"},
               {.names = "--json", .value = on_off(options->json), .help = "Print one JSON object"}});
  command.on_run([options] { tokenize(*options); });
}

void add_detokenize_command(Command& program) {
  Command& command = program.add_command("detokenize", "Turn token ids into text");
  const auto options = std::make_shared<TokenizeOptions>();
  command.add({{.names = "MODEL",
                .value = text(options->model, "MODEL"),
                .help = "The model whose tokenizer to use",
                .is_required = true},
               {.names = "IDS,--ids",
                .value = text(options->text, "IDS"),
                .help = "Token ids with commas between",
                .default_text = "standard input"},
               {.names = "--skip-special",
                .value = on_off(options->no_special),
                .help = "Leave special tokens out of the text"},
               {.names = "--json", .value = on_off(options->json), .help = "Print one JSON object"}});
  command.on_run([options] { detokenize(*options); });
}

}  // namespace quire
