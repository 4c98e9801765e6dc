// A model's configuration as the metadata of a GGUF file, the opposite of models/loading/gguf_config.h. What would
// change the model's results and has no key there is refused by name; the rest that has none is listed. One thread.
#pragma once

#include <string>
#include <vector>

#include "models/loading/checkpoint.h"
#include "models/loading/gguf_names.h"
#include "models/model.h"
#include "tensor/files/gguf_writer.h"
#include "text/tokenizer.h"

namespace quire {

// Tables that GGUF keeps as tensors: RoPE factors, F32 [size].
struct GgufTable {
  std::string name;
  std::vector<float> values;
};

struct GgufMetadata {
  std::vector<GgufTable> tables;
  std::vector<std::string> lost;  // sentences
};

// general.* and the architecture's keys, from a directory's config.json and generation_config.json. Throws Error
// kUnsupported.
GgufMetadata add_model_metadata(const Checkpoint& source, const GgufArchitecture& architecture, const ModelInfo& info,
                                GgufWriter& out);
// tokenizer.ggml.*
void add_vocabulary(const GgufVocabulary& vocabulary, GgufWriter& out);
// All keys of a GGUF file except those that say how its tensors are stored.
void copy_metadata(const GgufFile& source, GgufWriter& out);
// general.file_type, by the format that most weights have.
void add_file_type(Format format, GgufWriter& out);

}  // namespace quire
