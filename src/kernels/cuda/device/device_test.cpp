#include "kernels/cuda/device/device.h"

#include <cstring>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/device/device_array.h"
#include "kernels/cuda/device/staging.h"

namespace quire {
namespace {

class CudaDeviceTest : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    if (!IsSkipped()) device_ = make_cuda_device();
  }

  std::vector<uint32_t> download(const std::byte* from, size_t count) {
    std::vector<uint32_t> values(count, 0xdeadbeef);
    device_->download(reinterpret_cast<std::byte*>(values.data()), from, count * sizeof(uint32_t));
    return values;
  }

  std::unique_ptr<Device> device_;
};

std::vector<uint32_t> numbers(size_t count, uint32_t first) {
  std::vector<uint32_t> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

const std::byte* bytes_of(const std::vector<uint32_t>& values) {
  return reinterpret_cast<const std::byte*>(values.data());
}

TEST_F(CudaDeviceTest, DescribesItself) {
  EXPECT_FALSE(device_->is_host());
  EXPECT_NE(device_->stream(), nullptr);
  EXPECT_NE(device_->description().find("compute capability"), std::string::npos) << device_->description();
}

TEST_F(CudaDeviceTest, MemoryIsZeroedAndCounted) {
  const uint64_t before = device_->free_bytes();
  DeviceBuffer memory(*device_, 64 << 20);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % 256, 0u);
  EXPECT_EQ(download(memory.data(), 1000), std::vector<uint32_t>(1000, 0));
  EXPECT_LE(device_->free_bytes() + (60 << 20), before);
}

TEST_F(CudaDeviceTest, TooMuchMemoryIsRefusedWithTheSizes) {
  try {
    device_->allocate(size_t{1} << 50);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
    EXPECT_NE(std::string(error.what()).find("1073741824.0 MiB of memory needed"), std::string::npos) << error.what();
  }
  // The device still works.
  const DeviceBuffer memory(*device_, 4096);
}

TEST_F(CudaDeviceTest, AnErrorIsReportedOnce) {
  void* memory = nullptr;
  EXPECT_THROW(check_gpu(cudaMalloc(&memory, size_t{1} << 50), "asking for too much"), Error);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(CudaDeviceTest, UploadsOfAllSizes) {
  const size_t buffer = UploadStaging::kBufferBytes / sizeof(uint32_t);
  for (size_t count : {size_t{1}, size_t{15}, size_t{5000}, buffer - 1, buffer, 3 * buffer + 77}) {
    DeviceBuffer memory(*device_, count * sizeof(uint32_t));
    std::vector<uint32_t> values = numbers(count, static_cast<uint32_t>(count));
    const std::vector<uint32_t> sent = values;
    device_->upload(memory.data(), bytes_of(values), count * sizeof(uint32_t));
    std::ranges::fill(values, 0);  // the caller may change it again
    EXPECT_TRUE(download(memory.data(), count) == sent) << count;
  }
}

TEST_F(CudaDeviceTest, ManySmallUploadsKeepTheirOrder) {
  DeviceBuffer memory(*device_, 1 << 20);
  std::vector<uint32_t> expected((1 << 20) / sizeof(uint32_t));
  for (uint32_t i = 0; i < 100; ++i) {
    const std::vector<uint32_t> values = numbers(200000, i);  // together more than both buffers
    const size_t at = i * 613;
    device_->upload(memory.data() + at * sizeof(uint32_t), bytes_of(values), values.size() * sizeof(uint32_t));
    std::ranges::copy(values, expected.begin() + static_cast<int64_t>(at));
  }
  EXPECT_TRUE(download(memory.data(), expected.size()) == expected);
}

TEST_F(CudaDeviceTest, UploadsInWholeUnits) {
  UploadStaging staging(static_cast<GpuStream*>(device_->stream())->stream);
  const size_t unit = 3 << 20;
  DeviceBuffer memory(*device_, 13 * unit + 8);
  size_t expected_first = 0;
  staging.upload(memory.data(), memory.size_bytes(), unit, [&](size_t first, std::span<std::byte> piece) {
    EXPECT_EQ(first, expected_first);
    EXPECT_EQ(first % unit, 0u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(piece.data()) % 64, 0u);
    EXPECT_TRUE(piece.size() % unit == 0 || first + piece.size() == 13 * unit + 8);
    expected_first += piece.size();
    for (size_t i = 0; i < piece.size(); i += 4) {
      const auto value = static_cast<uint32_t>(first + i);
      std::memcpy(piece.data() + i, &value, sizeof value);
    }
  });
  const std::vector<uint32_t> got = download(memory.data(), memory.size_bytes() / 4);
  for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], i * 4);
}

TEST_F(CudaDeviceTest, CopiesWithinTheDevice) {
  const DeviceBuffer from(*device_, 4000);
  DeviceBuffer to(*device_, 4000);
  const std::vector<uint32_t> values = numbers(1000, 5);
  DeviceBuffer source(*device_, 4000);
  device_->upload(source.data(), bytes_of(values), 4000);
  device_->copy(to.data(), source.data(), 4000);
  EXPECT_EQ(download(to.data(), 1000), values);
}

// A replay copies from the same addresses, with their contents at that time.
TEST_F(CudaDeviceTest, RecordingsReadWhatIsThereWhenReplayed) {
  StagingBuffer staging(*device_, 4000);
  DeviceBuffer first(*device_, 4000);
  DeviceBuffer second(*device_, 4000);
  int calls = 0;
  auto step = [&] {
    ++calls;
    device_->upload_staged(first.data(), staging.bytes().data(), 4000);
    device_->copy(second.data(), first.data(), 4000);
  };
  uint32_t round = 0;
  for (uint64_t key : {1, 1, 2, 1, 1, 0, 0, 2, 2}) {
    const std::vector<uint32_t> values = numbers(1000, 100 * ++round);
    std::memcpy(staging.bytes().data(), values.data(), 4000);
    device_->run(key, step);
    EXPECT_EQ(download(second.data(), 1000), values);
  }
  EXPECT_EQ(calls, 6);  // keys 1 and 2 twice each, key 0 always
}

TEST_F(CudaDeviceTest, AFailedRecordingIsDropped) {
  DeviceBuffer memory(*device_, 4000);
  DeviceBuffer to(*device_, 4000);
  const std::vector<uint32_t> values = numbers(1000, 5);
  device_->upload(memory.data(), bytes_of(values), 4000);
  int calls = 0;
  bool throws = true;
  const auto step = [&] {
    ++calls;
    device_->copy(to.data(), memory.data(), 4000);
    if (throws) throw Error(ErrorCode::kIo, "no");
  };
  EXPECT_THROW(device_->run(9, step), Error);
  throws = false;
  device_->run(9, step);
  throws = true;
  EXPECT_THROW(device_->run(9, step), Error);  // while recording
  throws = false;
  const std::vector<uint32_t> others = numbers(1000, 77);
  device_->upload(memory.data(), bytes_of(others), 4000);
  device_->run(9, step);
  EXPECT_EQ(download(to.data(), 1000), others);
  EXPECT_EQ(calls, 4);
  device_->run(9, step);
  EXPECT_EQ(calls, 4);
}

}  // namespace
}  // namespace quire
