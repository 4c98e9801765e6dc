// Documents in the order of a query (/v1/rerank, as Jina, Cohere and Text Embeddings Inference call it), and the scores
// of pairs of texts (/v1/score, vLLM's).
#include "server/apis/apis.h"
#include "server/apis/shared_fields.h"

namespace quire {
namespace fields {
namespace {

constexpr std::string_view kDocumentShape =
    R"({"anyOf": [{"type": "string"}, {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}]})";
constexpr std::string_view kTextsShape =
    R"({"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"anyOf": [{"type": "string"}, {"type": "object"}]}}]})";

// Before those that they are compared with, in whatever order the request has them.
void put_queries(Out& out, std::vector<PromptValue> queries) {
  out.num_queries = static_cast<int>(queries.size());
  out.prompts.insert(out.prompts.begin(), std::make_move_iterator(queries.begin()),
                     std::make_move_iterator(queries.end()));
}

void put_documents(Out& out, std::vector<PromptValue> documents) {
  out.prompts.resize(static_cast<size_t>(out.num_queries));
  out.prompts.insert(out.prompts.end(), std::make_move_iterator(documents.begin()),
                     std::make_move_iterator(documents.end()));
}

// clang-format off
// Fields are stored in the order of the table: the queries first.
constexpr auto kRerankOwn = std::to_array<Field>({
    other_field("query", kDocumentShape, "the text that documents are compared with",
     [](Out& out, const Value& value, const Context&) {
       put_queries(out, {{.text = read_document("query", value), .ids = {}, .is_text = true}});
     }),
    other_field("texts", kTextsShape, "Text Embeddings Inference's name of documents; the answer has its form",
     [](Out& out, const Value& value, const Context& context) {
       put_documents(out, read_documents("texts", value, context));
       out.has_plain_scores = true;
     }),
    other_field("documents", kTextsShape, "list of texts, or of objects with a text",
     [](Out& out, const Value& value, const Context& context) {
       put_documents(out, read_documents("documents", value, context));
       out.has_plain_scores = false;
     }),
    {"top_n", kInteger, "answers with that many of the best documents; default: all",
     [](Out& out, const Value& value, const Context&) { out.top_n = small(value); }, 1, kInt32Max},
    {"return_documents", kBool, "repeats the documents; default true",
     [](Out& out, const Value& value, const Context&) { out.return_documents = value.get_bool(); }},
});

constexpr auto kScoreOwn = std::to_array<Field>({
    other_field("text_1", kTextsShape, "a text, or a list as long as text_2",
     [](Out& out, const Value& value, const Context& context) { put_queries(out, read_documents("text_1", value, context)); }),
    other_field("text_2", kTextsShape, "a text or a list of texts",
     [](Out& out, const Value& value, const Context& context) { put_documents(out, read_documents("text_2", value, context)); }),
});

constexpr auto kComparing = std::to_array<Field>({
    {"instruction", kString, "what the query asks of documents, in words for a model that answers yes or no; no effect on embeddings",
     [](Out& out, const Value& value, const Context&) { out.instruction = text(value); }},
    other_field("pooling", R"({"enum": ["mean", "cls", "last"]})",
     "compares embeddings, for which the last hidden states become one vector: `mean`, `cls` or `last`; default: as the model's files say",
     [](Out& out, const Value& value, const Context&) { out.pooling = read_pooling(value); }),
});
// clang-format on

constexpr auto kRerankFields =
    join(kModelField, kRerankOwn, kComparing, kSpecialTokenFields, kTruncateField, kServingFields, kUserField);
constexpr auto kScoreFields =
    join(kModelField, kScoreOwn, kComparing, kSpecialTokenFields, kTruncateField, kServingFields, kUserField);

}  // namespace
}  // namespace fields

constinit const Api kRerankApi{
    .name = "rerank", .schema = "RerankRequest", .fields = fields::kRerankFields, .required = "query"};
constinit const Api kScoreApi{
    .name = "score", .schema = "ScoreRequest", .fields = fields::kScoreFields, .required = "text_1"};

}  // namespace quire
