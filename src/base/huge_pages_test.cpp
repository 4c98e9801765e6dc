#include "base/huge_pages.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace quire {
namespace {

namespace fs = std::filesystem;

TEST(HugePages, WhatTheSystemGives) {
  std::string pattern = (fs::temp_directory_path() / "quire-pages-XXXXXX").string();
  const fs::path root = mkdtemp(pattern.data());
  EXPECT_EQ(read_huge_pages(root), HugePages::kNever) << "a system without them";
  fs::create_directory(root / "transparent_hugepage");
  const auto read = [&](const char* text) {
    std::ofstream(root / "transparent_hugepage/enabled") << text;
    return read_huge_pages(root);
  };
  EXPECT_EQ(read("[always] madvise never\n"), HugePages::kAlways);
  EXPECT_EQ(read("always [madvise] never\n"), HugePages::kOnRequest);
  EXPECT_EQ(read("always madvise [never]\n"), HugePages::kNever);
  EXPECT_EQ(read(""), HugePages::kNever);
  fs::remove_all(root);
}

TEST(HugePages, WhatAProcessHas) {
  const auto memory = parse_anonymous_memory(
      "561e1b000000-7ffd2f5fe000 ---p 00000000 00:00 0    [rollup]\n"
      "Rss:               90000 kB\n"
      "Anonymous:         70000 kB\n"
      "LazyFree:              0 kB\n"
      "AnonHugePages:     65536 kB\n"
      "ShmemPmdMapped:        0 kB\n");
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->bytes, uint64_t{70000} << 10);
  EXPECT_EQ(memory->huge_bytes, uint64_t{64} << 20);
  for (const char* text : {"", "Rss: 5 kB\n", "Anonymous: 5 kB\n", "Anonymous: many\nAnonHugePages: x\n"}) {
    EXPECT_FALSE(parse_anonymous_memory(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace quire
