#include "base/build_id.h"

#include <elf.h>
#include <fmt/format.h>
#include <link.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

namespace quire {
namespace {

constexpr std::string_view kOwner("GNU\0", 4);

size_t round_up(size_t size, size_t alignment) { return (size + alignment - 1) / alignment * alignment; }

std::string find_in_notes(std::span<const unsigned char> notes, size_t alignment) {
  ElfW(Nhdr) note = {};
  while (notes.size() >= sizeof(note)) {
    std::memcpy(&note, notes.data(), sizeof(note));
    const size_t first = round_up(sizeof(note) + note.n_namesz, alignment);
    const size_t end = first + note.n_descsz;
    if (end > notes.size()) return {};
    const std::string_view owner(reinterpret_cast<const char*>(notes.data()) + sizeof(note), note.n_namesz);
    if (note.n_type == NT_GNU_BUILD_ID && owner == kOwner) {
      std::string digits;
      for (const unsigned char byte : notes.subspan(first, note.n_descsz)) digits += fmt::format("{:02x}", byte);
      return digits;
    }
    notes = notes.subspan(std::min(round_up(end, alignment), notes.size()));
  }
  return {};
}

// Called for the program first, then for its libraries.
int take_from_program(dl_phdr_info* info, size_t, void* to) {
  for (const auto& segment : std::span(info->dlpi_phdr, info->dlpi_phnum)) {
    if (segment.p_type != PT_NOTE) continue;
    const auto* const begin = reinterpret_cast<const unsigned char*>(info->dlpi_addr + segment.p_vaddr);
    std::string id = find_in_notes({begin, segment.p_memsz}, segment.p_align == 8 ? 8 : 4);
    if (!id.empty()) *static_cast<std::string*>(to) = std::move(id);
  }
  return 1;  // enough
}

}  // namespace

std::string build_id() {
  std::string id;
  ::dl_iterate_phdr(take_from_program, &id);
  return id;
}

}  // namespace quire
