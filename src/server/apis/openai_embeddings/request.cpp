#include "server/apis/apis.h"
#include "server/apis/shared_fields.h"

namespace quire {
namespace fields {
namespace {

// clang-format off
constexpr auto kEmbeddingsOwn = std::to_array<Field>({
    other_field("input", kPromptShape, "string, list of strings, list of token ids, or list of such lists",
     [](Out& out, const Value& value, const Context& context) { out.prompts = read_prompts("input", value, context); }),
    other_field("encoding_format", R"({"enum": ["float", "base64"]})", "`float` (default) or `base64` (little-endian float32)",
     [](Out& out, const Value& value, const Context&) {
       const bool is_base64 = value.is_string() && value.get_string() == "base64";
       if (!is_base64 && (!value.is_string() || value.get_string() != "float")) {
         refuse_value("encoding_format", "\"float\" or \"base64\"", value);
       }
       out.base64 = is_base64;
     }),
    {"dimensions", kInteger, "keeps that many of the first numbers and scales them to length 1 again",
     [](Out& out, const Value& value, const Context&) { out.dimensions = small(value); }, 1, 1 << 20},
    other_field("pooling", R"({"enum": ["mean", "cls", "last"]})",
     "how the last hidden states become one vector: `mean`, `cls` (the first token's) or `last`; default: as the model's "
     "files say, else `mean`",
     [](Out& out, const Value& value, const Context&) { out.pooling = read_pooling(value); }),
});
// clang-format on

constexpr auto kEmbeddingsFields =
    join(kModelField, kEmbeddingsOwn, kSpecialTokenFields, kTruncateField, kServingFields, kUserField);

}  // namespace
}  // namespace fields

constinit const Api kEmbeddingsApi{
    .name = "embeddings", .schema = "EmbeddingRequest", .fields = fields::kEmbeddingsFields, .required = "input"};

}  // namespace quire
