// Opens the library's file, on machines with and without it. Needs no GPU.
#include "kernels/cuda/matmul/cublaslt.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace quire {
namespace {

TEST(CublasLt, NamesTheMissingFunction) {
  try {
    const char* const files[] = {"libnone.so.1", "libnone.so"};
    open_cublaslt(files);
    FAIL() << "a library without a file";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    for (const char* word : {"libnone.so.1", "libnone.so:", "libcublas", "LD_LIBRARY_PATH"}) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  }
}

TEST(CublasLt, RefusesAnotherLibrary) {
  const char* const files[] = {"libnone.so", "libc.so.6"};
  EXPECT_THROW(open_cublaslt(files), Error);
}

TEST(CublasLt, HasEveryFunction) {
  try {
    EXPECT_GE(cublaslt().get_version(), kLtMinVersion);
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
}

}  // namespace
}  // namespace quire
