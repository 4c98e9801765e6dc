#include "apps/kv_store_flags.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"

namespace quire {
namespace {

TEST(KvStoreFlags, TenantsFollowFromTheSecretOfTheStore) {
  std::string folder = testing::TempDir() + "quire_kv_store_flags_XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const KvStoreFlags none;
  EXPECT_EQ(none.tenant_secret(), "");
  KvStoreFlags first;
  first.disk = folder + "/first";
  KvStoreFlags second;
  second.disk = folder + "/second";
  const std::string secret = first.tenant_secret();
  EXPECT_EQ(secret.size(), 32);
  EXPECT_NE(secret.substr(0, 16), secret.substr(16));
  EXPECT_EQ(first.tenant_secret(), secret) << "as after a restart";
  EXPECT_NE(second.tenant_secret(), secret);
  KvStoreFlags shared;
  shared.server = "redis://localhost";
  EXPECT_THROW(shared.tenant_secret(), Error) << "servers that share blocks need one secret";
  shared.secret = first.disk + ".key";
  EXPECT_EQ(shared.tenant_secret(), secret);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace quire
