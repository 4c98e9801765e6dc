#include "kvstore/secret_key.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

#include "base/error.h"

namespace quire {
namespace {

constexpr size_t kSecretBytes = sizeof(HashKey);

class SecretFile {
 public:
  SecretFile(const std::filesystem::path& path, int flags) : file_(::open(path.c_str(), flags, 0600)) {}
  SecretFile(const SecretFile&) = delete;
  SecretFile& operator=(const SecretFile&) = delete;
  ~SecretFile() {
    if (file_ >= 0) ::close(file_);
  }
  int number() const { return file_; }

 private:
  int file_;
};

[[noreturn]] void refuse_secret(const std::filesystem::path& path, const char* what) {
  fail(ErrorCode::kIo, "the secret '{}' cannot be {}: {}", printable(path.string(), 400), what, std::strerror(errno));
}

// 32 hexadecimal digits and perhaps a line's end, as `openssl rand -hex 16` writes them.
bool read_hexadecimal(std::string_view text, HashKey& key) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text.size() != 2 * kSecretBytes) return false;
  const auto read = [](std::string_view digits, uint64_t& word) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), word, 16);
    return error == std::errc{} && end == digits.data() + digits.size();
  };
  return read(text.substr(0, kSecretBytes), key.high) && read(text.substr(kSecretBytes), key.low);
}

HashKey read_secret(const std::filesystem::path& path, int file) {
  struct stat status = {};
  if (::fstat(file, &status) != 0) refuse_secret(path, "read");
  if (!S_ISREG(status.st_mode)) {
    fail(ErrorCode::kInvalidArgument, "the secret '{}' is no regular file", printable(path.string(), 400));
  }
  if ((status.st_mode & 077) != 0) {
    fail(
        ErrorCode::kInvalidArgument,
        "the secret '{}' has mode {:o}: others may use it; run chmod 600 on it, and replace it if somebody has read it",
        printable(path.string(), 400), status.st_mode & 0777);
  }
  std::array<char, 2 * kSecretBytes + 2> content = {};
  const ssize_t count = ::read(file, content.data(), content.size());
  if (count < 0) refuse_secret(path, "read");
  HashKey key;
  const std::string_view text(content.data(), static_cast<size_t>(count));
  if (text.size() == kSecretBytes) {
    std::memcpy(&key, text.data(), kSecretBytes);
  } else if (!read_hexadecimal(text, key)) {
    fail(ErrorCode::kInvalidArgument,
         "the secret '{}' holds neither 16 bytes nor 32 hexadecimal digits: delete it, and one is made",
         printable(path.string(), 400));
  }
  return key;
}

}  // namespace

HashKey secret_of_file(const std::filesystem::path& path) {
  constexpr int kHow = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  const SecretFile existing(path, O_RDONLY | kHow);
  if (existing.number() >= 0) return read_secret(path, existing.number());
  if (errno != ENOENT) refuse_secret(path, "opened");
  // Made under another name and linked: a process that opens it at this moment must not find it empty.
  std::filesystem::path made_path = path;
  made_path += "." + std::to_string(::getpid()) + ".partial";
  const HashKey key = random_hash_key();
  {
    ::unlink(made_path.c_str());
    const SecretFile made(made_path, O_WRONLY | O_CREAT | O_EXCL | kHow);
    if (made.number() < 0) refuse_secret(path, "made");
    if (::write(made.number(), &key, sizeof(key)) != static_cast<ssize_t>(sizeof(key))) {
      ::unlink(made_path.c_str());
      refuse_secret(path, "written");
    }
  }
  const int rc = ::link(made_path.c_str(), path.c_str());
  const int error = errno;
  ::unlink(made_path.c_str());
  if (rc == 0) return key;
  errno = error;
  if (error != EEXIST) refuse_secret(path, "made");
  const SecretFile other(path, O_RDONLY | kHow);
  if (other.number() < 0) refuse_secret(path, "opened");
  return read_secret(path, other.number());
}

}  // namespace quire
