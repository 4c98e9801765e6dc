#include "server/access/auth.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include <array>
#include <chrono>
#include <mutex>

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "server/http/wire.h"

namespace quire {
namespace {

using Digest = std::array<unsigned char, SHA256_DIGEST_LENGTH>;
using Keys = std::vector<Digest>;
using Clock = std::chrono::steady_clock;

constexpr size_t kMaxKeyFileBytes = 1 << 20;
constexpr size_t kMaxKeyBytes = 1024;
constexpr size_t kTenantBytes = 8;

Digest digest_of(std::string_view text) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

void add_key(Keys& keys, std::string_view key, std::string_view where) {
  if (key.empty() || key.size() > kMaxKeyBytes) {
    fail(ErrorCode::kInvalidArgument, "{} has a key of {} characters; 1 to {} are expected", where, key.size(),
         kMaxKeyBytes);
  }
  keys.push_back(digest_of(key));
}

Keys read_keys(const std::string& path) {
  const std::string text = read_text_file(path, kMaxKeyFileBytes);
  Keys keys;
  size_t line_number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = http::without_blanks(std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
    ++line_number;
    if (line.empty() || line.starts_with('#')) continue;
    const size_t colon = line.find(':');
    const std::string_view key = colon == std::string_view::npos ? line : http::without_blanks(line.substr(colon + 1));
    add_key(keys, key, fmt::format("--api-key-file '{}', line {},", printable(path), line_number));
  }
  if (keys.empty()) {
    fail(ErrorCode::kInvalidArgument, "--api-key-file '{}' holds no key; write one per line, as KEY or NAME:KEY",
         printable(path));
  }
  return keys;
}

timespec time_of(const std::string& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mtim : timespec{};
}

std::string_view presented_key(const http::Request& request) {
  constexpr std::string_view kScheme = "bearer ";
  const std::string_view authorization = request.header("authorization");
  if (authorization.size() > kScheme.size() &&
      http::equals_ignoring_case(authorization.substr(0, kScheme.size()), kScheme)) {
    return http::without_blanks(authorization.substr(kScheme.size()));
  }
  const std::string_view key = http::without_blanks(request.header("x-api-key"));
  return key.empty() ? http::without_blanks(request.header("api-key")) : key;  // Azure's name
}

}  // namespace

struct ApiKeys::Impl {
  // The current keys; the file is checked at most once a second.
  std::shared_ptr<const Keys> current() {
    const std::lock_guard lock(mutex);
    const auto now = Clock::now();
    if (key_file.empty() || now - looked < std::chrono::seconds(1)) return keys;
    looked = now;
    const timespec time = time_of(key_file);
    if (time.tv_sec == file_time.tv_sec && time.tv_nsec == file_time.tv_nsec) return keys;
    try {
      load();
      file_time = time;
      log::info("API keys reloaded: {}", keys->size());
    } catch (const Error& error) {
      file_time = time;  // logged once for each change
      log::warning("the previous API keys stay in use: {}", error.what());
    }
    return keys;
  }

  void load() {
    Keys all = fixed;
    if (!key_file.empty()) {
      const Keys more = read_keys(key_file);
      all.insert(all.end(), more.begin(), more.end());
    }
    keys = std::make_shared<const Keys>(std::move(all));
  }

  std::string tenant_of(const Digest& key) const {
    Digest tag;
    unsigned size = 0;
    HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()), key.data(), key.size(), tag.data(), &size);
    std::string tenant;
    for (size_t i = 0; i < kTenantBytes; ++i) tenant += fmt::format("{:02x}", tag[i]);
    return tenant;
  }

  Keys fixed;
  std::string key_file;
  Digest secret;
  std::mutex mutex;
  std::shared_ptr<const Keys> keys;
  timespec file_time = {};
  Clock::time_point looked;
};

ApiKeys::ApiKeys(const std::vector<std::string>& keys, std::string key_file, const std::string& secret)
    : impl_(std::make_unique<Impl>()) {
  impl_->key_file = std::move(key_file);
  for (const std::string& key : keys) add_key(impl_->fixed, key, "--api-key");
  CHECK(secret.empty() || secret.size() == impl_->secret.size());
  std::copy(secret.begin(), secret.end(), impl_->secret.begin());
  if (secret.empty()) CHECK(RAND_bytes(impl_->secret.data(), static_cast<int>(impl_->secret.size())) == 1);
  if (!impl_->key_file.empty()) impl_->file_time = time_of(impl_->key_file);
  impl_->looked = Clock::now();
  impl_->load();
}

ApiKeys::~ApiKeys() = default;

bool ApiKeys::is_required() const { return !impl_->fixed.empty() || !impl_->key_file.empty(); }

std::optional<std::string> ApiKeys::check(const http::Request& request) {
  if (!is_required()) return "";
  const std::shared_ptr<const Keys> keys = impl_->current();
  const Digest presented = digest_of(presented_key(request));
  unsigned matches = 0;
  for (const Digest& key : *keys) matches |= CRYPTO_memcmp(key.data(), presented.data(), key.size()) == 0 ? 1U : 0U;
  const std::string tenant = impl_->tenant_of(presented);  // also for a wrong key, to take the same time
  if (matches == 0) return std::nullopt;
  return tenant;
}

}  // namespace quire
