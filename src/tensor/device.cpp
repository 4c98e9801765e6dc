#include "tensor/device.h"

#include <cstring>
#include <limits>
#include <map>
#include <utility>

namespace quire {
namespace {

class HostDevice : public Device {
 public:
  explicit HostDevice(PageSize pages) : pages_(pages) {}

  std::string description() const override { return "cpu"; }
  bool is_host() const override { return true; }
  uint64_t free_bytes() const override { return std::numeric_limits<uint64_t>::max(); }
  void* stream() override { return nullptr; }

  std::byte* allocate(size_t size_bytes) override {
    AlignedBuffer buffer(size_bytes, pages_);
    std::byte* const data = buffer.data();
    if (data != nullptr) buffers_.emplace(data, std::move(buffer));
    return data;
  }
  void release(std::byte* memory) noexcept override { buffers_.erase(memory); }
  void populate(std::byte* memory, const std::stop_token& stop) override {
    if (const auto found = buffers_.find(memory); found != buffers_.end()) found->second.populate_pages(stop);
  }
  void spread_over_nodes(std::byte* memory) override {
    if (const auto found = buffers_.find(memory); found != buffers_.end()) found->second.spread_over_nodes();
  }
  void provide_page(std::byte* at) override { *at = {}; }
  std::byte* allocate_staging(size_t) override { return nullptr; }
  void release_staging(std::byte*) noexcept override {}

  void upload(std::byte* to, const std::byte* from, size_t size_bytes) override { copy(to, from, size_bytes); }
  void upload_staged(std::byte* to, const std::byte* from, size_t size_bytes) override { copy(to, from, size_bytes); }
  void download_staged(std::byte* to, const std::byte* from, size_t size_bytes) override { copy(to, from, size_bytes); }
  void download(std::byte* to, const std::byte* from, size_t size_bytes) override { copy(to, from, size_bytes); }
  void copy(std::byte* to, const std::byte* from, size_t size_bytes) override {
    if (to != from && size_bytes > 0) std::memcpy(to, from, size_bytes);
  }
  void synchronize() override {}
  void mark(int) override {}
  void wait_for(int) override {}
  bool records() const override { return false; }
  void run(uint64_t, const std::function<void()>& body) override { body(); }

 private:
  PageSize pages_;
  std::map<const std::byte*, AlignedBuffer> buffers_;
};

}  // namespace

std::unique_ptr<Device> make_host_device(PageSize pages) { return std::make_unique<HostDevice>(pages); }

DeviceBuffer::DeviceBuffer(Device& device, size_t size_bytes)
    : device_(&device), data_(device.allocate(size_bytes)), size_bytes_(size_bytes) {}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : device_(std::exchange(other.device_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

DeviceBuffer::~DeviceBuffer() {
  if (device_ != nullptr) device_->release(data_);
}

StagingBuffer::StagingBuffer(Device& device, size_t size_bytes) : device_(&device) {
  std::byte* const memory = device.allocate_staging(size_bytes);
  if (memory != nullptr) memory_ = {memory, size_bytes};
}

StagingBuffer::StagingBuffer(StagingBuffer&& other) noexcept
    : device_(std::exchange(other.device_, nullptr)), memory_(std::exchange(other.memory_, {})) {}

StagingBuffer& StagingBuffer::operator=(StagingBuffer&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(memory_, other.memory_);
  return *this;
}

StagingBuffer::~StagingBuffer() {
  if (device_ != nullptr) device_->release_staging(memory_.data());
}

}  // namespace quire
