// Files and folders that cannot be run, each made from a good one with one thing wrong.
#pragma once

#include <filesystem>

namespace quire::test {

// Fills `folder` with them, and with a few good ones (good.gguf, good/) for wrong flags to meet. Names say what is
// wrong.
void make_bad_files(const std::filesystem::path& folder);

}  // namespace quire::test
