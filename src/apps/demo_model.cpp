#include "apps/demo_model.h"

// The assembler copies the file into the program; QUIRE_DEMO_GGUF is its path, given by the build.
asm(R"(
    .section .rodata
    .balign 64
    .globl quire_demo_model_begin
    .globl quire_demo_model_end
quire_demo_model_begin:
    .incbin ")" QUIRE_DEMO_GGUF R"("
quire_demo_model_end:
    .previous
)");

extern "C" const std::byte quire_demo_model_begin[];
extern "C" const std::byte quire_demo_model_end[];

namespace quire {

std::span<const std::byte> demo_model_bytes() {
  return {quire_demo_model_begin, static_cast<size_t>(quire_demo_model_end - quire_demo_model_begin)};
}

}  // namespace quire
