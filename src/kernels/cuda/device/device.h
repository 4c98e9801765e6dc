// The CUDA device: see tensor/device.h for the contract.
//
// Work runs on one stream of device `index` (CUDA_VISIBLE_DEVICES says which that is), which becomes the current one of
// the thread that makes it: other threads must have the same. A key's second run is recorded as a CUDA graph, kept as
// long as the device lives.
#pragma once

#include <memory>

#include "tensor/device.h"

namespace quire {

// Throws Error when there is no device, none that this build has code for, or no library (library.h) although it is
// needed.
std::unique_ptr<Device> make_cuda_device(bool with_library = false, int index = 0);

}  // namespace quire
