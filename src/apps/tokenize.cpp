// `quire tokenize` and `quire detokenize`: text to token ids and back.

#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <memory>

#include "apps/command.h"
#include "apps/ids.h"
#include "apps/loaded_model.h"
#include "apps/standard_input.h"
#include "base/error.h"

namespace quire {
namespace {

struct TokenizeOptions {
  std::string model;
  std::string text;
  bool no_special = false;
  bool plain = false;
  bool pieces = false;
  bool json = false;
};

void tokenize(const TokenizeOptions& options, bool has_text) {
  const auto checkpoint = open_checkpoint(options.model);
  const auto text = TextProcessor::load(*checkpoint);
  const Tokenizer& tokenizer = text->tokenizer();
  const std::string input = has_text ? options.text : standard_input();
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
  const auto ids = parse_ids(options.text.empty() ? standard_input() : options.text, text->tokenizer().vocab_size());
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

void add_tokenize_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand("tokenize", "Turn text into token ids");
  const auto options = std::make_shared<TokenizeOptions>();
  command->add_option("MODEL", options->model, "The model whose tokenizer to use")->required();
  const CLI::Option* text =
      command->add_option("TEXT,-p,--prompt", options->text, "The text (default: standard input)");
  command->add_flag("--no-bos,--no-special", options->no_special, "Do not add the model's begin and end tokens");
  command->add_flag("--no-parse-special", options->plain, "Read names of special tokens as plain text");
  command->add_flag("--pieces", options->pieces, "One token a line, with its text");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, text] { tokenize(*options, text->count() > 0); });
}

void add_detokenize_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand("detokenize", "Turn token ids into text");
  const auto options = std::make_shared<TokenizeOptions>();
  command->add_option("MODEL", options->model, "The model whose tokenizer to use")->required();
  command->add_option("IDS,--ids", options->text, "Token ids with commas between (default: standard input)");
  command->add_flag("--skip-special", options->no_special, "Leave special tokens out of the text");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options] { detokenize(*options); });
}

}  // namespace quire
