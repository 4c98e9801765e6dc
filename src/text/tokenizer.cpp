#include "text/tokenizer.h"

#include <algorithm>

#include "base/check.h"
#include "base/error.h"
#include "text/byte_level.h"
#include "text/detokenizer.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace quire {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;

// Names of end-of-turn tokens in published models. A generation that runs past one continues with an invented user
// turn.
constexpr std::string_view kEndOfTurnNames[] = {"<|eot_id|>",
                                                "<|im_end|>",
                                                "<|end|>",
                                                "<end_of_turn>",
                                                "<|endoftext|>",
                                                "<|eom_id|>",
                                                "<EOT>",
                                                "_<EOT>",
                                                "[EOT]",
                                                "<|eot|>",
                                                "<|return|>",
                                                "<|call|>",
                                                "<|calls|>",
                                                "<|flush|>",
                                                "<|end_of_text|>",
                                                "<end_of_utterance>",
                                                "<|end_of_turn|>",
                                                "<|endofturn|>",
                                                "<turn|>",
                                                "<|tool_response>",
                                                "<|END_OF_TURN_TOKEN|>",
                                                "<｜end▁of▁sentence｜>"};
// Ends of a text elsewhere, and words of a vocabulary's HTML or its placeholders: they end a turn only if the file
// calls them special.
constexpr std::string_view kEndOfTextNames[] = {"</s>", "<eos>", "[EOS]"};

struct Repaired {
  std::string text;
  std::vector<TextSpan> data;
};

// Makes valid UTF-8 of a text and keeps its spans of data.
Repaired repair(std::string_view text, std::span<const TextSpan> data) {
  Repaired out;
  size_t at = 0;
  for (const TextSpan& span : data) {
    out.text += repair_utf8(text.substr(at, span.begin - at));
    const size_t begin = out.text.size();
    out.text += repair_utf8(text.substr(span.begin, span.end - span.begin));
    out.data.push_back({begin, out.text.size()});
    at = span.end;
  }
  out.text += repair_utf8(text.substr(at));
  return out;
}

// The ids of a piece in which names of special tokens are text. Some models have these names in their vocabulary like
// any other word ("</s>" in Unigram files), and a normaliser can make one of other characters: it is spelled then.
void encode_without_names(const TokenizerParts& parts, std::string_view piece, std::vector<int32_t>& ids) {
  std::vector<int32_t> found;
  parts.model->encode(piece, found);
  for (const int32_t id : found) {
    const std::string_view name = parts.is_special(id) ? parts.vocabulary.text(id) : std::string_view();
    const bool is_name = !name.empty() && utf8_size(name[0]) < name.size() && id != parts.model->unknown_id() &&
                         piece.find(name) != std::string_view::npos;
    if (!is_name) {
      ids.push_back(id);
      continue;
    }
    for (size_t at = 0; at < name.size(); at += utf8_size(name[at])) {
      parts.model->encode(name.substr(at, utf8_size(name[at])), ids);
    }
  }
}

void encode_plain(const TokenizerParts& parts, std::string_view text, bool at_start, bool spell_names,
                  std::vector<int32_t>& ids) {
  if (text.empty()) return;
  PreTokenizedText input{std::string(text), {{0, text.size(), at_start}}};
  if (parts.pre_tokenizer) parts.pre_tokenizer(input);
  for (const auto& place : input.pieces) {
    const std::string_view piece = std::string_view(input.text).substr(place.begin, place.end - place.begin);
    spell_names ? encode_without_names(parts, piece, ids) : parts.model->encode(piece, ids);
  }
}

std::vector<TextSpan> clip(std::span<const TextSpan> spans, size_t begin, size_t end) {
  std::vector<TextSpan> clipped;
  auto span = std::ranges::upper_bound(spans, begin, {}, &TextSpan::end);
  for (; span != spans.end() && span->begin < end; ++span) {
    clipped.push_back({std::max(span->begin, begin) - begin, std::min(span->end, end) - begin});
  }
  return clipped;
}

// Where the spans of `text` lie in its normalised form, of this size. Each part between their bounds is normalised by
// itself, inside of a text; what the whole has more than the parts stands in front. A normaliser that changes
// characters across a bound can make the sizes disagree: then all counts as data.
std::vector<TextSpan> normalized_spans(const Normalizer& normalizer, std::string_view text,
                                       std::span<const TextSpan> spans, size_t normalized_size) {
  const auto size_of = [&](std::string_view part) {
    NormalizedText inside{"0" + std::string(part) + "0", false};
    normalizer(inside);
    return inside.text.size();
  };
  const size_t around = size_of("");
  std::vector<TextSpan> moved;
  size_t at = 0;
  size_t size = 0;
  for (const TextSpan& span : spans) {
    size += size_of(text.substr(at, span.begin - at)) - around;
    const size_t begin = size;
    size += size_of(text.substr(span.begin, span.end - span.begin)) - around;
    moved.push_back({begin, size});
    at = span.end;
  }
  size += size_of(text.substr(at)) - around;
  NormalizedText nothing{"0", true};
  normalizer(nothing);
  const size_t in_front = nothing.text.size() - 1;
  if (size + in_front != normalized_size) return {{0, normalized_size}};
  for (TextSpan& span : moved) span = {span.begin + in_front, span.end + in_front};
  return moved;
}

void encode_between(const TokenizerParts& parts, std::string_view text, bool at_start,
                    const Tokenizer::EncodeOptions& options, std::vector<int32_t>& ids) {
  NormalizedText normalized{std::string(text), at_start};
  if (parts.normalizer) parts.normalizer(normalized);
  constexpr auto kKind = AddedTokens::Kind::kNormalized;
  std::vector<TextSpan> moved;
  std::span<const TextSpan> data = options.data;
  if (!data.empty() && normalized.text != text && parts.added.has_special(kKind)) {
    data = moved = normalized_spans(parts.normalizer, text, data, normalized.text.size());
  }
  for (const auto& segment : parts.added.split(normalized.text, kKind, options.parse_special, data)) {
    if (segment.id != kNoToken) {
      ids.push_back(segment.id);
      continue;
    }
    const std::string_view part = std::string_view(normalized.text).substr(segment.begin, segment.end - segment.begin);
    const bool spell_names = !options.parse_special || !options.data.empty();
    encode_plain(parts, part, normalized.at_start && segment.begin == 0, spell_names, ids);
  }
}

bool is_one_of(std::span<const std::string_view> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

}  // namespace

bool ends_a_turn(std::string_view name) { return is_one_of(kEndOfTurnNames, name); }

Tokenizer::Tokenizer(std::unique_ptr<const TokenizerParts> parts) : parts_(std::move(parts)) {
  CHECK(parts_ != nullptr && parts_->model != nullptr);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (text.size() > kMaxTextBytes) {
    fail(ErrorCode::kLimit, "a text of {} bytes; the most that is encoded at once is {}", text.size(), kMaxTextBytes);
  }
  if (!is_valid_utf8(text)) {
    const Repaired repaired = repair(text, options.data);
    options.data = repaired.data;
    return encode(repaired.text, options);
  }
  std::vector<int32_t> ids;
  if (options.add_special_tokens) ids = parts_->post_processor.before;
  constexpr auto kKind = AddedTokens::Kind::kRaw;
  for (const auto& segment : parts_->added.split(text, kKind, options.parse_special, options.data)) {
    if (segment.id != kNoToken) {
      ids.push_back(segment.id);
      continue;
    }
    const std::vector<TextSpan> data = clip(options.data, segment.begin, segment.end);
    encode_between(*parts_, text.substr(segment.begin, segment.end - segment.begin), segment.begin == 0,
                   {.parse_special = options.parse_special, .data = data}, ids);
  }
  if (options.add_special_tokens) {
    ids.insert(ids.end(), parts_->post_processor.after.begin(), parts_->post_processor.after.end());
  }
  return ids;
}

int64_t Tokenizer::min_tokens(std::string_view text) const {
  const std::vector<AddedToken>& added = parts_->added.tokens();
  const bool has_greedy_token =
      std::any_of(added.begin(), added.end(), [](const AddedToken& token) { return token.lstrip || token.rstrip; });
  if (parts_->kept_bytes.none() || has_greedy_token) return 0;
  const std::bitset<256>& kept = parts_->kept_bytes;
  const int64_t num_kept =
      std::count_if(text.begin(), text.end(), [&](char byte) { return kept[static_cast<uint8_t>(byte)]; });
  const auto most_bytes = static_cast<int64_t>(parts_->all_tokens.longest_piece()) * parts_->normalizer_shrinks;
  return (num_kept + most_bytes - 1) / most_bytes;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  Detokenizer detokenizer(*this, skip_special_tokens);
  std::string text;
  for (const int32_t id : ids) text += detokenizer.push(id);
  return text += detokenizer.finish();
}

std::string_view Tokenizer::token_text(int32_t id) const { return parts_->all_tokens.text(id); }

std::string Tokenizer::token_bytes(int32_t id) const {
  if (is_special(id)) return std::string(token_text(id));
  if (!parts_->all_tokens.contains(id)) return {};
  return parts_->decoder.piece_bytes(parts_->surface(id));
}

int32_t Tokenizer::vocab_size() const { return parts_->all_tokens.size(); }

std::optional<int32_t> Tokenizer::find_token(std::string_view piece) const {
  const int32_t id = parts_->all_tokens.find(piece);
  return id == kNoToken ? std::nullopt : std::optional(id);
}

bool Tokenizer::is_special(int32_t id) const { return parts_->is_special(id); }

std::optional<int32_t> Tokenizer::bos_id() const { return parts_->bos_id; }
std::optional<int32_t> Tokenizer::eos_id() const { return parts_->eos_id; }
std::optional<int32_t> Tokenizer::unk_id() const { return parts_->unk_id; }
std::optional<int32_t> Tokenizer::pad_id() const { return parts_->pad_id; }
const std::vector<int32_t>& Tokenizer::eog_ids() const { return parts_->eog_ids; }
const std::optional<std::string>& Tokenizer::chat_template() const { return parts_->chat_template; }

bool Tokenizer::is_eog(int32_t id) const {
  return std::binary_search(parts_->eog_ids.begin(), parts_->eog_ids.end(), id);
}

void TokenizerParts::keep_bytes(bool is_normalized) {
  constexpr int kFormCShrinks = 4;  // at most from 7 bytes to 2: U+1FBE U+0308 U+0301 become U+0390
  kept_bytes = bytes_of(vocabulary);
  if (!is_normalized) return;
  normalizer_shrinks = kFormCShrinks;
  if (!kept_bytes.all()) kept_bytes.reset();  // it may write bytes that the vocabulary lacks
}

void TokenizerParts::set_added_tokens(std::vector<AddedToken> tokens) {
  added = AddedTokens(std::move(tokens), normalizer);
  int32_t size = vocabulary.size();
  for (const AddedToken& token : added.tokens()) {
    if (token.id < 0 || token.id >= kMaxVocabularySize) {
      fail(ErrorCode::kCorrupt, "added token \"{}\" has id {}", printable(token.content), token.id);
    }
    size = std::max(size, token.id + 1);
  }
  special.assign(static_cast<size_t>(size), false);
  for (const AddedToken& token : added.tokens()) {
    all_tokens.add(token.content, token.id);
    special[token.id] = token.special;
    if (!token.normalized || !normalizer) continue;
    // The decoder undoes the normaliser, so its input is the normalised content.
    NormalizedText content{token.content, true};
    normalizer(content);
    if (content.text != token.content) surfaces[token.id] = std::move(content.text);
  }
  // An added token's content takes precedence over the model's piece with the same id.
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    if (vocabulary.contains(id) && !all_tokens.contains(id)) all_tokens.add(vocabulary.text(id), id);
  }
}

void TokenizerParts::find_eog_ids(const std::vector<int32_t>& more) {
  eog_ids = more;
  if (eos_id) eog_ids.push_back(*eos_id);
  for (const AddedToken& token : added.tokens()) {
    if (ends_a_turn(token.content) || (token.special && is_one_of(kEndOfTextNames, token.content))) {
      eog_ids.push_back(token.id);
    }
  }
  // In the Harmony format, a message ends with one token and the turn with another.
  if (const int32_t end = all_tokens.find("<|end|>");
      all_tokens.find("<|return|>") != kNoToken && all_tokens.find("<|call|>") != kNoToken && end != eos_id) {
    std::erase(eog_ids, end);
  }
  std::sort(eog_ids.begin(), eog_ids.end());
  eog_ids.erase(std::unique(eog_ids.begin(), eog_ids.end()), eog_ids.end());
}

std::string_view TokenizerParts::surface(int32_t id) const {
  const auto found = surfaces.find(id);
  return found != surfaces.end() ? std::string_view(found->second) : all_tokens.text(id);
}

}  // namespace quire
