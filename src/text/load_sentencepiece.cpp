#include <cmath>

#include "base/error.h"
#include "text/protobuf.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace quire {
namespace {

// The fields of sentencepiece_model.proto that encoding and decoding depend on.
enum ModelType : int64_t { kUnigramModel = 1, kBpeModel = 2, kWordModel = 3, kCharModel = 4 };

struct TrainerSpec {
  int64_t model_type = kUnigramModel;
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  std::string unk_surface = " \xE2\x81\x87 ";
  std::string bos = "<s>", eos = "</s>", pad = "<pad>";
};

struct Model {
  std::vector<std::string_view> pieces;
  std::vector<float> scores;
  std::vector<PieceType> types;
  TrainerSpec trainer;
  SentencePieceNormalization normalization;
};

void read_piece(std::string_view bytes, Model& model) {
  std::string_view text;
  float score = 0;
  int64_t type = static_cast<int64_t>(PieceType::kNormal);
  for (ProtobufReader reader(bytes); reader.next();) {
    if (reader.field() == 1) text = reader.data();
    if (reader.field() == 2) score = reader.number();
    if (reader.field() == 3) type = reader.integer();
  }
  const size_t index = model.pieces.size();
  if (text.empty() || !is_valid_utf8(text)) fail(ErrorCode::kCorrupt, "piece {} is empty or not UTF-8", index);
  if (!std::isfinite(score)) fail(ErrorCode::kCorrupt, "piece {} has score {}", index, score);
  if (type < 1 || type > 6) fail(ErrorCode::kCorrupt, "piece {} has type {}; types are 1 to 6", index, type);
  model.pieces.push_back(text);
  model.scores.push_back(score);
  model.types.push_back(static_cast<PieceType>(type));
}

void read_trainer(std::string_view bytes, TrainerSpec& trainer) {
  for (ProtobufReader reader(bytes); reader.next();) {
    switch (reader.field()) {
      case 3: trainer.model_type = reader.integer(); break;
      case 24: trainer.whitespace_as_suffix = reader.boolean(); break;
      case 35: trainer.byte_fallback = reader.boolean(); break;
      case 44: trainer.unk_surface = reader.data(); break;
      case 46: trainer.bos = reader.data(); break;
      case 47: trainer.eos = reader.data(); break;
      case 48: trainer.pad = reader.data(); break;
      default: break;
    }
  }
}

void read_normalizer(std::string_view bytes, SentencePieceNormalization& normalization) {
  for (ProtobufReader reader(bytes); reader.next();) {
    switch (reader.field()) {
      case 2: normalization.charsmap = reader.data(); break;
      case 3: normalization.add_dummy_prefix = reader.boolean(); break;
      case 4: normalization.remove_extra_whitespaces = reader.boolean(); break;
      case 5: normalization.escape_whitespaces = reader.boolean(); break;
      default: break;
    }
  }
}

void refuse_denormalizer(std::string_view bytes) {
  for (ProtobufReader reader(bytes); reader.next();) {
    if (reader.field() == 2 && !reader.data().empty()) {
      fail(ErrorCode::kUnsupported, "a sentencepiece model with a denormaliser");
    }
  }
}

Model read_model(std::string_view bytes) {
  Model model;
  for (ProtobufReader reader(bytes); reader.next();) {
    switch (reader.field()) {
      case 1: read_piece(reader.data(), model); break;
      case 2: read_trainer(reader.data(), model.trainer); break;
      case 3: read_normalizer(reader.data(), model.normalization); break;
      case 5: refuse_denormalizer(reader.data()); break;
      default: break;
    }
  }
  if (model.pieces.empty()) fail(ErrorCode::kCorrupt, "a sentencepiece model without pieces");
  model.normalization.whitespace_as_suffix = model.trainer.whitespace_as_suffix;
  return model;
}

std::unique_ptr<TokenModel> make_model(const Model& model, const TokenizerParts& parts) {
  const int32_t unknown = parts.unk_id.value_or(kNoToken);
  if (model.trainer.model_type == kUnigramModel) {
    return make_unigram(parts.vocabulary, {.scores = {model.scores.begin(), model.scores.end()},
                                           .types = model.types,
                                           .unknown_id = unknown,
                                           .byte_fallback = model.trainer.byte_fallback,
                                           .single_precision = true});
  }
  // A character model is the pair encoding without any longer piece to merge to.
  if (model.trainer.model_type == kBpeModel || model.trainer.model_type == kCharModel) {
    return make_scored_bpe(parts.vocabulary, {.scores = model.scores,
                                              .types = model.types,
                                              .unknown_id = unknown,
                                              .byte_fallback = model.trainer.byte_fallback});
  }
  fail(ErrorCode::kUnsupported, "sentencepiece model type {}; known are 1 (unigram), 2 (BPE), 4 (characters)",
       model.trainer.model_type);
}

StripFirst strip_first(const SentencePieceNormalization& normalization) {
  if (normalization.remove_extra_whitespaces) return StripFirst::kEachUntilText;
  return normalization.add_dummy_prefix ? StripFirst::kOne : StripFirst::kNo;
}

// If the configuration says nothing: begin of sequence as for Llama, end of sequence for the T5 family.
void set_post_processor(const TokenizerConfig& config, TokenizerParts& parts) {
  const bool is_t5 = config.tokenizer_class.find("T5") != std::string::npos;
  if (config.add_bos.value_or(!is_t5) && parts.bos_id) parts.post_processor.before = {*parts.bos_id};
  if (config.add_eos.value_or(is_t5) && parts.eos_id) parts.post_processor.after = {*parts.eos_id};
}

}  // namespace

Tokenizer load_sentencepiece(std::span<const std::byte> bytes, const json::value* tokenizer_config) {
  const TokenizerConfig config(tokenizer_config);
  Model model = read_model({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  auto parts = std::make_unique<TokenizerParts>();
  std::vector<AddedToken> added;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const std::string piece(model.pieces[i]);
    if (parts->vocabulary.find(piece) != kNoToken) {
      fail(ErrorCode::kCorrupt, "piece {}, \"{}\", occurs twice", i, printable(piece));
    }
    parts->vocabulary.add(piece, id);
    if (model.types[i] == PieceType::kControl) added.push_back({.id = id, .content = piece, .special = true});
    if (model.types[i] == PieceType::kUserDefined) model.normalization.user_defined.push_back(piece);
    if (model.types[i] == PieceType::kUnknown) {
      parts->unk_id = id;
      parts->surfaces[id] = model.trainer.unk_surface;
    }
  }
  parts->model = make_model(model, *parts);
  parts->normalizer = make_sentencepiece_normalizer(model.normalization);
  parts->decoder = make_sentencepiece_decoder(strip_first(model.normalization));

  for (const AddedToken& token : config.added_tokens) {
    if (token.id != parts->unk_id) added.push_back(token);
  }
  parts->set_added_tokens(std::move(added));
  const auto control = [&](const std::string& name) -> std::optional<int32_t> {
    const int32_t id = parts->vocabulary.find(name);
    return id != kNoToken && model.types[id] == PieceType::kControl ? std::optional(id) : std::nullopt;
  };
  parts->bos_id = control(model.trainer.bos);
  parts->eos_id = control(model.trainer.eos);
  parts->pad_id = control(model.trainer.pad);
  config.apply(*parts);
  set_post_processor(config, *parts);
  parts->find_eog_ids();
  return Tokenizer(std::move(parts));
}

}  // namespace quire
