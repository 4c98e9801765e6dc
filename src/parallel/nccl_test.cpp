// Opening the library, on machines with and without it; needs no GPU.
#include <gtest/gtest.h>

#include "base/error.h"
#include "parallel/nccl_library.h"

namespace quire {
namespace {

TEST(Nccl, NamesTheMissingFunction) {
  try {
    const char* const files[] = {"libnone.so.2"};
    open_nccl(files);
    FAIL() << "a library without a file";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    for (const char* word : {"libnone.so.2", "libnccl2", "LD_LIBRARY_PATH", "--tensor-parallel"}) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  }
}

TEST(Nccl, RefusesAnotherLibrary) {
  const char* const files[] = {"libnone.so.2", "libc.so.6"};
  EXPECT_THROW(open_nccl(files), Error);
}

TEST(Nccl, HasEveryFunction) {
  try {
    EXPECT_NE(nccl().error_string(ncclSuccess), nullptr);
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
}

}  // namespace
}  // namespace quire
