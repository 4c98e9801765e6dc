#include "dialogue/relevance.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace quire {
namespace {

constexpr std::string_view kUsualPrompt =
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    "provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n"
    "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n\n</think>\n\n";
constexpr std::string_view kUsualInstruction =
    "Given a web search query, retrieve relevant passages that answer the query";
constexpr std::string_view kDocument = "{document}";

int32_t token_of(const Tokenizer& tokenizer, std::string_view word) {
  const std::vector<int32_t> ids = tokenizer.encode(word, {.add_special_tokens = false, .parse_special = false});
  if (ids.size() == 1) return ids.front();
  fail(ErrorCode::kUnsupported,
       "the word \"{}\" is {} tokens of this model; judging documents needs \"yes\" and \"no\" to be one each; "
       "give --rerank-by cosine to compare embeddings",
       word, ids.size());
}

RelevanceFormat with_prompt(std::string prompt, const Tokenizer& tokenizer) {
  return {.prompt = std::move(prompt), .yes_id = token_of(tokenizer, "yes"), .no_id = token_of(tokenizer, "no")};
}

std::vector<float> row_of(const TensorView& matrix, int64_t row) {
  std::vector<float> values(static_cast<size_t>(matrix.cols()));
  weight_format(matrix.format).dequantize(matrix.row(row), values.data(), matrix.cols());
  return values;
}

// But for what their formats round.
bool are_alike(const std::vector<float>& a, const std::vector<float>& b) {
  double product = 0.0, of_a = 0.0, of_b = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    product += double{a[i]} * double{b[i]};
    of_a += double{a[i]} * double{a[i]};
    of_b += double{b[i]} * double{b[i]};
  }
  constexpr double kAlike = 0.95;
  return product > kAlike * std::sqrt(of_a * of_b);
}

// Converters store the head's rows of both words once more. Where the head is the embedding they are rows of that; a
// model with a head of its own has lost the head, and its logits would come from the wrong matrix.
void check_head(const Checkpoint& checkpoint, const RelevanceFormat& format) {
  if (checkpoint.find_tensor("lm_head.weight")) return;
  const std::optional<TensorView> embedding = checkpoint.find_tensor("model.embed_tokens.weight");
  for (const auto& [name, classifier] : checkpoint.all_tensors()) {
    if (name != "cls.output.weight" || !embedding) continue;
    const int32_t words = std::max(format.yes_id, format.no_id);
    if (classifier.rows() == 2 && classifier.cols() == embedding->cols() && words < embedding->rows() &&
        are_alike(row_of(classifier, 0), row_of(*embedding, format.yes_id)) &&
        are_alike(row_of(classifier, 1), row_of(*embedding, format.no_id))) {
      continue;
    }
    fail(ErrorCode::kUnsupported,
         "{}: cls.output.weight is not the embedding of \"yes\" and \"no\", and the file has no head (output.weight), "
         "from which this build judges; convert the model as a language model and give --rerank-by yes-no",
         checkpoint.name());
  }
}

std::optional<RelevanceFormat> find_in_gguf(const Checkpoint& checkpoint, const Tokenizer& tokenizer) {
  const GgufFile& file = *checkpoint.gguf();
  const std::string architecture(file.find_string("general.architecture", ""));
  constexpr int64_t kRank = 4;
  if (file.find_int(architecture + ".pooling_type", 0) != kRank) return std::nullopt;
  std::string prompt(file.find_string("tokenizer.chat_template.rerank", ""));
  for (const std::string_view part : {std::string_view("{query}"), kDocument}) {
    if (prompt.find(part) != std::string::npos) continue;
    fail(ErrorCode::kUnsupported,
         "{}: the model ranks documents (pooling type 4), but its prompt tokenizer.chat_template.rerank holds no {}; "
         "this build knows rankers that are asked for yes or no",
         file.name(), part);
  }
  RelevanceFormat format = with_prompt(std::move(prompt), tokenizer);
  check_head(checkpoint, format);
  return format;
}

std::optional<RelevanceFormat> find_in_config(const Checkpoint& checkpoint, const Tokenizer& tokenizer) {
  const json::value* const words = find_member(checkpoint.config(), "classifier_from_token");
  if (words == nullptr) return std::nullopt;
  if (*words != json::value({"no", "yes"})) {
    fail(ErrorCode::kUnsupported,
         "{}: \"classifier_from_token\" in config.json is {}; this build knows [\"no\",\"yes\"]", checkpoint.name(),
         printable(json::serialize(*words)));
  }
  return usual_relevance_format(tokenizer);
}

}  // namespace

RelevanceFormat usual_relevance_format(const Tokenizer& tokenizer) {
  return with_prompt(std::string(kUsualPrompt), tokenizer);
}

std::optional<RelevanceFormat> find_relevance_format(const Checkpoint& checkpoint, const Tokenizer& tokenizer) {
  if (checkpoint.gguf() != nullptr) return find_in_gguf(checkpoint, tokenizer);
  return find_in_config(checkpoint, tokenizer);
}

RelevancePrompt relevance_prompt(const RelevanceFormat& format, const RelevanceQuestion& question) {
  struct Place {
    std::string_view name;
    std::string_view text;
  };
  const std::string_view instruction = question.instruction.empty() ? kUsualInstruction : question.instruction;
  const std::array<Place, 3> places = {
      {{"{instruction}", instruction}, {"{query}", question.query}, {kDocument, question.document}}};
  RelevancePrompt prompt;
  MarkedText* out = &prompt.text;
  for (std::string_view rest = format.prompt; !rest.empty();) {
    const auto place =
        std::find_if(places.begin(), places.end(), [&](const Place& each) { return rest.starts_with(each.name); });
    if (place == places.end()) {
      const size_t next = std::min(rest.find('{', 1), rest.size());
      *out += rest.substr(0, next);
      rest.remove_prefix(next);
      continue;
    }
    MarkedText data;
    data += place->text;
    data.mark();
    out->append(data);
    rest.remove_prefix(place->name.size());
    if (place->name == kDocument) out = &prompt.end;
  }
  return prompt;
}

}  // namespace quire
