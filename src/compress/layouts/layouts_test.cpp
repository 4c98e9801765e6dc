// Every layout, written into a directory and read back by the loader: the values of every matrix to the bit.
#include "compress/layouts/layout.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "compress/files/model_directory.h"
#include "kernels/select.h"
#include "models/loading/tensor_source.h"
#include "tensor/files/tensor_file_writer.h"
#include "tensor/half.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

GroupMatrix random_matrix(int64_t rows, int64_t cols, GroupGrid grid, bool has_order) {
  std::mt19937 random(11);
  GroupMatrix matrix{.rows = rows, .cols = cols, .grid = grid, .codes = {}, .scales = {}, .zeros = {}, .groups = {}};
  const auto draw = [&](int limit) { return static_cast<uint8_t>(random() % static_cast<unsigned>(limit)); };
  for (int64_t i = 0; i < rows * cols; ++i) matrix.codes.push_back(draw(grid.num_codes()));
  for (int64_t i = 0; i < rows * grid.num_groups(cols); ++i) {
    matrix.scales.push_back(f16_to_f32(f32_to_f16(0.01f + static_cast<float>(draw(100)) / 300.0f)));
    const int middle = grid.num_codes() / 2;
    matrix.zeros.push_back(grid.symmetric ? static_cast<uint8_t>(middle) : draw(grid.num_codes()));
  }
  // Every group has as many columns as before, in a mixed order.
  for (int64_t c = 0; has_order && c < cols; ++c) {
    matrix.groups.push_back(static_cast<int32_t>((c * 7 + 3) % cols / grid.group_columns(cols)));
  }
  return matrix;
}

Float8Matrix random_float8(int64_t rows, int64_t cols, int64_t block_rows, int64_t block_cols) {
  std::mt19937 random(13);
  Float8Matrix matrix{
      .rows = rows, .cols = cols, .block_rows = block_rows, .block_cols = block_cols, .codes = {}, .scales = {}};
  for (int64_t i = 0; i < rows * cols; ++i) matrix.codes.push_back(static_cast<uint8_t>(random() % 0x7f));
  for (int64_t i = 0; i < matrix.num_row_blocks() * matrix.num_col_blocks(); ++i) {
    matrix.scales.push_back(0.001f * static_cast<float>(1 + random() % 1000));
  }
  return matrix;
}

template <typename Matrix>
std::vector<float> values_of(const Matrix& matrix) {
  std::vector<float> values(static_cast<size_t>(matrix.rows * matrix.cols));
  dequantize(matrix, values);
  return values;
}

// A directory with the one matrix "m", as a command would write it.
class Written {
 public:
  Written(const CompressedLayout& layout, const MatrixForm& form, const std::vector<PartTensor>& declared,
          const std::vector<PartTensor>& parts) {
    std::string pattern = (fs::temp_directory_path() / "quire-layout-XXXXXX").string();
    parent_ = mkdtemp(pattern.data());
    ModelDirectory directory(parent_ / "out", false);
    const std::vector<std::string> plain = {"lm_head", "model.layers.0.mlp.down_proj"};
    json::object config;
    if (json::object made = layout.config(form, plain); !made.empty()) config["quantization_config"] = std::move(made);
    directory.write_json("config.json", config);
    std::vector<DeclaredTensor> tensors;
    for (const PartTensor& part : declared) tensors.push_back({"m." + part.part, part.format, part.shape});
    TensorFileWriter out(directory.folder(), safetensors_layout(tensors));
    for (const PartTensor& part : parts) out.write("m." + part.part, part.bytes);
    out.finish();
    directory.finish();
  }
  ~Written() { fs::remove_all(parent_); }
  Written(const Written&) = delete;
  Written& operator=(const Written&) = delete;

  std::vector<float> read(int64_t rows, int64_t cols) const {
    const auto checkpoint = Checkpoint::open(parent_ / "out");
    TensorSource source(*checkpoint, {});
    ThreadPool pool(1);
    const SourceMatrix matrix = source.matrix({.name = "m.weight", .rows = rows, .cols = cols});
    const std::byte* blocks = source.blocks(matrix, make_exec(pool));
    std::vector<float> values(static_cast<size_t>(rows * cols));
    weight_format(matrix.shape.format).dequantize(blocks, values.data(), rows * cols);
    if (matrix.column_order.empty()) return values;
    std::vector<float> ordered(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      const auto col = static_cast<size_t>(cols);
      ordered[i / col * col + static_cast<size_t>(matrix.column_order[i % col])] = values[i];
    }
    return ordered;
  }

 private:
  fs::path parent_;
};

void expect_same(const CompressedLayout& layout, const GroupMatrix& matrix) {
  SCOPED_TRACE(std::string(layout.name) + ", " + describe_form(form_of(matrix)));
  const MatrixForm form = form_of(matrix);
  ASSERT_EQ(layout.refusal(form, matrix.rows, matrix.cols), "");
  const Written written(layout, form, layout.declare(form, matrix.rows, matrix.cols), layout.pack(matrix));
  EXPECT_EQ(written.read(matrix.rows, matrix.cols), values_of(matrix));
}

TEST(Layouts, OfWholeNumbersAreReadBackToTheBit) {
  struct Case {
    const CompressedLayout& layout;
    int bits;
    bool with_zeros;
    bool with_order;
  };
  const Case cases[] = {
      {kGptqLayout, 2, false, true},
      {kGptqLayout, 2, true, false},
      {kGptqLayout, 3, false, true},
      {kGptqLayout, 3, true, true},
      {kGptqLayout, 4, false, true},
      {kGptqLayout, 4, true, true},
      {kGptqLayout, 8, false, false},
      {kGptqLayout, 8, true, false},
      {kAwqLayout, 4, true, false},
      {kAwqLayout, 4, false, false},
      {kCompressedTensorsLayout, 4, true, true},
      {kCompressedTensorsLayout, 8, true, false},
      {kCompressedTensorsLayout, 8, false, true},
      {kCompressedTensorsLayout, 4, false, false},
  };
  for (const Case& one : cases) {
    for (const int64_t group : {int64_t{32}, int64_t{128}, int64_t{0}}) {
      const GroupGrid grid{.bits = one.bits, .group = group, .symmetric = !one.with_zeros};
      expect_same(one.layout, random_matrix(64, 256, grid, one.with_order && group != 0));
    }
  }
  expect_same(kW8A8Layout, random_matrix(40, 256, {.bits = 8, .group = 0}, false));
}

TEST(Layouts, OfFloatsAreReadBackToTheBit) {
  struct Blocks {
    int64_t rows, cols;
  };
  for (const Blocks blocks : {Blocks{0, 0}, Blocks{1, 0}, Blocks{128, 128}}) {
    const Float8Matrix matrix = random_float8(136, 256, blocks.rows, blocks.cols);
    const MatrixForm form = form_of(matrix);
    SCOPED_TRACE(describe_form(form));
    ASSERT_EQ(kFp8Layout.refusal(form, matrix.rows, matrix.cols), "");
    const Written written(kFp8Layout, form, kFp8Layout.declare(form, 136, 256), kFp8Layout.pack_float8(matrix));
    EXPECT_EQ(written.read(136, 256), values_of(matrix));
  }
}

TEST(Layouts, KeepPrunedFloatsInTheirFormat) {
  for (const Format format : {Format::kF32, Format::kF16, Format::kBF16}) {
    PlainMatrix matrix = {.format = format, .rows = 8, .cols = 64};
    for (int i = 0; i < 8 * 64; ++i) matrix.values.push_back(i % 3 == 0 ? 0 : 0.25f * static_cast<float>(i % 32));
    const MatrixForm form = form_of(matrix);
    ASSERT_EQ(kPlainLayout.refusal(form, 8, 64), "");
    const Written written(kPlainLayout, form, kPlainLayout.declare(form, 8, 64), pack(kPlainLayout, matrix));
    EXPECT_EQ(written.read(8, 64), matrix.values);
  }
}

TEST(Layouts, RefuseByNameWhatTheyDoNotHold) {
  const MatrixForm five_bits{.grid = {.bits = 5}};
  for (const CompressedLayout* layout : compressed_layouts()) {
    const std::string refusal = layout->refusal(five_bits, 256, 256);
    EXPECT_NE(refusal.find(std::string("the layout ") + layout->name + " holds"), std::string::npos) << refusal;
    EXPECT_EQ(&compressed_layout(layout->name), layout);
  }
  EXPECT_NE(kGptqLayout.refusal({.grid = {.bits = 4}}, 12, 128), "");
  EXPECT_NE(kAwqLayout.refusal({.grid = {.bits = 4}, .has_order = true}, 128, 128), "");
  EXPECT_THROW(compressed_layout("zip"), Error);
}

// The order of the bits of three-bit codes: one stream over three words.
TEST(Layouts, OfThreeBitsCrossWords) {
  std::vector<uint8_t> codes(32, 0);
  codes[10] = 7;
  codes[21] = 5;
  const std::vector<uint32_t> words = words_of(codes, 3);
  EXPECT_EQ(words, (std::vector<uint32_t>{0xc0000000u, 0x80000001u, 0x2u}));
}

TEST(ModelDirectories, ReplaceNothingUnlessTheyMay) {
  std::string pattern = (fs::temp_directory_path() / "quire-directory-XXXXXX").string();
  const fs::path parent = mkdtemp(pattern.data());
  fs::create_directory(parent / "source");
  for (const char* name : {"config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json"}) {
    ModelDirectory(parent / "source", true).write_text(name, name);
    fs::rename(parent / "source.unfinished" / name, parent / "source" / name);
  }
  ModelDirectory first(parent / "out/", false);
  first.copy_companions(parent / "source");
  EXPECT_THROW(first.copy_companions(parent / "nowhere"), Error);
  first.finish();
  EXPECT_TRUE(fs::exists(parent / "out/tokenizer.json"));
  EXPECT_EQ(std::distance(fs::directory_iterator(parent / "out"), {}), 1);
  EXPECT_THROW(ModelDirectory(parent / "out", false), Error);
  EXPECT_THROW(ModelDirectory(parent / "out", true), Error) << "no model";
  fs::copy_file(parent / "source/config.json", parent / "out/config.json");
  fs::create_directory(parent / "out.replaced");
  EXPECT_THROW(ModelDirectory(parent / "out/", true), Error) << "no place for the old one";
  fs::remove(parent / "out.replaced");
  ModelDirectory lost(parent / "out", true);
  lost.abandon();
  EXPECT_THROW(lost.finish(), Error);
  EXPECT_TRUE(fs::exists(parent / "out/config.json")) << "the old one stays where there is no new one";
  ModelDirectory second(parent / "out", true);
  second.write_text("new", "");
  second.finish();
  EXPECT_FALSE(fs::exists(parent / "out/tokenizer.json"));
  EXPECT_FALSE(fs::exists(parent / "out.unfinished"));
  EXPECT_FALSE(fs::exists(parent / "out.replaced"));
  fs::remove_all(parent);
}

}  // namespace
}  // namespace quire
