// `quire info`: what a checkpoint is, from its headers alone.

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>

#include "apps/commands.h"
#include "apps/flags/values.h"
#include "apps/loaded_model.h"
#include "apps/options.h"
#include "apps/units.h"
#include "base/error.h"
#include "base/log.h"
#include "models/loading/quantization/scheme.h"

namespace quire {
namespace {

struct InfoOptions {
  ModelOptions model;
  bool tensors = false;
  bool chat_template = false;
  bool json = false;
};

struct FormatTotal {
  int64_t tensors = 0;
  uint64_t bytes = 0;
};

std::map<std::string, FormatTotal> totals_by_format(const std::vector<Checkpoint::NamedTensor>& tensors) {
  std::map<std::string, FormatTotal> totals;
  for (const auto& tensor : tensors) {
    FormatTotal& total = totals[weight_format(tensor.view.format).name];
    ++total.tensors;
    total.bytes += tensor.view.size_bytes;
  }
  return totals;
}

// A model whose text side cannot be used can still be described.
std::unique_ptr<TextProcessor> try_text(const Checkpoint& checkpoint, std::string& problem) {
  try {
    return TextProcessor::load(checkpoint);
  } catch (const Error& error) {
    problem = error.what();
    return nullptr;
  }
}

json::object info_json(const Checkpoint& checkpoint, const ModelInfo& info, const TextProcessor* text,
                       const std::vector<Checkpoint::NamedTensor>& tensors) {
  json::object formats;
  for (const auto& [format, total] : totals_by_format(tensors)) {
    formats[format] = {{"tensors", total.tensors}, {"bytes", total.bytes}};
  }
  json::object out = {{"name", checkpoint.name()},
                      {"form", checkpoint.is_gguf() ? "gguf" : "huggingface"},
                      {"architecture", info.architecture},
                      {"parameters", info.num_parameters},
                      {"file_bytes", checkpoint.file_bytes()},
                      {"context", info.max_context},
                      {"vocabulary", info.vocab_size},
                      {"hidden_size", info.hidden_size},
                      {"intermediate_size", info.intermediate_size},
                      {"layers", info.num_layers},
                      {"heads", info.num_heads},
                      {"kv_heads", info.num_kv_heads},
                      {"head_dim", info.head_dim},
                      {"experts", info.num_experts},
                      {"experts_per_token", info.num_experts_per_token},
                      {"tied_embeddings", info.tied_embeddings},
                      {"formats", std::move(formats)},
                      {"config", checkpoint.config()}};
  if (const auto scheme = QuantizationScheme::read(checkpoint)) out["quantization"] = scheme->description();
  if (text != nullptr) {
    out["tokenizer"] = text->tokenizer_kind();
    out["chat_template"] = text->has_chat_template() ? json::value(text->chat_template_source()) : json::value();
    out["end_tokens"] = json::value_from(text->eog_ids());
  }
  json::array list;
  for (const auto& tensor : tensors) {
    list.push_back({{"name", tensor.name},
                    {"format", weight_format(tensor.view.format).name},
                    {"shape", shape_text(tensor.view.dimensions())},
                    {"bytes", tensor.view.size_bytes}});
  }
  out["tensors"] = std::move(list);
  return out;
}

void print_info(const Checkpoint& checkpoint, const ModelInfo& info, const TextProcessor* text,
                const std::string& text_problem, const std::vector<Checkpoint::NamedTensor>& tensors) {
  const auto line = [](const char* what, const std::string& value) { fmt::print("{:<14}{}\n", what, value); };
  line("model", checkpoint.name());
  line("form", checkpoint.is_gguf() ? "GGUF" : "Hugging Face directory");
  line("architecture", info.architecture);
  line("parameters", fmt::format("{} ({})", format_parameters(info.num_parameters), format_count(info.num_parameters)));
  if (const auto scheme = QuantizationScheme::read(checkpoint)) line("weights", scheme->description());
  line("size", format_bytes(checkpoint.file_bytes()));
  line("context", fmt::format("{} positions", format_count(static_cast<uint64_t>(info.max_context))));
  line("layers",
       fmt::format("{}, hidden {}, feed-forward {}", info.num_layers, info.hidden_size, info.intermediate_size));
  line("attention",
       fmt::format("{} heads, {} KV heads, {} dimensions each", info.num_heads, info.num_kv_heads, info.head_dim));
  const auto windowed = std::ranges::count_if(info.kv_layers, [](const LayerKv& layer) { return layer.window > 0; });
  if (windowed > 0) {
    line("window",
         fmt::format("{} positions in {} of {} layers", std::ranges::max(info.kv_layers, {}, &LayerKv::window).window,
                     windowed, info.num_layers));
  }
  if (info.num_experts > 0)
    line("experts", fmt::format("{}, {} per token", info.num_experts, info.num_experts_per_token));
  line("vocabulary", fmt::format("{} tokens, output head {}", format_count(static_cast<uint64_t>(info.vocab_size)),
                                 info.tied_embeddings ? "tied to the embedding" : "of its own"));
  if (text != nullptr) {
    line("tokenizer", text->tokenizer_kind());
    if (text->has_chat_template()) {
      line("template", fmt::format("chat, {} bytes (--template shows it)", text->chat_template_source().size()));
    } else if (!text->chat_template_problem().empty()) {
      line("template", "unusable: " + text->chat_template_problem());
    } else {
      line("template", "none: continues plain text");
    }
    std::string ends;
    for (const int32_t id : text->eog_ids()) {
      ends += fmt::format("{}{} {}", ends.empty() ? "" : ", ", id, printable(text->tokenizer().token_text(id), 40));
    }
    line("end tokens", ends.empty() ? "none" : ends);
  } else {
    line("tokenizer", "unusable: " + text_problem);
  }
  fmt::print("\n{:<10}{:>9}{:>14}\n", "type", "tensors", "size");
  for (const auto& [format, total] : totals_by_format(tensors)) {
    fmt::print("{:<10}{:>9}{:>14}\n", format, total.tensors, format_bytes(total.bytes));
  }
}

void info(const InfoOptions& options) {
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(options.model.model);
  // A problem of the text side is one line of the output, not an error.
  std::string text_problem;
  const std::unique_ptr<TextProcessor> text = try_text(*checkpoint, text_problem);
  if (options.chat_template) {
    if (!text) fail(ErrorCode::kCorrupt, "the tokenizer cannot be used: {}", text_problem);
    fmt::print("{}\n", text->chat_template_source());
    return;
  }
  const ModelInfo model = ModelRunner::info(*checkpoint);
  const std::vector<Checkpoint::NamedTensor> tensors = checkpoint->all_tensors();
  if (options.json) {
    fmt::print("{}\n", json::serialize(info_json(*checkpoint, model, text.get(), tensors)));
    return;
  }
  print_info(*checkpoint, model, text.get(), text_problem, tensors);
  if (!options.tensors) return;
  fmt::print("\n");
  for (const auto& tensor : tensors) {
    fmt::print("{:<48} {:<7} {:<20} {:>10}\n", printable(tensor.name), weight_format(tensor.view.format).name,
               shape_text(tensor.view.dimensions()), format_bytes(tensor.view.size_bytes));
  }
}

}  // namespace

void add_info_command(Command& program) {
  Command& command = program.add_command("info", "Describe a model: architecture, sizes, types, tokenizer, template");
  const auto options = std::make_shared<InfoOptions>();
  options->model.add_model(command);
  command.add(
      {{.names = "--tensors", .value = on_off(options->tensors), .help = "List every tensor with its type and shape"},
       {.names = "--template", .value = on_off(options->chat_template), .help = "Print the chat template alone"},
       {.names = "--json", .value = on_off(options->json), .help = "Print one JSON object, tensors included"}});
  command.on_run([options] { info(*options); });
}

}  // namespace quire
