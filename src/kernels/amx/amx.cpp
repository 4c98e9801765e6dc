#include "kernels/amx/amx.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/log.h"
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

// Linux 5.16 and later reserve the memory for the contents of tiles only for processes that ask.
bool system_permits_tiles() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM, which older headers lack
  constexpr long kTileData = 18;               // the component of XSAVE
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool find_amx() {
  if (!processor_has_tiles()) return false;
  if (!system_saves_tiles()) {
    log::warning("AMX is not used: the system does not save tiles; it needs Linux 5.16 or later");
  } else if (!system_permits_tiles()) {
    log::warning("AMX is not used: the system refuses permission ({}); it needs Linux 5.16 or later",
                 std::strerror(errno));
  } else if (!amx::tiles_are_right()) {
    log::warning("AMX is not used: known products on its tiles come out wrong");
  } else {
    return true;
  }
  return false;
}

}  // namespace

bool machine_has_amx() {
  static const bool has = find_amx();
  return has;
}

}  // namespace quire
