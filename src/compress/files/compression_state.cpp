#include "compress/files/compression_state.h"

#include <algorithm>
#include <cstring>
#include <system_error>

#include "base/checksum.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "base/replace_file.h"

namespace quire {
namespace {

constexpr uint64_t kMagic = 0x3150'4d4f'4345'5551;  // "QUECOMP1"

struct Head {
  uint64_t magic = kMagic;
  uint64_t task_bytes = 0;
  uint64_t num_layers_done = 0;
  uint64_t num_floats = 0;
  uint64_t checksum = 0;  // of task and floats
};

uint64_t checksum_of(std::string_view task, std::span<const float> residual) {
  return checksum64(std::as_bytes(std::span(task))) ^ checksum64(std::as_bytes(residual));
}

}  // namespace

std::optional<CompressionState> CompressionStateFile::read(bool may_be_lost) const {
  std::error_code error;
  if (!std::filesystem::exists(path_, error)) return std::nullopt;
  const MappedFile file = MappedFile::open(path_);
  const std::span<const std::byte> bytes = file.bytes();
  Head head;
  if (bytes.size() < sizeof head) return std::nullopt;
  std::memcpy(&head, bytes.data(), sizeof head);
  const uint64_t rest = bytes.size() - sizeof head;
  if (head.magic != kMagic || head.task_bytes > rest || head.num_floats > rest / sizeof(float) ||
      head.task_bytes + head.num_floats * sizeof(float) != rest) {
    return std::nullopt;
  }
  const std::string task(reinterpret_cast<const char*>(bytes.data() + sizeof head), head.task_bytes);
  CompressionState state = {.num_layers_done = static_cast<int>(head.num_layers_done), .residual = {}};
  state.residual.resize(head.num_floats);
  const std::span<std::byte> floats = std::as_writable_bytes(std::span(state.residual));  // none without a text
  std::ranges::copy(bytes.last(floats.size()), floats.begin());
  if (checksum_of(task, state.residual) != head.checksum) return std::nullopt;
  if (task != task_ && may_be_lost) return std::nullopt;
  if (task != task_) {
    fail(ErrorCode::kInvalidArgument,
         "'{}' was left unfinished by another command; give that one again to go on with it, or begin a new one with "
         "--force",
         printable(path_.parent_path().string(), 400));
  }
  return state;
}

void CompressionStateFile::write(int num_layers_done, std::span<const float> residual) const {
  const Head head = {.task_bytes = task_.size(),
                     .num_layers_done = static_cast<uint64_t>(num_layers_done),
                     .num_floats = residual.size(),
                     .checksum = checksum_of(task_, residual)};
  const bool is_alone = replace_file(
      path_, {std::as_bytes(std::span(&head, 1)), std::as_bytes(std::span(task_)), std::as_bytes(residual)});
  if (!is_alone) {
    fail(ErrorCode::kIo, "another process writes '{}' too", printable(path_.parent_path().string(), 400));
  }
}

void CompressionStateFile::remove() const {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace quire
