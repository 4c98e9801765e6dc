// A block as it lies outside: a header of 64 bytes and the payload. The header has a code over everything that the
// block is, made with a key of the secret and the fingerprint (GMAC: AES-128 in Galois counter mode, NIST SP 800-38D).
// A reader that computes the same code knows that the record was sealed under its own secret and fingerprint for this
// very block and that no bit has changed since. So neither a crash, a damaged disk nor a server that lies can make a
// wrong block, and an index may be stale: a proof needs no trust in where the bytes came from.
//
// The parent and the tokens are in the code but not in the record: the reader has them.
//
// Immutable after construction; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "kvstore/block_store.h"

namespace quire {

class RecordSeal {
 public:
  static constexpr size_t kHeaderBytes = 64;

  RecordSeal(const HashKey& secret, std::string_view fingerprint);

  // Writes the header in front of the payload, which is there already.
  void seal(std::span<std::byte> record, const StoredBlock& block) const;
  // Whether the record is this block.
  bool proves(std::span<const std::byte> record, const StoredBlock& block) const;
  // Names the secret and the fingerprint, and tells nothing about them.
  const PrefixHash& tag() const { return tag_; }

 private:
  std::array<std::byte, 16> key_;
  PrefixHash tag_;
};

}  // namespace quire
