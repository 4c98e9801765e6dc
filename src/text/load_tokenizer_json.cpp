#include <algorithm>
#include <unordered_set>

#include "base/error.h"
#include "text/named_pre_tokenizers.h"
#include "text/tokenizer_parts.h"

namespace quire {
namespace {

const json::object& as_object(const json::value& value, std::string_view what) {
  if (!value.is_object()) fail(ErrorCode::kCorrupt, "{} should hold an object", what);
  return value.get_object();
}

// {"piece": id, ...}
void read_vocabulary(const json::object& vocab, Vocabulary& vocabulary) {
  for (const auto& [piece, id] : vocab) {
    const auto* number = id.if_int64();
    if (number == nullptr || *number < 0 || *number >= kMaxVocabularySize) {
      fail(ErrorCode::kCorrupt, "token \"{}\" has id {}", printable(piece), printable(json::serialize(id), 40));
    }
    vocabulary.add(piece, static_cast<int32_t>(*number));
  }
}

const json::object& get_vocabulary(const json::object& model) {
  const json::object* vocab = find_object(model, "vocab");
  if (vocab == nullptr) fail(ErrorCode::kCorrupt, "the model has no \"vocab\"");
  return *vocab;
}

BpeOptions::Merge split_merge(std::string_view line) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
    fail(ErrorCode::kCorrupt, "merge \"{}\" should be two tokens with a space between", printable(line));
  }
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

// "left right" or ["left", "right"]
std::vector<BpeOptions::Merge> read_merges(const json::object& model) {
  std::vector<BpeOptions::Merge> merges;
  const json::array* list = find_array(model, "merges");
  if (list == nullptr) fail(ErrorCode::kCorrupt, "the BPE model has no \"merges\"");
  merges.reserve(list->size());
  for (const json::value& merge : *list) {
    if (const auto* line = merge.if_string()) {
      merges.push_back(split_merge(*line));
      continue;
    }
    const json::array* pair = merge.if_array();
    if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_string()) {
      fail(ErrorCode::kCorrupt, "a merge should be two tokens, found {}", printable(json::serialize(merge), 60));
    }
    merges.push_back({std::string((*pair)[0].get_string()), std::string((*pair)[1].get_string())});
  }
  return merges;
}

// The id of the member that names the unknown token; none when it is absent, null or not in the vocabulary.
int32_t find_unknown(const json::object& model, const Vocabulary& vocabulary, std::string_view fallback = {}) {
  const std::string name = find_string(model, "unk_token", fallback);
  return name.empty() ? kNoToken : vocabulary.find(name);
}

std::unique_ptr<TokenModel> load_bpe(const json::object& model, Vocabulary& vocabulary) {
  read_vocabulary(get_vocabulary(model), vocabulary);
  BpeOptions options;
  options.merges = read_merges(model);
  options.unknown_id = find_unknown(model, vocabulary);
  options.continuing_prefix = find_string(model, "continuing_subword_prefix", "");
  options.end_of_word = find_string(model, "end_of_word_suffix", "");
  options.fuse_unknown = find_bool(model, "fuse_unk", false);
  options.byte_fallback = find_bool(model, "byte_fallback", false);
  options.ignore_merges = find_bool(model, "ignore_merges", false);
  return make_bpe(vocabulary, std::move(options));
}

std::unique_ptr<TokenModel> load_unigram(const json::object& model, Vocabulary& vocabulary) {
  const json::array* vocab = find_array(model, "vocab");
  if (vocab == nullptr) fail(ErrorCode::kCorrupt, "the Unigram model has no \"vocab\"");
  UnigramOptions options;
  for (const json::value& entry : *vocab) {
    const json::array* pair = entry.if_array();
    if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_number()) {
      fail(ErrorCode::kCorrupt, "a Unigram entry should be [piece, score], found {}",
           printable(json::serialize(entry), 60));
    }
    vocabulary.add((*pair)[0].get_string(), static_cast<int32_t>(options.scores.size()));
    options.scores.push_back((*pair)[1].to_number<double>());
  }
  options.types.assign(options.scores.size(), PieceType::kNormal);
  const int64_t unknown = find_int(model, "unk_id", kNoToken);
  if (unknown < kNoToken || unknown >= vocabulary.size())
    fail(ErrorCode::kCorrupt, "unk_id {} is not a token", unknown);
  options.unknown_id = static_cast<int32_t>(unknown);
  options.byte_fallback = find_bool(model, "byte_fallback", false);
  return make_unigram(vocabulary, std::move(options));
}

std::unique_ptr<TokenModel> load_wordpiece(const json::object& model, Vocabulary& vocabulary) {
  read_vocabulary(get_vocabulary(model), vocabulary);
  WordPieceOptions options;
  options.unknown_id = find_unknown(model, vocabulary, "[UNK]");
  options.continuing_prefix = find_string(model, "continuing_subword_prefix", "##");
  const int64_t most = find_int(model, "max_input_chars_per_word", 100);
  if (most < 0) fail(ErrorCode::kCorrupt, "max_input_chars_per_word is {}", most);
  options.max_characters_per_word = static_cast<size_t>(most);
  return make_wordpiece(vocabulary, std::move(options));
}

// Early files have no type of model.
std::string type_of(const json::object& model) {
  const std::string type = find_string(model, "type", "");
  if (!type.empty()) return type;
  if (model.contains("merges")) return "BPE";
  if (model.contains("unk_id")) return "Unigram";
  return model.contains("continuing_subword_prefix") ? "WordPiece" : "WordLevel";
}

std::unique_ptr<TokenModel> load_model(const json::object& model, TokenizerParts& parts) {
  const std::string type = type_of(model);
  if (type == "BPE") return load_bpe(model, parts.vocabulary);
  if (type == "Unigram") return load_unigram(model, parts.vocabulary);
  if (type == "WordPiece") return load_wordpiece(model, parts.vocabulary);
  if (type == "WordLevel") {
    read_vocabulary(get_vocabulary(model), parts.vocabulary);
    return make_word_level(parts.vocabulary, find_unknown(model, parts.vocabulary, "<unk>"));
  }
  fail(ErrorCode::kUnsupported, "token model \"{}\" is unknown; known are BPE, Unigram, WordPiece, WordLevel",
       printable(type));
}

std::vector<AddedToken> read_added_tokens(const json::object& tokenizer) {
  std::vector<AddedToken> tokens;
  const json::array* list = find_array(tokenizer, "added_tokens");
  if (list == nullptr) return tokens;
  for (const json::value& value : *list) {
    const json::object& description = as_object(value, "an entry of \"added_tokens\"");
    const int64_t id = get_int(description, "id");
    if (id < 0 || id >= kMaxVocabularySize) fail(ErrorCode::kCorrupt, "an added token has id {}", id);
    tokens.push_back(parse_added_token(description, static_cast<int32_t>(id)));
  }
  return tokens;
}

// Tokens that only the configuration has: added_tokens_decoder and the named special tokens.
void add_config_tokens(const TokenizerConfig& config, const Vocabulary& vocabulary, std::vector<AddedToken>& tokens) {
  std::unordered_set<int32_t> ids;
  std::unordered_set<std::string> contents;
  const auto note = [&](const AddedToken& token) {
    ids.insert(token.id);
    contents.insert(token.content);
  };
  for (const AddedToken& token : tokens) note(token);
  for (const AddedToken& token : config.added_tokens) {
    if (ids.contains(token.id) || contents.contains(token.content)) continue;
    tokens.push_back(token);
    note(token);
  }
  for (const auto* name : {&config.bos, &config.eos, &config.unk, &config.pad}) {
    if (!*name || contents.contains(**name)) continue;
    const int32_t id = vocabulary.find(**name);
    if (id == kNoToken || ids.contains(id)) continue;
    tokens.push_back({.id = id, .content = **name, .special = true});
    note(tokens.back());
  }
}

// The file's post-processor counts, whatever the configuration's flags say. Only these classes of Transformers make
// their own of add_bos_token and add_eos_token instead, and add a begin where nothing is said.
void apply_bos_and_eos(const TokenizerConfig& config, TokenizerParts& parts) {
  constexpr std::string_view kClasses[] = {"LlamaTokenizer", "GemmaTokenizer", "CodeLlamaTokenizer", "CohereTokenizer"};
  std::string_view name = config.tokenizer_class;
  if (name.ends_with("Fast")) name.remove_suffix(4);
  if (std::ranges::find(kClasses, name) == std::end(kClasses)) return;
  const bool add_bos = config.add_bos.value_or(true);
  if (add_bos && !parts.bos_id) return;
  parts.post_processor = {};
  if (add_bos) parts.post_processor.before = {*parts.bos_id};
  if (config.add_eos.value_or(false) && parts.eos_id) parts.post_processor.after = {*parts.eos_id};
}

void check_post_processor(const TokenizerParts& parts) {
  for (const auto* ids : {&parts.post_processor.before, &parts.post_processor.after}) {
    for (const int32_t id : *ids) {
      if (!parts.all_tokens.contains(id))
        fail(ErrorCode::kCorrupt, "the post-processor adds id {}, which is not a token", id);
    }
  }
}

// A byte-level BPE, before which nothing but Unicode's form C shortens text.
bool is_plain_byte_level(const json::object& tokenizer, const json::object& model) {
  const json::object* const pre_tokenizer = find_object(tokenizer, "pre_tokenizer");
  const json::object* const normalizer = find_object(tokenizer, "normalizer");
  const bool is_other_form = normalizer != nullptr && find_string(*normalizer, "type", "") != "NFC";
  if (pre_tokenizer == nullptr || is_other_form || find_string(model, "type", "") != "BPE" ||
      !find_string(model, "continuing_subword_prefix", "").empty() ||
      !find_string(model, "end_of_word_suffix", "").empty()) {
    return false;
  }
  const auto type_of = [](const json::value& step) { return find_string(step.as_object(), "type", ""); };
  if (type_of(*pre_tokenizer) == "ByteLevel") return true;
  const json::array* const steps = find_array(*pre_tokenizer, "pretokenizers");
  if (type_of(*pre_tokenizer) != "Sequence" || steps == nullptr || steps->empty()) return false;
  const auto is_split = [&](const json::value& step) {
    return type_of(step) == "Digits" ||
           (type_of(step) == "Split" && find_string(step.as_object(), "behavior", "") != "Removed");
  };
  return std::all_of(steps->begin(), steps->end() - 1, is_split) && type_of(steps->back()) == "ByteLevel";
}

}  // namespace

Tokenizer load_tokenizer_json(const json::value& tokenizer_json, const json::value* tokenizer_config) {
  const json::object& tokenizer = as_object(tokenizer_json, "tokenizer.json");
  const TokenizerConfig config(tokenizer_config);
  auto parts = std::make_unique<TokenizerParts>();
  const json::object* model = find_object(tokenizer, "model");
  if (model == nullptr) fail(ErrorCode::kCorrupt, "tokenizer.json has no \"model\"");
  parts->model = load_model(*model, *parts);
  if (const json::object* part = find_object(tokenizer, "normalizer")) parts->normalizer = parse_normalizer(*part);
  if (const json::object* part = find_object(tokenizer, "pre_tokenizer")) {
    parts->pre_tokenizer = parse_pre_tokenizer(*part);
  }
  if (is_plain_byte_level(tokenizer, *model)) parts->keep_bytes(parts->normalizer != nullptr);
  if (const json::object* part = find_object(tokenizer, "post_processor")) {
    parts->post_processor = parse_post_processor(*part);
  }
  parts->decoder = parse_decoder(find_object(tokenizer, "decoder"));

  std::vector<AddedToken> added = read_added_tokens(tokenizer);
  add_config_tokens(config, parts->vocabulary, added);
  parts->set_added_tokens(std::move(added));
  config.apply(*parts);
  apply_bos_and_eos(config, *parts);
  check_post_processor(*parts);
  parts->find_eog_ids();
  return Tokenizer(std::move(parts));
}

Tokenizer load_vocab_merges(const json::value& vocab_json, std::string_view merges_txt,
                            const json::value* tokenizer_config) {
  const TokenizerConfig config(tokenizer_config);
  auto parts = std::make_unique<TokenizerParts>();
  read_vocabulary(as_object(vocab_json, "vocab.json"), parts->vocabulary);
  BpeOptions options;
  while (!merges_txt.empty()) {
    const size_t end = std::min(merges_txt.find('\n'), merges_txt.size());
    std::string_view line = merges_txt.substr(0, end);
    merges_txt.remove_prefix(std::min(end + 1, merges_txt.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    options.merges.push_back(split_merge(line));
  }
  parts->model = make_bpe(parts->vocabulary, std::move(options));
  if (config.tokenizer_class.starts_with("Qwen2Tokenizer")) {
    const std::string_view expression = find_named_pre_tokenizer("qwen2").expressions.front();
    parts->normalizer = make_unicode_normalizer(UnicodeForm::kNfc);
    parts->pre_tokenizer = make_sequence_pre_tokenizer(
        {make_split_pre_tokenizer(expression, SplitBehavior::kIsolated), make_byte_level_pre_tokenizer(false, false)});
  } else {
    parts->pre_tokenizer = make_byte_level_pre_tokenizer(config.add_prefix_space.value_or(false), true);
  }
  parts->keep_bytes(parts->normalizer != nullptr);
  parts->decoder = make_byte_level_decoder();

  std::vector<AddedToken> added;
  add_config_tokens(config, parts->vocabulary, added);
  parts->set_added_tokens(std::move(added));
  config.apply(*parts);
  apply_bos_and_eos(config, *parts);
  parts->find_eog_ids();
  return Tokenizer(std::move(parts));
}

}  // namespace quire
