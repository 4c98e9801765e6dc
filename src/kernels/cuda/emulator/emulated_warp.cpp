// Tensor-core products and ballots of an emulated warp: see gpu.h for how fragments lie in the lanes.
#include "kernels/cuda/emulator/emulated.h"

// NOLINTBEGIN(readability-identifier-naming, bugprone-reserved-identifier): CUDA's own names.
unsigned __ballot_sync(unsigned mask, int predicate, quire::emulated::Where where) {
  struct Vote {
    int predicate;
    unsigned votes;
  } mine{predicate, 0};
  quire::emulated::warp_together(
      [](void* const(&lanes)[32]) {
        unsigned votes = 0;
        for (int lane = 0; lane < 32; ++lane) {
          if (static_cast<const Vote*>(lanes[lane])->predicate != 0) votes |= 1u << lane;
        }
        for (void* lane : lanes) static_cast<Vote*>(lane)->votes = votes;
      },
      &mine, mask, where);
  return mine.votes;
}
// NOLINTEND(readability-identifier-naming, bugprone-reserved-identifier)

namespace quire {
namespace {

template <typename Number>
struct Fragments {
  Number* d;
  const uint32_t* a;
  const uint32_t* b;
};

// How many numbers a 32-bit register holds, and their layout.
struct Bf16s {
  static constexpr int kCount = 2;
  static float get(uint32_t bits, int i) { return bf16_to_f32(static_cast<uint16_t>(bits >> (16 * i))); }
};
struct F16s {
  static constexpr int kCount = 2;
  static float get(uint32_t bits, int i) { return f16_to_f32(static_cast<uint16_t>(bits >> (16 * i))); }
};
struct Tf32s {
  static constexpr int kCount = 1;
  static float get(uint32_t bits, int) { return std::bit_cast<float>(bits & ~0x1fffu); }
};
struct Int8s {
  static constexpr int kCount = 4;
  static int32_t get(uint32_t bits, int i) { return static_cast<int8_t>(bits >> (8 * i)); }
};

// All products: a register holds kCount neighbours along k, and a's k is 8 * kCount wide.
template <typename Numbers, typename Number>
void multiply(void* const (&lanes)[32]) {
  constexpr int kCount = Numbers::kCount;
  constexpr int kDepth = 8 * kCount;
  Number a[16][kDepth];
  Number b[kDepth][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& from = *static_cast<const Fragments<Number>*>(lanes[lane]);
    const int g = lane / 4;
    const int first = lane % 4 * kCount;
    for (int i = 0; i < kCount; ++i) {
      for (int part = 0; part < 4; ++part) {
        a[g + part % 2 * 8][first + part / 2 * (kDepth / 2) + i] = Numbers::get(from.a[part], i);
      }
      for (int part = 0; part < 2; ++part) b[first + part * (kDepth / 2) + i][g] = Numbers::get(from.b[part], i);
    }
  }
  Number d[16][8] = {};
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < kDepth; ++k) {
      for (int column = 0; column < 8; ++column) d[row][column] += a[row][k] * b[k][column];
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    Number* to = static_cast<const Fragments<Number>*>(lanes[lane])->d;
    for (int i = 0; i < 4; ++i) to[i] += d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
}

template <typename Numbers, typename Number>
void mma(Number (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const emulated::Where& where) {
  Fragments<Number> mine{d, a, b};
  emulated::warp_together(multiply<Numbers, Number>, &mine, 0xffffffffu, where);
}

}  // namespace

void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], emulated::Where where) {
  mma<Bf16s>(d, a, b, where);
}
void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], emulated::Where where) {
  mma<F16s>(d, a, b, where);
}
void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], emulated::Where where) {
  mma<Tf32s>(d, a, b, where);
}
void mma_s8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], emulated::Where where) {
  mma<Int8s>(d, a, b, where);
}

}  // namespace quire
