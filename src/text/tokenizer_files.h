// A tokenizer in the form of the other kind of model file: Hugging Face's tokenizer.json and tokenizer_config.json, and
// the tokenizer.ggml.* metadata of GGUF. Byte-level BPE, and sentencepiece's BPE with its bytes as a last resort; ids
// and chat templates stay as they are. Any thread.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "text/tokenizer.h"

namespace quire {

// Throw Error kUnsupported, naming it, for a kind of tokenizer that is not converted.
json::object tokenizer_json_of(const GgufVocabulary& vocabulary);
json::object tokenizer_config_of(const GgufVocabulary& vocabulary);

// `tokenizer_config` may be null. Ids without a token up to vocab_size, the rows of the embedding, get a made-up name
// and count as unused. What GGUF cannot say is added to `lost`, as sentences. The caller sets architecture and name.
GgufVocabulary gguf_vocabulary_of(const json::value& tokenizer_json, const json::value* tokenizer_config,
                                  int64_t vocab_size, std::vector<std::string>& lost);

}  // namespace quire
