// Where tensors will lie in files that do not exist yet: all that is known before a weight is computed. Made from the
// names, formats and shapes alone, so the same tensors always give the same layout, and a writer that was stopped can
// go on (tensor_file_writer.h). Plain data.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tensor/format.h"

namespace quire {

struct DeclaredTensor {
  std::string name;
  Format format = Format::kF32;
  std::vector<int64_t> shape;  // outermost first

  // A multiple of the format's block must fit a row. Throws Error kInvalidArgument naming the tensor.
  uint64_t size_bytes() const;
};

struct TensorFileLayout {
  struct File {
    std::string name;  // within the folder
    std::string head;  // its first bytes: everything that is no weight
    uint64_t size_bytes = 0;
  };
  struct Place {
    size_t file = 0;  // index of `files`
    uint64_t offset = 0;
    uint64_t size_bytes = 0;
  };
  std::vector<File> files;
  std::map<std::string, Place, std::less<>> places;

  uint64_t size_bytes() const;  // of all files
};

struct SafetensorsLayoutOptions {
  uint64_t largest_file =
      uint64_t{5} << 30;  // of weights; above it, several files and an index. One tensor may be larger
  std::vector<std::pair<std::string, std::string>> metadata = {{"format", "pt"}};  // __metadata__
};

// model.safetensors, or model-00001-of-0000N.safetensors and model.safetensors.index.json. Tensors follow each other in
// the order given, without holes; each file's header is padded to 8 bytes. Throws Error kInvalidArgument for formats
// that safetensors has no name for, and for names that occur twice.
TensorFileLayout safetensors_layout(std::span<const DeclaredTensor> tensors,
                                    const SafetensorsLayoutOptions& options = {});

// GGUF's layout is GgufWriter::layout (gguf_writer.h), which has the metadata too.

}  // namespace quire
