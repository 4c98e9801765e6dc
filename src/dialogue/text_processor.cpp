#include "dialogue/text_processor.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/mapped_file.h"
#include "dialogue/gguf_vocabulary.h"
#include "dialogue/message_content.h"
#include "dialogue/tool_prompt.h"

namespace quire {
namespace {

constexpr size_t kMaxTokenizerBytes = size_t{256} << 20;
constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr size_t kMaxTemplateBytes = size_t{4} << 20;

struct LoadedTokenizer {
  Tokenizer tokenizer;
  std::string kind;
};

LoadedTokenizer from_directory(const std::filesystem::path& directory) {
  std::optional<json::value> config;
  if (std::filesystem::exists(directory / "tokenizer_config.json")) {
    config = read_json_file(directory / "tokenizer_config.json", kMaxConfigBytes);
  }
  const json::value* config_or_null = config ? &*config : nullptr;
  if (std::filesystem::exists(directory / "tokenizer.json")) {
    const json::value file = read_json_file(directory / "tokenizer.json", kMaxTokenizerBytes);
    return {load_tokenizer_json(file, config_or_null), "tokenizer.json"};
  }
  if (std::filesystem::exists(directory / "tokenizer.model")) {
    const MappedFile file = MappedFile::open(directory / "tokenizer.model");
    return {load_sentencepiece(file.bytes(), config_or_null), "tokenizer.model (sentencepiece)"};
  }
  if (std::filesystem::exists(directory / "vocab.json") && std::filesystem::exists(directory / "merges.txt")) {
    const json::value vocab = read_json_file(directory / "vocab.json", kMaxTokenizerBytes);
    const std::string merges = read_text_file(directory / "merges.txt", kMaxTokenizerBytes);
    return {load_vocab_merges(vocab, merges, config_or_null), "vocab.json and merges.txt"};
  }
  fail(ErrorCode::kNotFound,
       "{} holds no tokenizer: expected tokenizer.json, tokenizer.model, or vocab.json with merges.txt; copy it from "
       "the model's original files",
       directory.string());
}

LoadedTokenizer from_gguf(const GgufFile& gguf) {
  if (!gguf.has("tokenizer.ggml.model")) {
    fail(ErrorCode::kNotFound, "{} holds no tokenizer (no key tokenizer.ggml.model): it was made without a vocabulary",
         gguf.name());
  }
  const GgufVocabulary vocabulary = read_gguf_vocabulary(gguf);
  return {load_gguf_vocabulary(vocabulary), "GGUF (" + vocabulary.model + ")"};
}

// A separate template file overrides the tokenizer's configuration, as in Transformers.
std::string find_chat_template(const Checkpoint& checkpoint, const Tokenizer& tokenizer) {
  const std::filesystem::path file = checkpoint.directory() / "chat_template.jinja";
  if (!checkpoint.is_gguf() && std::filesystem::exists(file)) return read_text_file(file, kMaxTemplateBytes);
  return tokenizer.chat_template().value_or("");
}

}  // namespace

std::unique_ptr<TextProcessor> TextProcessor::load(const Checkpoint& checkpoint) {
  LoadedTokenizer loaded =
      checkpoint.is_gguf() ? from_gguf(*checkpoint.gguf()) : from_directory(checkpoint.directory());
  std::unique_ptr<TextProcessor> text(new TextProcessor(std::move(loaded.tokenizer)));
  text->tokenizer_kind_ = std::move(loaded.kind);
  text->take_chat_template(find_chat_template(checkpoint, text->tokenizer()));
  text->collect_eog_ids(checkpoint);
  text->fim_tokens_ = find_fim_tokens(text->tokenizer(), checkpoint.is_gguf() ? checkpoint.gguf() : nullptr);
  text->relevance_format_ = find_relevance_format(checkpoint, text->tokenizer());
  return text;
}

void TextProcessor::take_chat_template(std::string source) {
  template_source_ = std::move(source);
  if (template_source_.empty()) return;
  tool_format_ = &detect_tool_format(template_source_);
  reasoning_format_ = detect_reasoning_format(template_source_);
  // A template that does not parse must not keep the model from completing plain text.
  try {
    template_ = ChatTemplate::parse(template_source_);
  } catch (const Error& error) {
    template_error_ = error.what();
  }
}

void TextProcessor::use_chat_template(std::string source) {
  template_ = ChatTemplate::parse(source);
  template_source_ = std::move(source);
  template_error_.clear();
  tool_format_ = &detect_tool_format(template_source_);
  reasoning_format_ = detect_reasoning_format(template_source_);
}

void TextProcessor::use_tool_format(std::string_view name) {
  tool_format_ = find_tool_format(name);
  if (tool_format_ == nullptr) {
    fail(ErrorCode::kInvalidArgument, "there is no format of calls named '{}'; known are {}", printable(name, 40),
         tool_format_names());
  }
}

void TextProcessor::use_reasoning_format(std::string_view name) {
  reasoning_format_ = find_reasoning_format(name);
  if (reasoning_format_ == nullptr && name != "none") {
    fail(ErrorCode::kInvalidArgument, "there is no format of reasoning named '{}'; known are none, {}",
         printable(name, 40), reasoning_format_names());
  }
}

void TextProcessor::use_relevance_format(std::string_view name) {
  if (name == "cosine") {
    relevance_format_.reset();
  } else if (name != "yes-no") {
    fail(ErrorCode::kInvalidArgument, "there is no way of reranking named '{}'; known are cosine, yes-no",
         printable(name, 40));
  } else if (!relevance_format_) {
    relevance_format_ = usual_relevance_format(tokenizer_);
  }
}

std::vector<int32_t> TextProcessor::mark_tokens(bool with_calls) const {
  std::vector<int32_t> ids;
  const auto add = [&](std::string_view mark) {
    const std::optional<int32_t> id = tokenizer_.find_token(mark);
    if (id && tokenizer_.is_special(*id)) ids.push_back(*id);
  };
  if (reasoning_format_ != nullptr) {
    const ReasoningFormat& format = *reasoning_format_;
    for (const std::string_view mark : {format.begin, format.end, format.next, format.opening}) {
      for (const int32_t id : tokenizer_.encode(mark, {.add_special_tokens = false})) {
        if (tokenizer_.is_special(id) && id != tokenizer_.unk_id()) ids.push_back(id);
      }
    }
  }
  if (!with_calls) return ids;
  const CallMarks& marks = tool_format_->marks;
  for (const auto& list : {marks.begins, marks.ends, marks.silent, marks.inner}) {
    for (const std::string_view mark : list) add(mark);
  }
  return ids;
}

void TextProcessor::collect_eog_ids(const Checkpoint& checkpoint) {
  const auto add = [&](int64_t id) {
    const auto narrow = static_cast<int32_t>(id);
    if (id < 0 || id >= tokenizer_.vocab_size()) return;
    if (std::find(eog_ids_.begin(), eog_ids_.end(), narrow) == eog_ids_.end()) eog_ids_.push_back(narrow);
  };
  const auto add_from = [&](const json::object* config) {
    const json::value* value = config == nullptr ? nullptr : find_member(*config, "eos_token_id");
    if (value == nullptr) return;
    if (value->is_array()) {
      for (const json::value& id : value->get_array()) {
        if (id.is_int64()) add(id.get_int64());
      }
    } else if (value->is_int64()) {
      add(value->get_int64());
    }
  };
  for (const int32_t id : tokenizer_.eog_ids()) add(id);
  add_from(checkpoint.generation_config());
  add_from(&checkpoint.config());
}

MarkedText TextProcessor::render_chat(const json::array& messages, bool add_generation_prompt,
                                      const json::object& variables, std::span<const Tool> tools) const {
  if (!template_) {
    if (!template_error_.empty()) {
      fail(ErrorCode::kUnsupported,
           "the model's chat template cannot be used: {}; give it plain text to continue instead", template_error_);
    }
    fail(ErrorCode::kUnsupported, "the model has no chat template; give it plain text to continue instead");
  }
  return render_chat(*template_, messages, add_generation_prompt, variables, tools);
}

MarkedText TextProcessor::render_chat(const ChatTemplate& by, const json::array& messages, bool add_generation_prompt,
                                      const json::object& variables, std::span<const Tool> tools) const {
  const bool is_told = tells_tools(by, *tool_format_);
  const json::array fitting = fit_content(is_told ? messages : describe_tools(messages, tools, by, *tool_format_), by);
  const json::value listed = is_told && !tools.empty() ? json::value(tools_as_json(tools)) : json::value();
  json::object context = chat_context(fitting, listed, nullptr, add_generation_prompt);
  std::vector<std::string_view> own;
  const auto give = [&](std::string_view name, std::optional<int32_t> id) {
    context[name] = id ? tokenizer_.token_text(*id) : std::string_view();
    if (!variables.contains(name)) own.push_back(name);
  };
  give("bos_token", tokenizer_.bos_id());
  give("eos_token", tokenizer_.eos_id());
  for (const auto& [key, value] : variables) context[key] = value;
  return by.render(context, {.own_variables = own});
}

std::vector<int32_t> TextProcessor::encode_rendered(const MarkedText& rendered, RenderedOptions options) const {
  Tokenizer::EncodeOptions how{.add_special_tokens = options.add_special_tokens};
  if (!options.parse_special) how.data = rendered.data;
  return tokenizer_.encode(rendered.text, how);
}

std::vector<int32_t> TextProcessor::encode_plain(std::string_view text, bool parse_special) const {
  return tokenizer_.encode(text, {.add_special_tokens = true, .parse_special = parse_special});
}

}  // namespace quire
