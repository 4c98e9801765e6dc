#include "kvstore/record.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <string>

#include "base/check.h"

namespace quire {
namespace {

constexpr uint64_t kRecordMagic = 0x3156'4b65'7269'7551;  // "QuireKV1"
constexpr size_t kCodeBytes = 16;
constexpr size_t kMostForOneUpdate = size_t{1} << 30;  // OpenSSL counts in int

struct RecordHeader {
  uint64_t magic = kRecordMagic;
  uint64_t payload_bytes = 0;
  PrefixHash hash;
  int32_t group = 0;
  std::byte nonce[12] = {};  // never used twice under one key: random
  std::byte code[kCodeBytes] = {};
};
static_assert(sizeof(RecordHeader) == RecordSeal::kHeaderBytes);

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

void add_to_code(EVP_CIPHER_CTX* cipher, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const size_t count = std::min(bytes.size(), kMostForOneUpdate);
    int written = 0;
    CHECK(EVP_EncryptUpdate(cipher, nullptr, &written, reinterpret_cast<const unsigned char*>(bytes.data()),
                            static_cast<int>(count)) == 1);
    bytes = bytes.subspan(count);
  }
}

// The code of the header without its nonce and code, the parent, the tokens and the payload. Lengths are in it.
std::array<std::byte, kCodeBytes> code_of(const std::array<std::byte, 16>& key, const RecordHeader& header,
                                          const StoredBlock& block, std::span<const std::byte> payload) {
  const Cipher cipher(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  CHECK(cipher != nullptr);
  CHECK(EVP_EncryptInit_ex(cipher.get(), EVP_aes_128_gcm(), nullptr, reinterpret_cast<const unsigned char*>(key.data()),
                           reinterpret_cast<const unsigned char*>(header.nonce)) == 1);
  RecordHeader named = header;
  std::memset(named.nonce, 0, sizeof(named.nonce));
  std::memset(named.code, 0, sizeof(named.code));
  const uint64_t num_tokens = block.tokens.size();
  add_to_code(cipher.get(), std::as_bytes(std::span(&named, 1)));
  add_to_code(cipher.get(), std::as_bytes(std::span(&block.parent, 1)));
  add_to_code(cipher.get(), std::as_bytes(std::span(&num_tokens, 1)));
  add_to_code(cipher.get(), std::as_bytes(block.tokens));
  add_to_code(cipher.get(), payload);
  int written = 0;
  unsigned char end[kCodeBytes] = {};
  std::array<std::byte, kCodeBytes> code = {};
  CHECK(EVP_EncryptFinal_ex(cipher.get(), end, &written) == 1);
  CHECK(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kCodeBytes, code.data()) == 1);
  return code;
}

PrefixHash derived(const HashKey& secret, std::string_view purpose, std::string_view fingerprint) {
  const std::string text = std::string(purpose) + '\0' + std::string(fingerprint);
  return siphash128(secret, std::as_bytes(std::span(text)));
}

}  // namespace

RecordSeal::RecordSeal(const HashKey& secret, std::string_view fingerprint)
    : key_(std::bit_cast<std::array<std::byte, 16>>(derived(secret, "seal of records", fingerprint))),
      tag_(derived(secret, "tag of records", fingerprint)) {}

void RecordSeal::seal(std::span<std::byte> record, const StoredBlock& block) const {
  CHECK(record.size() > kHeaderBytes);
  const auto payload = record.subspan(kHeaderBytes);
  RecordHeader header{.payload_bytes = payload.size(), .hash = block.id.hash, .group = block.id.group};
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(header.nonce), sizeof(header.nonce)) == 1);
  const auto code = code_of(key_, header, block, payload);
  std::memcpy(header.code, code.data(), code.size());
  std::memcpy(record.data(), &header, sizeof(header));
}

bool RecordSeal::proves(std::span<const std::byte> record, const StoredBlock& block) const {
  if (record.size() <= kHeaderBytes) return false;
  const auto payload = record.subspan(kHeaderBytes);
  RecordHeader header;
  std::memcpy(&header, record.data(), sizeof(header));
  if (header.magic != kRecordMagic || header.payload_bytes != payload.size() || header.hash != block.id.hash ||
      header.group != block.id.group) {
    return false;
  }
  const auto code = code_of(key_, header, block, payload);
  return CRYPTO_memcmp(code.data(), header.code, code.size()) == 0;
}

}  // namespace quire
