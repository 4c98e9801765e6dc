#include "kernels/amx/amx.h"

#include <cpuid.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "kernels/tiles/table.h"

QUIRE_DECLARE_TILE_TABLE(amx);

namespace quire {
namespace {

bool processor_has_tiles() {
  constexpr unsigned kBf16 = 1u << 22;
  constexpr unsigned kTile = 1u << 24;
  constexpr unsigned kInt8 = 1u << 25;
  constexpr unsigned kAll = kBf16 | kTile | kInt8;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kAll) == kAll &&
         __builtin_cpu_supports("avx512bf16");
}

// Whether the system saves the configuration and the contents of tiles (XCR0).
bool system_saves_tiles() {
  constexpr uint32_t kTileState = 1u << 17 | 1u << 18;
  uint32_t low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kTileState) == kTileState;
}

// Linux 5.16 and later reserve the memory for the contents of tiles only for processes that ask. Returns 0 or the
// error.
int request_permission() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM, which older headers lack
  constexpr long kTileData = 18;               // the component of XSAVE
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0 ? 0 : errno;
}

std::string permission_refusal(int error) {
  switch (error) {
    case EINVAL:  // older kernels say so of every request that they do not know
    case ENOSYS:
    case EOPNOTSUPP:
      return "this kernel does not offer tiles; Linux 5.16 or later does, unless they are switched off at boot";
    case ENOSPC: return "the signal stack of a thread is too small for the contents of tiles";
    default: return fmt::format("the system refuses permission: {}", std::strerror(error));
  }
}

std::string find_refusal() {
  if (!processor_has_tiles()) return "";
  if (!system_saves_tiles()) return "the system does not save tiles; Linux 5.16 or later does";
  if (const int error = request_permission(); error != 0) return permission_refusal(error);
  return amx::tiles_are_right() ? "" : "known products on its tiles come out wrong";
}

}  // namespace

const std::string& amx_refusal() {
  static const std::string refusal = find_refusal();
  return refusal;
}

bool machine_has_amx() {
  static const bool has = processor_has_tiles() && amx_refusal().empty();
  return has;
}

}  // namespace quire
