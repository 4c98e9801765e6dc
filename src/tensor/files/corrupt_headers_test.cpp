// Overwrites every position in the header of a valid file with every extreme integer, and cuts the file at every
// length. The reader must either throw an Error or return views that can be read to the last byte, and must never
// allocate far more memory than the size of the file.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "base/error.h"
#include "tensor/files/gguf.h"
#include "tensor/files/gguf_writer.h"
#include "tensor/files/safetensors.h"

namespace {
size_t largest_allocation = 0;

void* allocate_or_null(size_t size) noexcept {
  largest_allocation = std::max(largest_allocation, size);
  return std::malloc(std::max<size_t>(size, 1));
}
void* allocate(size_t size) {
  void* memory = allocate_or_null(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace

void* operator new(size_t size) { return allocate(size); }
void* operator new[](size_t size) { return allocate(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return allocate_or_null(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return allocate_or_null(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace quire {
namespace {

constexpr uint64_t kExtremeValues[] = {0,
                                       1,
                                       2,
                                       13,
                                       ~uint64_t{0},
                                       (uint64_t{1} << 31) - 1,
                                       (uint64_t{1} << 31) + 1,
                                       uint64_t{1} << 32,
                                       uint64_t{1} << 61,
                                       (uint64_t{1} << 63) - 1,
                                       uint64_t{1} << 63,
                                       ~uint64_t{0} - 31};

size_t touch(const TensorMap& tensors) {
  size_t sum = 0;
  for (const auto& [name, view] : tensors) {
    sum += name.size() + static_cast<size_t>(view.rows() + view.num_elements());
    for (size_t i = 0; i < view.size_bytes; ++i) sum += static_cast<size_t>(view.data[i]);
  }
  return sum;
}

// Reads every value as every type.
size_t touch(const GgufFile& file) {
  size_t sum = touch(file.tensors());
  for (const auto& [key, value] : file.metadata()) {
    const auto attempt = [&](auto&& action) {
      try {
        sum += static_cast<size_t>(action());
      } catch (const Error&) {
      }
    };
    attempt([&] { return file.get_int(key); });
    attempt([&] { return file.get_double(key) > 0; });
    attempt([&] { return file.get_bool(key); });
    attempt([&] { return file.get_string(key).size(); });
    attempt([&] { return file.get_strings(key).size(); });
    attempt([&] { return file.get_floats(key).size(); });
    attempt([&] { return file.get_ints(key).size(); });
  }
  return sum;
}

// Opens `bytes` in memory of exactly their size, so that AddressSanitizer finds a read beyond the end.
template <typename File>
bool opens(const std::string& bytes) {
  auto* memory = static_cast<std::byte*>(std::malloc(std::max<size_t>(bytes.size(), 1)));
  std::memcpy(memory, bytes.data(), bytes.size());
  bool opened = false;
  largest_allocation = 0;
  try {
    const File file = File::from_bytes({memory, bytes.size()}, "corrupted");
    if constexpr (std::is_same_v<File, GgufFile>) {
      touch(file);
    } else {
      touch(file.tensors());
    }
    opened = true;
  } catch (const Error&) {
  }
  EXPECT_LE(largest_allocation, 16 * bytes.size() + 4096);
  std::free(memory);
  return opened;
}

// Returns how many of the corrupted files were accepted: nothing in these files contradicts the extreme value.
template <typename File>
int open_corrupted(const std::string& valid, size_t header_bytes) {
  int num_accepted = 0;
  for (size_t at = 0; at < header_bytes; ++at) {
    for (const uint64_t extreme : kExtremeValues) {
      for (const size_t width : {1, 4, 8}) {
        if (at + width > header_bytes) continue;
        std::string corrupted = valid;
        std::memcpy(corrupted.data() + at, &extreme, width);
        num_accepted += opens<File>(corrupted);
      }
    }
  }
  return num_accepted;
}

std::string valid_gguf() {
  GgufWriter writer;
  writer.add_string("general.architecture", "llama");
  writer.add_uint32("general.alignment", 32);
  writer.add_uint64("u", 7);
  writer.add_bool("flag", true);
  writer.add_strings("tokens", std::vector<std::string>{"a", "", "bc"});
  writer.add_floats("scores", std::vector<float>{1, 2});
  writer.add_ints("types", std::vector<int32_t>{1, 2, 3});
  const std::vector<float> values(64, 0.5f);
  writer.add_tensor("q", Format::kQ4_0, std::vector<int64_t>{2, 32}, values);
  writer.add_tensor("f", Format::kF32, std::vector<int64_t>{2, 2, 4}, std::span(values).first(16));
  return writer.to_bytes();
}

TEST(CorruptHeaders, OfGgufAreReadSafelyOrRefused) {
  const std::string valid = valid_gguf();
  ASSERT_TRUE(opens<GgufFile>(valid));
  const size_t data_bytes = 64 + 64;
  const int num_accepted = open_corrupted<GgufFile>(valid, valid.size() - data_bytes);
  EXPECT_GT(num_accepted, 0);
  for (size_t length = 0; length < valid.size(); ++length) EXPECT_FALSE(opens<GgufFile>(valid.substr(0, length)));
}

TEST(CorruptHeaders, OfSafetensorsAreReadSafelyOrRefused) {
  const std::string header =
      R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"U8","shape":[],"data_offsets":[24,25]}})";
  const uint64_t length = header.size();
  const std::string valid = std::string(reinterpret_cast<const char*>(&length), 8) + header + std::string(25, '\1');
  ASSERT_TRUE(opens<SafetensorsFile>(valid));
  open_corrupted<SafetensorsFile>(valid, 8 + header.size());
  for (size_t cut = 0; cut < valid.size(); ++cut) EXPECT_FALSE(opens<SafetensorsFile>(valid.substr(0, cut)));
  // Replaces every number in the text by every extreme value.
  for (size_t at = 0; at < header.size(); ++at) {
    if (!std::isdigit(static_cast<unsigned char>(header[at])) ||
        std::isdigit(static_cast<unsigned char>(header[at - 1])))
      continue;
    const size_t end = header.find_first_not_of("0123456789", at);
    for (const uint64_t extreme : kExtremeValues) {
      const std::string text = header.substr(0, at) + std::to_string(extreme) + header.substr(end);
      const uint64_t text_bytes = text.size();
      opens<SafetensorsFile>(std::string(reinterpret_cast<const char*>(&text_bytes), 8) + text + std::string(25, '\1'));
    }
  }
}

}  // namespace
}  // namespace quire
