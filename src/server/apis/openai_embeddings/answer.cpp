#include "server/apis/openai_embeddings/answer.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "server/apis/json_text.h"

namespace quire {
namespace {

void append_base64(std::string& out, std::span<const float> vector) { out += '"' + base64_of(vector) + '"'; }

std::string write(const Embeddings& embeddings, void (*append)(std::string& out, std::span<const float> vector)) {
  std::string body = "{\"object\":\"list\",\"data\":[";
  for (size_t i = 0; i < embeddings.vectors.size(); ++i) {
    body += fmt::format("{}{{\"object\":\"embedding\",\"index\":{},\"embedding\":", i > 0 ? "," : "", i);
    append(body, embeddings.vectors[i]);
    body += '}';
  }
  body += "],\"model\":" + json_string(embeddings.model);
  if (embeddings.is_truncated) body += ",\"truncated\":true";
  return body + fmt::format(",\"usage\":{{\"prompt_tokens\":{0},\"total_tokens\":{0}}}}}", embeddings.total_tokens());
}

}  // namespace

std::string base64_of(std::span<const float> vector) {
  static_assert(std::endian::native == std::endian::little, "clients expect little-endian floats");
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<unsigned char> bytes(vector.size() * sizeof(float));
  if (!bytes.empty()) std::memcpy(bytes.data(), vector.data(), bytes.size());
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) group = group << 8 | (j < count ? bytes[i + j] : 0u);
    for (size_t j = 0; j < 4; ++j) out += j <= count ? kDigits[group >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

std::string write_openai_embeddings(const Embeddings& embeddings) { return write(embeddings, append_json_numbers); }
std::string write_openai_embeddings_base64(const Embeddings& embeddings) { return write(embeddings, append_base64); }

}  // namespace quire
