#include "tensor/files/foreign.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/error.h"

namespace quire {
namespace {

using std::string_view_literals::operator""sv;

struct Signature {
  std::string_view prefix;
  const char* description;
};

constexpr Signature kSignatures[] = {
    {"GGUF"sv, "is a GGUF file"},
    {"PK\x03\x04"sv, "is a ZIP archive, as PyTorch checkpoints (.bin, .pt) are; convert it to safetensors or GGUF"},
    {"\x80\x02"sv, "is a Python pickle, which can run code when loaded; convert it to safetensors or GGUF"},
    {"version https://git-lfs"sv,
     "is a Git LFS pointer, the weights were not downloaded; run `git lfs pull` beside it"},
    {"<!"sv, "is a web page, so the download gave a login or error page; download it again"},
    {"<html"sv, "is a web page, so the download gave a login or error page; download it again"},
    {"lmgg"sv, "is in the ggml format of before GGUF; convert the original model again"},
    {"fmgg"sv, "is in the ggml format of before GGUF; convert the original model again"},
    {"tjgg"sv, "is in the ggml format of before GGUF; convert the original model again"},
    {"algg"sv, "is in the ggml format of before GGUF; convert the original model again"},
    {"\x89HDF"sv, "is an HDF5 file, as Keras writes; convert it to safetensors or GGUF"},
    {"\x1f\x8b"sv, "is compressed with gzip; unpack it first"},
    {"BZh"sv, "is compressed with bzip2; unpack it first"},
    {"\xfd"
     "7zXZ"sv,
     "is compressed with xz; unpack it first"},
    {"\x28\xb5\x2f\xfd"sv, "is compressed with zstd; unpack it first"},
    {"{"sv, "is JSON text"},
};

}  // namespace

std::string describe_foreign(std::span<const std::byte> bytes) {
  if (bytes.empty()) return "is empty";
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 64));
  for (const Signature& signature : kSignatures) {
    if (text.starts_with(signature.prefix)) return signature.description;
  }
  if (text.size() > 8 && text[8] == '{') return "looks like a safetensors file";
  if (text.find_first_not_of('\0') == text.npos) return "begins with zeros, as interrupted downloads do";
  std::string hex;
  for (const char c : text.substr(0, 8)) hex += fmt::format(" {:02x}", static_cast<unsigned char>(c));
  return "begins with the bytes" + hex;
}

void refuse_directory(const std::filesystem::path& path, const char* expected) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    fail(ErrorCode::kInvalidArgument, "{} is a directory; expected {}", path.string(), expected);
  }
}

}  // namespace quire
