// Flags of the stores of KV blocks beyond the pool, for commands with an engine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "apps/flags/command.h"
#include "engine/engine.h"
#include "models/loading/checkpoint.h"

namespace quire {

struct KvStoreFlags {
  std::string disk;
  std::optional<uint64_t> disk_bytes;
  std::string server;
  std::string secret;

  void add(Command& command);
  // Gives the engine the stores and their secret, if there are to be any. `checkpoint` must outlive the engine's
  // construction. Throws Error for flags that do not go together and a secret that cannot be used; making the engine
  // throws what they do.
  void apply_to(EngineOptions& options, const Checkpoint& checkpoint) const;
  // By which keys become tenants (server/access/auth.h), so that a key finds its blocks after a restart and at other
  // servers with the secret; empty without a store. Throws Error for a secret that cannot be used.
  std::string tenant_secret() const;

 private:
  HashKey key() const;
};

}  // namespace quire
