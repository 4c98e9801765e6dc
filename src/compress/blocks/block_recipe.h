// Which format each matrix of a GGUF file gets: the named mixtures that people know ("Q4_K_M"), which spend more bits
// where a model is sensitive, with the same rules as llama-quantize, so that files of one type have one size. Pure
// functions over names and shapes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/format.h"

namespace quire {

enum class MatrixRole : uint8_t {
  kEmbedding,
  kHead,
  kQ,
  kK,
  kV,
  kQkv,
  kAttentionOutput,
  kGate,
  kUp,
  kDown,
  kOther,
};

// A tensor of the file that is to be made.
struct NamedMatrix {
  std::string name;  // GGUF's: "blk.3.ffn_down.weight"
  int64_t rows = 0;  // of all experts together
  int64_t cols = 0;
};

MatrixRole matrix_role(std::string_view gguf_name);
// The number in "blk.3.", or nothing.
std::optional<int> layer_of(std::string_view gguf_name);
// Whether a tensor of this name and rank is a matrix that mixtures quantise: no norm, bias or router.
bool is_quantised(std::string_view gguf_name, int rank);

// The format itself, or the next larger one whose blocks divide the columns.
Format fitting_format(Format wanted, int64_t cols);

// The names of the mixtures, in order of size.
std::vector<std::string> block_recipes();
// The number that GGUF files say they are of (general.file_type). Throws Error kInvalidArgument for an unknown name.
uint32_t recipe_file_type(std::string_view recipe);
// The format of each matrix. `has_importance`: of the calibration kind. Throws Error kInvalidArgument for an unknown
// name.
std::vector<Format> recipe_formats(std::string_view recipe, std::span<const NamedMatrix> matrices, bool has_importance);

}  // namespace quire
