#include "text/decoder.h"

#include "base/error.h"
#include "text/byte_level.h"
#include "text/decoder_stages.h"
#include "text/normalizer.h"
#include "text/vocabulary.h"

namespace quire {
namespace {

constexpr int kMaxDepth = 16;
constexpr size_t kMaxStages = 64;

using PieceMap = std::function<std::string(std::string)>;

// The result of parsing a description: the stages, and stateless stages for single pieces.
struct Builder {
  std::vector<MakeStage> stages;
  std::vector<PieceMap> piece_maps;
  bool fused = false;

  void add(MakeStage stage, PieceMap piece_map = nullptr) {
    if (stages.size() == kMaxStages) fail(ErrorCode::kLimit, "more than {} decoders", kMaxStages);
    stages.push_back(std::move(stage));
    if (piece_map) piece_maps.push_back(std::move(piece_map));
  }
  void require_tokens(std::string_view type) const {
    if (fused) fail(ErrorCode::kUnsupported, "decoder \"{}\" after one that joins the tokens", type);
  }
};

std::string piece_to_byte(std::string piece) {
  const auto byte = parse_byte_piece(piece);
  return byte ? std::string(1, static_cast<char>(*byte)) : piece;
}

void add_byte_level(Builder& builder) {
  builder.add(byte_level_stage(), [](std::string piece) { return byte_level_decode(piece); });
  builder.add(utf8_stage());
  builder.fused = true;
}

void add_replace(const json::object& description, Builder& builder) {
  const json::object* pattern = find_object(description, "pattern");
  if (pattern == nullptr) fail(ErrorCode::kCorrupt, "a Replace decoder without \"pattern\"");
  const std::string content = get_string(description, "content");
  if (!pattern->contains("String")) {
    builder.add(replace_matches_stage(get_string(*pattern, "Regex"), content, builder.fused));
    return;
  }
  const std::string from = get_string(*pattern, "String");
  builder.add(replace_stage(from, content, builder.fused),
              [=](std::string piece) { return replace_all(piece, from, content); });
}

void add_strip(const json::object& description, Builder& builder) {
  const int64_t start = find_int(description, "start", 0);
  const int64_t stop = find_int(description, "stop", 0);
  const std::string character = get_string(description, "content");
  if (start < 0 || stop < 0 || character.empty()) fail(ErrorCode::kCorrupt, "a Strip decoder with negative counts");
  builder.add(strip_stage(character, static_cast<size_t>(start), static_cast<size_t>(stop), builder.fused));
}

void add_wordpiece(const json::object& description, Builder& builder) {
  builder.require_tokens("WordPiece");
  const std::string prefix = find_string(description, "prefix", "##");
  builder.add(wordpiece_stage(prefix, find_bool(description, "cleanup", true)), [prefix](std::string piece) {
    return piece.starts_with(prefix) ? piece.substr(prefix.size()) : " " + piece;
  });
}

void add_metaspace(const json::object& description, Builder& builder) {
  builder.require_tokens("Metaspace");
  const std::string replacement = find_string(description, "replacement", kMetaspace);
  const bool strip_first = find_string(description, "prepend_scheme", "always") != "never" &&
                           find_bool(description, "add_prefix_space", true);
  builder.add(metaspace_stage(replacement, strip_first),
              [replacement](std::string piece) { return replace_all(piece, replacement, " "); });
}

void add_component(const json::object& description, int depth, Builder& builder);

void add_sequence(const json::object& description, int depth, Builder& builder) {
  if (depth >= kMaxDepth) fail(ErrorCode::kCorrupt, "decoders nested more than {} deep", kMaxDepth);
  const json::array* list = find_array(description, "decoders");
  if (list == nullptr) return;
  for (const json::value& step : *list) {
    if (!step.is_object()) fail(ErrorCode::kCorrupt, "\"decoders\" should hold objects");
    add_component(step.get_object(), depth + 1, builder);
  }
}

void add_component(const json::object& description, int depth, Builder& builder) {
  const std::string type = get_string(description, "type");
  if (type == "Sequence") return add_sequence(description, depth, builder);
  if (type == "ByteLevel") return add_byte_level(builder);
  if (type == "Fuse") return void(builder.fused = true);
  if (type == "Replace") return add_replace(description, builder);
  if (type == "Strip") return add_strip(description, builder);
  if (type == "WordPiece") return add_wordpiece(description, builder);
  if (type == "Metaspace") return add_metaspace(description, builder);
  builder.require_tokens(type);
  if (type == "ByteFallback") return builder.add(byte_fallback_stage(), piece_to_byte);
  if (type == "BPEDecoder") {
    const std::string suffix = find_string(description, "suffix", "</w>");
    return builder.add(bpe_suffix_stage(suffix),
                       [suffix](std::string piece) { return replace_all(piece, suffix, " "); });
  }
  if (type == "CTC") {
    return builder.add(ctc_stage(find_string(description, "pad_token", "<pad>"),
                                 find_string(description, "word_delimiter_token", "|"),
                                 find_bool(description, "cleanup", true)));
  }
  fail(ErrorCode::kUnsupported,
       "decoder \"{}\" is unknown; known are Sequence, ByteLevel, Fuse, Replace, Strip, WordPiece, Metaspace, "
       "ByteFallback, BPEDecoder, CTC",
       printable(type));
}

TextDecoder finish(Builder builder) {
  return {std::move(builder.stages), [maps = std::move(builder.piece_maps)](std::string_view piece) {
            std::string bytes(piece);
            for (const PieceMap& map : maps) bytes = map(std::move(bytes));
            return bytes;
          }};
}

}  // namespace

TextDecoder parse_decoder(const json::object* description) {
  Builder builder;
  if (description == nullptr) {
    builder.add(join_stage(" "), [](std::string piece) { return " " + piece; });
  } else {
    add_component(*description, 0, builder);
  }
  return finish(std::move(builder));
}

TextDecoder make_byte_level_decoder() {
  Builder builder;
  add_byte_level(builder);
  return finish(std::move(builder));
}

TextDecoder make_sentencepiece_decoder(StripFirst strip_first) {
  Builder builder;
  builder.add(sentencepiece_space_stage(strip_first),
              [](std::string piece) { return replace_all(piece, kMetaspace, " "); });
  builder.add(byte_fallback_stage(), piece_to_byte);
  return finish(std::move(builder));
}

DecoderChain::DecoderChain(const TextDecoder& decoder) : out_(std::make_unique<std::string>()) {
  for (const MakeStage& make : decoder.stages) stages_.push_back(make());
  stages_.push_back(utf8_stage()());
  sinks_.resize(stages_.size() + 1);
  sinks_.back() = [out = out_.get()](std::string text) { *out += text; };
  for (size_t i = stages_.size(); i-- > 0;) {
    sinks_[i] = [stage = stages_[i].get(), next = &sinks_[i + 1]](std::string text) {
      stage->push(std::move(text), *next);
    };
  }
}

std::string DecoderChain::push(std::string_view piece) {
  sinks_.front()(std::string(piece));
  return std::exchange(*out_, {});
}

std::string DecoderChain::finish() {
  for (size_t i = 0; i < stages_.size(); ++i) stages_[i]->finish(sinks_[i + 1]);
  return std::exchange(*out_, {});
}

}  // namespace quire
