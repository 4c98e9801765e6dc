#include "server/apis/apis.h"
#include "server/apis/shared_fields.h"

namespace quire {
namespace fields {
namespace {

// clang-format off
constexpr auto kTokenizeOwn = std::to_array<Field>({
    other_field("prompt", R"({"type": "string"})", "string",
     [](Out& out, const Value& value, const Context& context) {
       if (!value.is_string()) refuse_value("prompt", "a string", value);
       out.prompts = read_prompts("prompt", value, context);
     }),
    {"content", kString, "the text; the answer has llama-server's form",
     [](Out& out, const Value& value, const Context&) { out.content = text(value); }},
    {"add_special", kBool, "llama-server's name of add_special_tokens",
     [](Out& out, const Value& value, const Context&) { out.add_special_tokens = value.get_bool(); }},
    {"return_token_strs", kBool, "adds `token_strs`",
     [](Out& out, const Value& value, const Context&) { out.return_token_strings = value.get_bool(); }},
    {"with_pieces", kBool, "with `content`: tokens as objects of id and piece",
     [](Out& out, const Value& value, const Context&) { out.with_pieces = value.get_bool(); }},
});

constexpr auto kDetokenizeOwn = std::to_array<Field>({
    other_field("tokens", kIdsShape, "list of token ids",
     [](Out& out, const Value& value, const Context& context) {
       out.tokens = read_token_ids("tokens", value, context, static_cast<size_t>(context.limits.detokenize_tokens));
     }),
});
// clang-format on

constexpr auto kTokenizeFields = join(kModelField, kTokenizeOwn, kConversationFields, kSpecialTokenFields);
constexpr auto kDetokenizeFields = join(kModelField, kDetokenizeOwn);

}  // namespace
}  // namespace fields

constinit const Api kTokenizeApi{.name = "tokenize",
                                 .schema = "TokenizeRequest",
                                 .fields = fields::kTokenizeFields,
                                 .check = fields::check_conversation};
constinit const Api kDetokenizeApi{
    .name = "detokenize", .schema = "DetokenizeRequest", .fields = fields::kDetokenizeFields, .required = "tokens"};

}  // namespace quire
