#include "apps/kv_store_flags.h"

#include <fmt/format.h>
#include <gnu/libc-version.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "apps/flags/values.h"
#include "apps/units.h"
#include "base/build_id.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/log.h"
#include "kernels/select.h"
#include "kvstore/file_store.h"
#include "kvstore/redis_store.h"
#include "kvstore/secret_key.h"
#include "kvstore/stacked_store.h"
#include "models/loading/weight_cache.h"
#include "models/running/model_runner.h"

namespace quire {
namespace {

constexpr uint64_t kDefaultDiskBytes = uint64_t{10} << 30;

// The shapes of all tensors, and of their bytes a page in every 256 KiB and the last one.
uint64_t pieces_of(const Checkpoint& checkpoint) {
  constexpr size_t kPiece = 4096;
  constexpr size_t kDistance = size_t{256} << 10;
  uint64_t sum = weight_samples(checkpoint, SIZE_MAX);
  for (const Checkpoint::NamedTensor& tensor : checkpoint.all_tensors()) {
    const std::span<const std::byte> bytes(tensor.view.data, tensor.view.size_bytes);
    for (size_t at = 0; at < bytes.size(); at += kDistance) {
      sum = checksum64(bytes.subspan(at, std::min(kPiece, bytes.size() - at)), sum);
    }
    sum = checksum64(bytes.last(std::min(kPiece, bytes.size())), sum);
  }
  return sum;
}

// Of all that K and V follow from besides the tokens, so that blocks of another model, program or machine that computes
// otherwise are never taken for this one's. Every tensor is looked at, in pieces: a changed model may have changed one
// in each layer, or some rows.
std::string fingerprint_of(const Checkpoint& checkpoint, const ModelRunner& runner) {
  const RunnerOptions& options = runner.options();
  const std::string config = json::serialize(checkpoint.config());
  const std::string build = build_id();
  if (build.empty()) {
    fail(ErrorCode::kUnsupported,
         "this program was linked without a build id, by which blocks of other builds are told from its own");
  }
  std::string text = fmt::format(
      "build {} libc {}\nconfiguration {:016x}\nweights {:016x} as {}\nkernels {} {} {} ranks {}\nK {} V {} hadamard "
      "{}\n",
      build, gnu_get_libc_version(), checksum64(std::as_bytes(std::span(config))), pieces_of(checkpoint),
      options.weight_format ? weight_format(*options.weight_format).name : "in the file", options.device, runner.isa(),
      activations_name(options.activations), options.tensor_parallel, weight_format(options.k_format).name,
      weight_format(options.v_format).name, options.kv_hadamard);
  for (const KvGroupPlan& group : runner.plan().kv_groups) {
    text += fmt::format("group: layers {}, window {}, bytes {}\n", group.num_layers, group.window, group.block_bytes);
  }
  return text;
}

// The bytes of a block of each group, of all ranks.
std::vector<uint64_t> payload_bytes(ModelRunner& runner) {
  std::vector<uint64_t> bytes;
  for (size_t g = 0; g < runner.plan().kv_groups.size(); ++g) {
    uint64_t sum = 0;
    for (const std::span<std::byte> part : runner.block_parts(static_cast<int>(g), 0)) sum += part.size();
    bytes.push_back(sum);
  }
  return bytes;
}

std::unique_ptr<BlockStore> open_disk(FileStore::Options options) {
  auto store = std::make_unique<FileStore>(options);
  const BlockStore::Statistics found = store->statistics();
  log::info("KV blocks on disk: {} of {}, {} blocks from before, by {}", options.path.string(),
            format_bytes(found.capacity_bytes), found.num_blocks, store->method());
  return store;
}

}  // namespace

void KvStoreFlags::add(Command& command) {
  command.add({.title = "KV cache", .has_environment = true},
              {{.names = "--kv-disk",
                .value = text(disk, "FILE"),
                .help = "Keep KV blocks in this file too, so that prompts are found again after a restart",
                .default_text = "none"},
               {.names = "--kv-disk-size",
                .value = gibibytes(disk_bytes, uint64_t{1} << 20),
                .help = "The size of that file, for example 512MiB; a number alone is GiB",
                .default_text = "10GiB"},
               {.names = "--kv-store",
                .value = text(server, "URL"),
                .help = "Share KV blocks with other servers through a Redis or Valkey: redis://HOST:PORT",
                .default_text = "none"},
               {.names = "--kv-secret",
                .value = text(secret, "FILE"),
                .help = "16 random bytes under which blocks are kept, equal where they are shared; made with mode 600 "
                        "if there is no such file",
                .default_text = "the name of --kv-disk with .key"}});
}

HashKey KvStoreFlags::key() const {
  if (!server.empty() && secret.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "--kv-store needs --kv-secret FILE, with the same 16 bytes on every server that shares blocks");
  }
  return secret_of_file(secret.empty() ? disk + ".key" : secret);
}

std::string KvStoreFlags::tenant_secret() const {
  if (disk.empty() && server.empty()) return {};
  std::string bytes;
  for (const std::string_view half : {"tenants, first half", "tenants, second half"}) {
    const PrefixHash hash = siphash128(key(), std::as_bytes(std::span(half)));
    bytes.append(reinterpret_cast<const char*>(&hash), sizeof(hash));
  }
  return bytes;
}

void KvStoreFlags::apply_to(EngineOptions& options, const Checkpoint& checkpoint) const {
  if (disk_bytes && disk.empty())
    fail(ErrorCode::kInvalidArgument, "--kv-disk-size says nothing without --kv-disk FILE");
  if (disk.empty() && server.empty()) {
    if (secret.empty()) return;
    fail(ErrorCode::kInvalidArgument, "--kv-secret says nothing without --kv-disk FILE or --kv-store URL");
  }
  if (!options.scheduler.prefix_caching) {
    fail(ErrorCode::kInvalidArgument,
         "--kv-disk and --kv-store keep what the prefix cache finds; leave out --no-enable-prefix-caching");
  }
  options.scheduler.hash_key = key();
  std::optional<RedisAddress> address;
  if (!server.empty()) address = parse_redis_url(server);
  options.make_store = [path = disk, capacity = disk_bytes.value_or(kDefaultDiskBytes), address, key = key(),
                        &checkpoint](ModelRunner& runner) -> std::unique_ptr<BlockStore> {
    if (runner.options().device != "cpu") {
      fail(ErrorCode::kUnsupported, "--kv-disk and --kv-store work with --device cpu only; the model runs on {}",
           runner.device());
    }
    const std::string fingerprint = fingerprint_of(checkpoint, runner);
    std::vector<std::unique_ptr<BlockStore>> stores;
    if (!path.empty()) {
      stores.push_back(open_disk({.path = path,
                                  .capacity_bytes = capacity,
                                  .secret = key,
                                  .fingerprint = fingerprint,
                                  .payload_bytes = payload_bytes(runner)}));
    }
    if (address) {
      log::info("KV blocks are shared through {}", address->printed());
      stores.push_back(std::make_unique<RedisStore>(RedisStore::Options{
          .address = *address, .secret = key, .fingerprint = fingerprint, .payload_bytes = payload_bytes(runner)}));
    }
    if (stores.size() == 1) return std::move(stores[0]);
    return std::make_unique<StackedStore>(std::move(stores));
  };
}

}  // namespace quire
