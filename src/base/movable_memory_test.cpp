#include "base/movable_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "base/direct_file.h"
#include "base/error.h"
#include "base/replace_file.h"

namespace quire {
namespace {

TEST(MovableMemory, ChunksTakeTheirContentsAlong) {
  for (const size_t chunk_bytes : {size_t{4096}, size_t{2} << 20}) {
    MovableMemory memory({.num_places = 5, .num_chunks = 2, .chunk_bytes = chunk_bytes});
    memory.move(0, 0);
    memory.move(1, 4);
    std::memset(memory.place(0), 'a', chunk_bytes);
    std::memset(memory.place(4), 'b', chunk_bytes);
    for (const size_t place : {1, 2, 3, 0, 2}) {
      memory.move(0, place);
      EXPECT_EQ(std::count(memory.place(place), memory.place(place) + chunk_bytes, std::byte{'a'}),
                static_cast<ptrdiff_t>(chunk_bytes));
    }
    memory.move(1, 3);
    EXPECT_EQ(memory.place(3)[chunk_bytes - 1], std::byte{'b'});
    EXPECT_EQ(memory.place(2)[chunk_bytes - 1], std::byte{'a'});
    // Into the place of the other one, which is not lost.
    memory.move(1, 2);
    EXPECT_EQ(memory.place(2)[0], std::byte{'b'});
    memory.move(0, 1);
    EXPECT_EQ(memory.place(1)[0], std::byte{'a'});
    EXPECT_EQ(memory.place(2)[chunk_bytes - 1], std::byte{'b'});
  }
}

TEST(MovableMemoryDeathTest, APlaceWithoutAChunkCannotBeRead) {
  MovableMemory memory({.num_places = 2, .num_chunks = 1, .chunk_bytes = 4096});
  memory.move(0, 0);
  memory.move(0, 1);
  volatile const std::byte* const left = memory.place(0);
  EXPECT_DEATH((void)*left, "");
}

class DirectFileTest : public testing::Test {
 protected:
  DirectFileTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "quire-direct-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    path_ = folder_ / "file";
    std::string text(10'000, 'x');
    text[8192] = 'y';
    write(text);
  }
  ~DirectFileTest() override { std::filesystem::remove_all(folder_); }
  void write(const std::string& text) const { replace_file(path_, {std::as_bytes(std::span(text))}); }
  static std::string error_of(const DirectFile& file) {
    alignas(4096) static std::byte page[4096];
    try {
      file.read(4096, page);
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  }

  std::filesystem::path folder_, path_;
};

TEST_F(DirectFileTest, ReadsToItsEnd) {
  const DirectFile file(path_);
  alignas(4096) static std::byte pages[3 * 4096];
  file.read(4096, pages);
  EXPECT_EQ(pages[4095], std::byte{'x'});
  EXPECT_EQ(pages[4096], std::byte{'y'});
  EXPECT_EQ(pages[10'000 - 4096 - 1], std::byte{'x'});
}

TEST_F(DirectFileTest, AChangeIsFoundOutAndAnotherFileOfItsNameIsNone) {
  const DirectFile file(path_);
  write("another file");
  EXPECT_EQ(error_of(file), "");
  const DirectFile shorter(path_);
  std::filesystem::resize_file(path_, 1);
  EXPECT_NE(error_of(shorter).find("was changed while it was in use (1 bytes, before 12)"), std::string::npos)
      << error_of(shorter);
  EXPECT_THROW(DirectFile(folder_ / "none"), Error);
}

}  // namespace
}  // namespace quire
