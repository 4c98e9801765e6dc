#include <cmath>

#include "base/error.h"
#include "text/named_pre_tokenizers.h"
#include "text/tokenizer_parts.h"

namespace quire {
namespace {

void check_vocabulary(const GgufVocabulary& gguf) {
  const size_t size = gguf.tokens.size();
  if (size == 0 || size > static_cast<size_t>(kMaxVocabularySize)) {
    fail(ErrorCode::kCorrupt, "tokenizer.ggml.tokens has {} entries; 1 to {} are possible", size, kMaxVocabularySize);
  }
  if (!gguf.scores.empty() && gguf.scores.size() != size) {
    fail(ErrorCode::kCorrupt, "tokenizer.ggml.scores has {} entries for {} tokens", gguf.scores.size(), size);
  }
  if (!gguf.types.empty() && gguf.types.size() != size) {
    fail(ErrorCode::kCorrupt, "tokenizer.ggml.token_type has {} entries for {} tokens", gguf.types.size(), size);
  }
  for (const float score : gguf.scores) {
    if (!std::isfinite(score)) fail(ErrorCode::kCorrupt, "tokenizer.ggml.scores has the score {}", score);
  }
}

PieceType type_of(const GgufVocabulary& gguf, size_t index) {
  const int32_t type = gguf.types.empty() ? 1 : gguf.types[index];
  return type >= 1 && type <= 6 ? static_cast<PieceType>(type) : PieceType::kNormal;
}

// Ids that no token has count as absent.
std::optional<int32_t> checked_id(const GgufVocabulary& gguf, std::optional<int32_t> id) {
  return id && *id >= 0 && static_cast<size_t>(*id) < gguf.tokens.size() ? id : std::nullopt;
}

std::vector<PieceType> all_types(const GgufVocabulary& gguf) {
  std::vector<PieceType> types(gguf.tokens.size());
  for (size_t i = 0; i < types.size(); ++i) types[i] = type_of(gguf, i);
  return types;
}

std::vector<float> all_scores(const GgufVocabulary& gguf) {
  return gguf.scores.empty() ? std::vector<float>(gguf.tokens.size()) : gguf.scores;
}

// True when the vocabulary can write any byte.
bool has_byte_pieces(const Vocabulary& vocabulary) {
  for (int byte = 0; byte < 256; ++byte) {
    if (vocabulary.find(byte_piece(static_cast<uint8_t>(byte))) == kNoToken) return false;
  }
  return true;
}

// Sentencepiece BPE without sentencepiece's own clean-up of the text: as Llama's vocabulary is used.
void fill_llama(const GgufVocabulary& gguf, TokenizerParts& parts) {
  const bool prefix = gguf.add_space_prefix.value_or(true);
  std::vector<Normalizer> steps;
  if (prefix) steps.push_back(make_prepend_normalizer(std::string(kMetaspace)));
  steps.push_back(make_replace_normalizer(" ", std::string(kMetaspace)));
  parts.normalizer = make_sequence_normalizer(std::move(steps));
  parts.model = make_scored_bpe(parts.vocabulary, {.scores = all_scores(gguf),
                                                   .types = all_types(gguf),
                                                   .unknown_id = parts.unk_id.value_or(kNoToken),
                                                   .byte_fallback = has_byte_pieces(parts.vocabulary)});
  if (has_byte_pieces(parts.vocabulary)) parts.kept_bytes.set();
  parts.decoder = make_sentencepiece_decoder(prefix ? StripFirst::kOne : StripFirst::kNo);
}

void fill_t5(const GgufVocabulary& gguf, TokenizerParts& parts) {
  SentencePieceNormalization normalization;
  normalization.charsmap = gguf.precompiled_charsmap;
  normalization.add_dummy_prefix = gguf.add_space_prefix.value_or(true);
  normalization.remove_extra_whitespaces = gguf.remove_extra_whitespaces.value_or(false);
  for (size_t i = 0; i < gguf.tokens.size(); ++i) {
    if (type_of(gguf, i) == PieceType::kUserDefined) normalization.user_defined.push_back(gguf.tokens[i]);
  }
  const StripFirst strip_first = normalization.remove_extra_whitespaces ? StripFirst::kEachUntilText
                                 : normalization.add_dummy_prefix       ? StripFirst::kOne
                                                                        : StripFirst::kNo;
  parts.normalizer = make_sentencepiece_normalizer(std::move(normalization));
  const std::vector<float> scores = all_scores(gguf);
  parts.model = make_unigram(parts.vocabulary, {.scores = {scores.begin(), scores.end()},
                                                .types = all_types(gguf),
                                                .unknown_id = parts.unk_id.value_or(kNoToken),
                                                .byte_fallback = has_byte_pieces(parts.vocabulary),
                                                .single_precision = true});
  parts.decoder = make_sentencepiece_decoder(strip_first);
}

void fill_gpt2(const GgufVocabulary& gguf, const NamedPreTokenizer& pre, TokenizerParts& parts) {
  BpeOptions options;
  options.merges.reserve(gguf.merges.size());
  for (const std::string& merge : gguf.merges) {
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos) {
      fail(ErrorCode::kCorrupt, "merge \"{}\" should be two tokens with a space between", printable(merge));
    }
    options.merges.push_back({merge.substr(0, space), merge.substr(space + 1)});
  }
  // No unknown token: a byte that the vocabulary lacks is left out. The file's unknown id is often a control token.
  options.ignore_merges = pre.has(NamedPreTokenizer::kIgnoreMerges);
  options.skip_bad_merges = true;
  parts.model = make_bpe(parts.vocabulary, std::move(options));

  if (pre.has(NamedPreTokenizer::kNfc)) parts.normalizer = make_unicode_normalizer(UnicodeForm::kNfc);
  parts.keep_bytes(pre.has(NamedPreTokenizer::kNfc));
  std::vector<PreTokenizer> steps;
  for (const std::string_view expression : pre.expressions) {
    steps.push_back(make_split_pre_tokenizer(expression, SplitBehavior::kIsolated));
  }
  steps.push_back(make_byte_level_pre_tokenizer(false, false));
  parts.pre_tokenizer = make_sequence_pre_tokenizer(std::move(steps));
  parts.decoder = make_byte_level_decoder();
}

// GGUF files mark WordPiece vocabularies the other way round: U+2581 starts a word, and continuations have no mark.
void fill_bert(TokenizerParts& parts) {
  parts.normalizer = make_bert_normalizer({});
  parts.pre_tokenizer = make_bert_pre_tokenizer();
  parts.model = make_wordpiece(parts.vocabulary, {.unknown_id = parts.unk_id.value_or(kNoToken),
                                                  .first_prefix = std::string(kMetaspace),
                                                  .continuing_prefix = ""});
  parts.decoder = make_sentencepiece_decoder(StripFirst::kOne);
}

struct Defaults {
  bool add_bos = false, add_eos = false, add_sep = false;
};

Defaults fill_model(const GgufVocabulary& gguf, TokenizerParts& parts) {
  if (gguf.model == "llama") return fill_llama(gguf, parts), Defaults{.add_bos = true};
  if (gguf.model == "t5") return fill_t5(gguf, parts), Defaults{.add_eos = true};
  if (gguf.model == "bert") return fill_bert(parts), Defaults{.add_bos = true, .add_sep = true};
  if (gguf.model == "gpt2") {
    const NamedPreTokenizer& pre = find_named_pre_tokenizer(gguf.pre.empty() ? "default" : gguf.pre);
    return fill_gpt2(gguf, pre, parts), Defaults{.add_bos = pre.has(NamedPreTokenizer::kAddBos)};
  }
  fail(ErrorCode::kUnsupported, "tokenizer.ggml.model \"{}\" is unknown; known are llama, gpt2, bert, t5",
       printable(gguf.model));
}

// Many files have no key for the unknown token, but all give it its type.
std::optional<int32_t> find_unknown(const GgufVocabulary& gguf) {
  if (gguf.unk_id) return checked_id(gguf, gguf.unk_id);
  for (size_t i = 0; i < gguf.tokens.size(); ++i) {
    if (type_of(gguf, i) == PieceType::kUnknown) return static_cast<int32_t>(i);
  }
  return std::nullopt;
}

std::vector<AddedToken> find_added_tokens(const GgufVocabulary& gguf) {
  std::vector<AddedToken> added;
  for (size_t i = 0; i < gguf.tokens.size(); ++i) {
    const PieceType type = type_of(gguf, i);
    // Converters give ends of turns any type.
    const bool special = type == PieceType::kControl || type == PieceType::kUnknown || ends_a_turn(gguf.tokens[i]);
    if (!special && type != PieceType::kUserDefined) continue;
    added.push_back({.id = static_cast<int32_t>(i), .content = gguf.tokens[i], .special = special});
  }
  set_family_attributes(gguf, added);
  return added;
}

}  // namespace

Tokenizer load_gguf_vocabulary(const GgufVocabulary& gguf) {
  check_vocabulary(gguf);
  auto parts = std::make_unique<TokenizerParts>();
  for (size_t i = 0; i < gguf.tokens.size(); ++i) parts->vocabulary.add(gguf.tokens[i], static_cast<int32_t>(i));
  parts->bos_id = checked_id(gguf, gguf.bos_id ? gguf.bos_id : gguf.cls_id);
  parts->eos_id = checked_id(gguf, gguf.eos_id);
  parts->unk_id = find_unknown(gguf);
  parts->pad_id = checked_id(gguf, gguf.pad_id);
  const Defaults defaults = fill_model(gguf, *parts);

  auto& around = parts->post_processor;
  const auto sep_id = checked_id(gguf, gguf.sep_id);
  if (gguf.add_bos.value_or(defaults.add_bos) && parts->bos_id) around.before.push_back(*parts->bos_id);
  if (gguf.add_sep.value_or(defaults.add_sep) && sep_id) {
    around.after.push_back(*sep_id);
  } else if (gguf.add_eos.value_or(defaults.add_eos) && parts->eos_id) {
    around.after.push_back(*parts->eos_id);
  }

  parts->set_added_tokens(find_added_tokens(gguf));
  std::vector<int32_t> ends;
  for (const auto& end : {gguf.eot_id, gguf.eom_id}) {
    if (const auto id = checked_id(gguf, end)) ends.push_back(*id);
  }
  parts->find_eog_ids(ends);
  parts->chat_template = gguf.chat_template;
  return Tokenizer(std::move(parts));
}

}  // namespace quire
