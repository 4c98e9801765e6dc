#include "compress/blocks/block_recipe.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace quire {
namespace {

// The layers that a rule is for.
enum class Layers : uint8_t {
  kAll,
  kFirstTwo,
  kFirstFour,
  kFirstSixteenth,
  kFirstEighth,
  kSensitive,  // the first and the last eighth, and every third between
};
enum class Only : uint8_t { kAlways, kManySharers, kFewSharers, kWithImportance, kWithoutImportance };

// The first rule that fits a matrix gives its format; without one it has the recipe's own.
struct FormatRule {
  MatrixRole role;
  Format format;
  Layers layers = Layers::kAll;
  Only only = Only::kAlways;
};

struct BlockRecipe {
  const char* name;
  uint32_t file_type;  // general.file_type
  Format format;
  std::span<const FormatRule> rules;
};

using enum MatrixRole;

constexpr FormatRule kQ2K[] = {{kV, Format::kQ4_K, Layers::kAll, Only::kManySharers},
                               {kV, Format::kQ3_K, Layers::kAll, Only::kFewSharers},
                               {kDown, Format::kQ3_K},
                               {kAttentionOutput, Format::kQ3_K}};
constexpr FormatRule kQ3KM[] = {{kV, Format::kQ5_K, Layers::kFirstTwo},
                                {kV, Format::kQ4_K},
                                {kDown, Format::kQ5_K, Layers::kFirstSixteenth},
                                {kDown, Format::kQ4_K},
                                {kAttentionOutput, Format::kQ4_K},
                                {kQkv, Format::kQ4_K}};
constexpr FormatRule kQ3KL[] = {
    {kV, Format::kQ5_K}, {kDown, Format::kQ5_K}, {kAttentionOutput, Format::kQ5_K}, {kQkv, Format::kQ4_K}};
constexpr FormatRule kQ4KS[] = {{kV, Format::kQ5_K, Layers::kFirstFour}, {kDown, Format::kQ5_K, Layers::kFirstEighth}};
constexpr FormatRule kQ4KM[] = {
    {kV, Format::kQ6_K, Layers::kSensitive}, {kDown, Format::kQ6_K, Layers::kSensitive}, {kQkv, Format::kQ5_K}};
constexpr FormatRule kQ5KM[] = {
    {kV, Format::kQ6_K, Layers::kSensitive}, {kDown, Format::kQ6_K, Layers::kSensitive}, {kQkv, Format::kQ6_K}};
constexpr FormatRule kQ40[] = {{kDown, Format::kQ4_1, Layers::kFirstEighth, Only::kWithImportance}};
constexpr FormatRule kQ50[] = {{kDown, Format::kQ5_1, Layers::kFirstEighth, Only::kWithImportance}};
constexpr FormatRule kIQ4Rules[] = {{kV, Format::kQ5_K, Layers::kAll, Only::kManySharers},
                                    {kDown, Format::kQ5_K, Layers::kFirstEighth, Only::kWithoutImportance}};
constexpr FormatRule kIQ3S[] = {{kV, Format::kQ4_K, Layers::kAll, Only::kManySharers}};
constexpr FormatRule kIQ3M[] = {{kV, Format::kQ4_K},
                                {kDown, Format::kQ4_K, Layers::kFirstEighth},
                                {kAttentionOutput, Format::kQ4_K},
                                {kQkv, Format::kQ4_K}};

constexpr BlockRecipe kRecipes[] = {
    {"Q2_K", 10, Format::kQ2_K, kQ2K},
    {"IQ3_S", 26, Format::kIQ3_S, kIQ3S},
    {"Q3_K_S", 11, Format::kQ3_K, {}},
    {"IQ3_M", 27, Format::kIQ3_S, kIQ3M},
    {"Q3_K_M", 12, Format::kQ3_K, kQ3KM},
    {"Q3_K_L", 13, Format::kQ3_K, kQ3KL},
    {"IQ4_XS", 30, Format::kIQ4_XS, kIQ4Rules},
    {"MXFP4", 38, Format::kMXFP4, {}},
    {"IQ4_NL", 25, Format::kIQ4_NL, kIQ4Rules},
    {"Q4_0", 2, Format::kQ4_0, kQ40},
    {"Q4_K_S", 14, Format::kQ4_K, kQ4KS},
    {"Q4_K_M", 15, Format::kQ4_K, kQ4KM},
    {"Q4_1", 3, Format::kQ4_1, {}},
    {"Q5_0", 8, Format::kQ5_0, kQ50},
    {"Q5_K_S", 16, Format::kQ5_K, {}},
    {"Q5_K_M", 17, Format::kQ5_K, kQ5KM},
    {"Q5_1", 9, Format::kQ5_1, {}},
    {"Q6_K", 18, Format::kQ6_K, {}},
    {"Q8_0", 7, Format::kQ8_0, {}},
    {"F16", 1, Format::kF16, {}},
    {"BF16", 32, Format::kBF16, {}},
};

struct NamePart {
  const char* part;
  MatrixRole role;
};
constexpr NamePart kRoles[] = {
    {"token_embd.", kEmbedding},        {"attn_qkv.", kQkv}, {"attn_q.", kQ}, {"attn_k.", kK},     {"attn_v.", kV},
    {"attn_output.", kAttentionOutput}, {"ffn_gate", kGate}, {"ffn_up", kUp}, {"ffn_down", kDown},
};

// What the rules ask of a model.
struct RecipeShape {
  int num_layers = 0;
  bool has_head = false;      // of its own; otherwise the embedding is the head
  bool many_sharers = false;  // four query heads or more for each KV head
  bool has_importance = false;
};

RecipeShape recipe_shape(std::span<const NamedMatrix> matrices, bool has_importance) {
  RecipeShape shape = {.has_importance = has_importance};
  int64_t q_rows = 0;
  int64_t v_rows = 0;
  for (const NamedMatrix& matrix : matrices) {
    const MatrixRole role = matrix_role(matrix.name);
    shape.num_layers = std::max(shape.num_layers, layer_of(matrix.name).value_or(-1) + 1);
    if (role == kHead) shape.has_head = true;
    if (role == kQ) q_rows = matrix.rows;
    if (role == kV) v_rows = matrix.rows;
  }
  shape.many_sharers = v_rows > 0 && q_rows >= 4 * v_rows;
  return shape;
}

bool holds(Layers layers, int layer, int num_layers) {
  const int eighth = num_layers / 8;
  switch (layers) {
    case Layers::kAll: return true;
    case Layers::kFirstTwo: return layer < 2;
    case Layers::kFirstFour: return layer < 4;
    case Layers::kFirstSixteenth: return layer < num_layers / 16;
    case Layers::kFirstEighth: return layer < eighth;
    case Layers::kSensitive: return layer < eighth || layer >= 7 * num_layers / 8 || (layer - eighth) % 3 == 2;
  }
  return false;
}

bool holds(Only only, const RecipeShape& shape) {
  switch (only) {
    case Only::kAlways: return true;
    case Only::kManySharers: return shape.many_sharers;
    case Only::kFewSharers: return !shape.many_sharers;
    case Only::kWithImportance: return shape.has_importance;
    case Only::kWithoutImportance: return !shape.has_importance;
  }
  return false;
}

Format format_of(const BlockRecipe& recipe, const NamedMatrix& matrix, const RecipeShape& shape) {
  const MatrixRole role = matrix_role(matrix.name);
  const WeightFormat& own = weight_format(recipe.format);
  if (role == kHead || (role == kEmbedding && !shape.has_head)) {
    // The head decides every token: six bits at least.
    if (own.block_elements == 1 || recipe.format == Format::kQ8_0) return recipe.format;
    return matrix.cols % own.block_elements != 0 ? Format::kQ8_0 : Format::kQ6_K;
  }
  for (const FormatRule& rule : recipe.rules) {
    if (rule.role != role || !holds(rule.only, shape)) continue;
    if (holds(rule.layers, layer_of(matrix.name).value_or(0), shape.num_layers)) return rule.format;
  }
  return recipe.format;
}

const BlockRecipe& find_recipe(std::string_view name) {
  const auto* const found = std::ranges::find_if(kRecipes, [&](const BlockRecipe& row) { return name == row.name; });
  if (found != std::end(kRecipes)) return *found;
  fail(ErrorCode::kInvalidArgument, "the type {} is unknown, expected one of {}", printable(name),
       fmt::join(block_recipes(), ", "));
}

}  // namespace

MatrixRole matrix_role(std::string_view gguf_name) {
  if (gguf_name == "output.weight") return kHead;
  for (const NamePart& row : kRoles) {
    if (gguf_name.find(row.part) != std::string_view::npos) return row.role;
  }
  return kOther;
}

std::optional<int> layer_of(std::string_view gguf_name) {
  constexpr std::string_view kBlock = "blk.";
  if (!gguf_name.starts_with(kBlock)) return std::nullopt;
  int layer = 0;
  const char* const first = gguf_name.data() + kBlock.size();
  const auto result = std::from_chars(first, gguf_name.data() + gguf_name.size(), layer);
  return result.ec == std::errc() ? std::optional(layer) : std::nullopt;
}

bool is_quantised(std::string_view gguf_name, int rank) {
  constexpr std::string_view kKept[] = {"_norm.", "ffn_gate_inp", "position_embd", "token_types", "rope_"};
  const auto is_kept = [&](std::string_view part) { return gguf_name.find(part) != std::string_view::npos; };
  return rank >= 2 && gguf_name.ends_with(".weight") && std::ranges::none_of(kKept, is_kept);
}

Format fitting_format(Format wanted, int64_t cols) {
  const auto fits = [cols](Format format) { return cols % weight_format(format).block_elements == 0; };
  if (fits(wanted)) return wanted;
  Format larger = Format::kF16;
  switch (wanted) {
    case Format::kQ2_K:
    case Format::kQ3_K: larger = Format::kQ4_0; break;
    case Format::kIQ3_S:
    case Format::kIQ4_XS: larger = Format::kIQ4_NL; break;
    case Format::kQ4_K: larger = Format::kQ5_0; break;
    case Format::kQ5_K: larger = Format::kQ5_1; break;
    case Format::kQ6_K: larger = Format::kQ8_0; break;
    default: break;
  }
  return fits(larger) ? larger : Format::kF16;
}

std::vector<std::string> block_recipes() {
  std::vector<std::string> names;
  for (const BlockRecipe& recipe : kRecipes) names.emplace_back(recipe.name);
  return names;
}

uint32_t recipe_file_type(std::string_view recipe) { return find_recipe(recipe).file_type; }

std::vector<Format> recipe_formats(std::string_view recipe, std::span<const NamedMatrix> matrices,
                                   bool has_importance) {
  const BlockRecipe& found = find_recipe(recipe);
  const RecipeShape shape = recipe_shape(matrices, has_importance);
  std::vector<Format> formats;
  for (const NamedMatrix& matrix : matrices) {
    formats.push_back(fitting_format(format_of(found, matrix, shape), matrix.cols));
  }
  return formats;
}

}  // namespace quire
