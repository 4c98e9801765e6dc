#include "kernels/cuda/emulator/emulated_runtime.h"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) void(sizeof(address) + sizeof(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) void(sizeof(address) + sizeof(size))
#endif

using Work = std::function<void()>;

struct EmulatedGraph {
  std::vector<Work> work;
};

struct EmulatedStream {
  std::deque<Work> work;
  std::unique_ptr<EmulatedGraph> recording;
};

struct EmulatedEvent {
  cudaStream_t stream = nullptr;
  int64_t recorded = 0;  // how often it was put on a stream
  int64_t reached = 0;
};

namespace {

constexpr int kNumDevices = 4;
constexpr size_t kTotalBytes = size_t{4} << 30;  // of each

struct Device {
  EmulatedStream default_stream;
  std::vector<EmulatedStream*> streams{&default_stream};
  std::map<std::byte*, size_t> memory;
  size_t used_bytes = 0;
  int running = 0;  // nested: a stream that waits runs another one's work
  cudaError_t last_error = cudaSuccess;
};

thread_local int current_device = 0;

Device& device() {
  static Device devices[kNumDevices];
  return devices[current_device];
}

EmulatedStream& of(cudaStream_t stream) { return stream == nullptr ? device().default_stream : *stream; }

cudaError_t failed(cudaError_t error) {
  device().last_error = error;
  return error;
}

// While it lives, device memory can be read and written.
class Running {
 public:
  Running() {
    if (device().running++ > 0) return;
    for (const auto& [address, size] : device().memory) ASAN_UNPOISON_MEMORY_REGION(address, size);
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    if (--device().running > 0) return;
    for (const auto& [address, size] : device().memory) ASAN_POISON_MEMORY_REGION(address, size);
  }
};

// Runs a stream's work until it is empty or the event has reached its recording `mark`.
void run(EmulatedStream& stream, const EmulatedEvent* until = nullptr, int64_t mark = 0) {
  const Running running;
  while (!stream.work.empty() && (until == nullptr || until->reached < mark)) {
    const Work next = std::move(stream.work.front());
    stream.work.pop_front();
    next();
  }
}

}  // namespace

namespace quire::emulated {

void enqueue(cudaStream_t stream, std::function<void()> work) {
  EmulatedStream& to = of(stream);
  if (to.recording != nullptr) {
    to.recording->work.push_back(std::move(work));
  } else {
    to.work.push_back(std::move(work));
  }
}

}  // namespace quire::emulated

// NOLINTBEGIN(readability-identifier-naming, bugprone-reserved-identifier): CUDA's own names.
const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorNotReady: return "cudaErrorNotReady";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
  }
  return "unknown";
}

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : cudaGetErrorName(error);
}

cudaError_t cudaGetLastError() { return std::exchange(device().last_error, cudaSuccess); }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = kNumDevices;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int index) {
  if (index < 0 || index >= kNumDevices) return failed(cudaErrorInvalidValue);
  current_device = index;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"emulated GPU", 9, 0, 2};
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : attribute == cudaDevAttrComputeCapabilityMinor ? 0 : 2;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  for (EmulatedStream* stream : device().streams) {
    if (stream->recording != nullptr) return failed(cudaErrorStreamCaptureUnsupported);
  }
  for (EmulatedStream* stream : device().streams) run(*stream);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  *free_bytes = kTotalBytes - device().used_bytes;
  *total_bytes = kTotalBytes;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, size_t size_bytes) {
  *memory = nullptr;
  if (size_bytes > kTotalBytes - device().used_bytes) return failed(cudaErrorMemoryAllocation);
  const size_t rounded = (size_bytes + 255) / 256 * 256;
  auto* bytes = static_cast<std::byte*>(std::aligned_alloc(256, rounded == 0 ? 256 : rounded));
  if (bytes == nullptr) return failed(cudaErrorMemoryAllocation);
  device().memory[bytes] = size_bytes;
  device().used_bytes += size_bytes;
  if (device().running == 0) ASAN_POISON_MEMORY_REGION(bytes, size_bytes);
  *memory = bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  const auto entry = device().memory.find(static_cast<std::byte*>(memory));
  if (entry == device().memory.end()) return failed(cudaErrorInvalidValue);
  if (const cudaError_t error = cudaDeviceSynchronize(); error != cudaSuccess) return error;
  ASAN_UNPOISON_MEMORY_REGION(memory, entry->second);
  device().used_bytes -= entry->second;
  device().memory.erase(entry);
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** memory, size_t size_bytes, unsigned) {
  *memory = std::aligned_alloc(4096, (size_bytes + 4095) / 4096 * 4096);
  return *memory == nullptr ? failed(cudaErrorMemoryAllocation) : cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size_bytes, cudaMemcpyKind, cudaStream_t stream) {
  if (size_bytes > 0) quire::emulated::enqueue(stream, [=] { std::memmove(to, from, size_bytes); });
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t size_bytes, cudaMemcpyKind kind) {
  cudaMemcpyAsync(to, from, size_bytes, kind, nullptr);
  return cudaDeviceSynchronize();
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t size_bytes, cudaStream_t stream) {
  if (size_bytes > 0) quire::emulated::enqueue(stream, [=] { std::memset(to, value, size_bytes); });
  return cudaSuccess;
}

cudaError_t cudaMemset(void* to, int value, size_t size_bytes) {
  cudaMemsetAsync(to, value, size_bytes, nullptr);
  return cudaDeviceSynchronize();
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new EmulatedStream;
  device().streams.push_back(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  run(*stream);
  std::erase(device().streams, stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (of(stream).recording != nullptr) return failed(cudaErrorStreamCaptureUnsupported);
  run(of(stream));
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event->recorded == event->reached) return cudaSuccess;
  quire::emulated::enqueue(stream, [event, mark = event->recorded] { run(of(event->stream), event, mark); });
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new EmulatedEvent;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  cudaEventSynchronize(event);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->stream = stream;
  ++event->recorded;
  quire::emulated::enqueue(stream, [event, mark = event->recorded] { event->reached = mark; });
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->reached < event->recorded) run(of(event->stream), event, event->recorded);
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream == nullptr || stream->recording != nullptr) return failed(cudaErrorStreamCaptureUnsupported);
  stream->recording = std::make_unique<EmulatedGraph>();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (stream->recording == nullptr) return failed(cudaErrorInvalidValue);
  *graph = stream->recording.release();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new EmulatedGraph(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  for (const Work& work : exec->work) quire::emulated::enqueue(stream, work);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
// NOLINTEND(readability-identifier-naming, bugprone-reserved-identifier)
