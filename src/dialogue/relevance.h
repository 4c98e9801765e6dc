// A language model that judges documents: asked whether a document answers a query, it says "yes" or "no", and how
// likely "yes" is of the two is the score (Qwen3-Reranker, arXiv:2506.05176).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "jinja/marked_text.h"
#include "models/loading/checkpoint.h"
#include "text/tokenizer.h"

namespace quire {

struct RelevanceFormat {
  std::string prompt;  // with {query} and {document}, and with {instruction} unless it says itself what is asked
  int32_t yes_id = 0;
  int32_t no_id = 0;
};

// As the model's files say; nothing when they do not speak of it: "classifier_from_token" in config.json, or GGUF's
// pooling type 4 (rank) with the prompt `tokenizer.chat_template.rerank`. Throws Error for files that this build cannot
// keep to.
std::optional<RelevanceFormat> find_relevance_format(const Checkpoint& checkpoint, const Tokenizer& tokenizer);

// That of Qwen3-Reranker's model card. Throws Error kUnsupported when "yes" or "no" is not one token.
RelevanceFormat usual_relevance_format(const Tokenizer& tokenizer);

struct RelevanceQuestion {
  std::string_view instruction = {};  // what the query wants of documents; empty: that they answer it
  std::string_view query;
  std::string_view document;
};

// The question, in which query, document and instruction are data: names of special tokens in them are text.
struct RelevancePrompt {
  MarkedText text;  // until the document's end, where a long one may be cut
  MarkedText end;
};
RelevancePrompt relevance_prompt(const RelevanceFormat& format, const RelevanceQuestion& question);

}  // namespace quire
