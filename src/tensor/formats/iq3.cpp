// IQ3_S: four elements at a time are one of 512 points of a grid, each coordinate an odd number of 1 to 15, with a sign
// for each element; a four-bit scale per 32 elements below an f16 per 256. 3.4 bits an element.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "tensor/formats/conversions.h"
#include "tensor/half.h"

namespace quire {
namespace {

// 8 groups of 32. x[i] = d * (1 + 2 * scale(g)) * sign(i) * level(point(i / 4), i % 4). scale(g) is nibble g % 2 of
// scales[g / 2]. A point's number has nine bits: q[i / 4], and bit i / 4 % 8 of high[g] above. Bit i % 8 of signs[i /
// 8] is set for negative elements.
struct BlockIQ3_S {
  static constexpr int kElements = 256;
  uint16_t d;  // f16
  uint8_t q[64];
  uint8_t high[8];
  uint8_t signs[32];
  uint8_t scales[4];
};
static_assert(sizeof(BlockIQ3_S) == 110);

// Four octal digits for the four elements of a point, the first one highest; the level of a digit is 2 * digit + 1.
constexpr int kNumPoints = 512;
// clang-format off
constexpr uint16_t kPoints[kNumPoints] = {
    00000, 01000, 02000, 05000, 07000, 00100, 01100, 02100, 04100, 06100, 00200, 01200, 05200, 03300,
    00400, 02400, 05400, 07400, 01500, 03500, 00600, 02600, 01700, 04700, 07700, 00010, 01010, 02010,
    04010, 00110, 01110, 05110, 00210, 03210, 07210, 01310, 05310, 04410, 01610, 05610, 02710, 00020,
    01020, 05020, 07020, 00120, 03120, 06120, 01220, 05220, 00320, 04320, 02420, 05420, 07420, 01520,
    03520, 00720, 03720, 03030, 01130, 05130, 00230, 02230, 01330, 03330, 06330, 04430, 00530, 02530,
    07630, 01730, 05730, 00040, 03140, 07140, 01240, 04240, 02340, 00440, 03440, 01540, 00740, 02050,
    04050, 00250, 02250, 06250, 03350, 01450, 05450, 07450, 06650, 03750, 06060, 01160, 03160, 01360,
    02560, 01760, 00070, 02070, 04070, 00270, 02270, 06270, 03370, 00570, 04570, 00001, 01001, 02001,
    04001, 00101, 01101, 03101, 05101, 07101, 00201, 02201, 01301, 04301, 06301, 04501, 06501, 01601,
    02701, 00011, 01011, 03011, 06011, 00111, 04111, 01211, 00311, 03311, 01411, 00511, 02511, 00711,
    06711, 00021, 02121, 05121, 07121, 00221, 04221, 02321, 00421, 03421, 05521, 00621, 02721, 01031,
    04031, 07031, 00131, 03131, 01231, 07231, 00331, 04331, 01431, 02631, 00731, 03041, 05041, 02141,
    04141, 01341, 03341, 02441, 06441, 00541, 04541, 01051, 00151, 03151, 01251, 00351, 02351, 01551,
    00261, 04261, 07261, 04461, 06461, 01071, 03071, 00171, 02171, 01271, 05371, 01471, 02671, 00771,
    00002, 01002, 03002, 05002, 07002, 00102, 02102, 04102, 06102, 01202, 03202, 07202, 00302, 02302,
    01402, 03402, 05402, 00502, 02502, 07602, 00702, 03702, 05702, 00012, 02012, 00112, 03112, 07112,
    02212, 05212, 01312, 04312, 02412, 01512, 01022, 04022, 07022, 01222, 03222, 00322, 07322, 01422,
    03522, 07522, 01722, 04722, 00032, 02032, 05032, 01132, 02232, 04232, 01332, 03332, 02432, 00532,
    06632, 01042, 07042, 00242, 03242, 02342, 05342, 01442, 02742, 05742, 04052, 01152, 02252, 07352,
    00452, 03552, 00752, 00062, 02062, 07062, 01262, 05562, 01662, 05072, 01172, 06272, 00372, 03472,
    00572, 02003, 01103, 03103, 05103, 07103, 02203, 01303, 03303, 05303, 02403, 04403, 07403, 01503,
    03603, 01703, 01013, 03013, 05013, 04113, 01213, 03213, 00413, 00613, 02713, 06713, 00023, 02123,
    00223, 02323, 04323, 00523, 01033, 00133, 04133, 01233, 03233, 07233, 00333, 01433, 03433, 07433,
    05533, 03733, 03043, 01143, 06143, 02243, 01343, 02543, 00643, 04643, 01053, 00153, 02153, 05253,
    02353, 04453, 06553, 03753, 06163, 01463, 01073, 03073, 00273, 02273, 05373, 00004, 04004, 02104,
    00204, 04204, 07204, 02304, 01404, 00504, 00704, 02014, 07014, 01114, 03114, 02214, 00314, 05314,
    03414, 01514, 05514, 01024, 03024, 00124, 05124, 01224, 03324, 00424, 07524, 02624, 00724, 04034,
    01134, 03134, 00234, 02234, 01334, 05334, 00044, 02044, 04244, 07344, 00444, 01744, 05054, 07054,
    01254, 02654, 03164, 04364, 00664, 00174, 05174, 00374, 03474, 01574, 02005, 00105, 04105, 02205,
    00405, 04405, 07405, 02505, 06605, 04705, 01015, 03015, 05015, 02115, 01215, 02315, 02715, 00025,
    01125, 03225, 00325, 06325, 03525, 02035, 07035, 00135, 07235, 04435, 01535, 05635, 03735, 01045,
    04045, 00245, 02345, 06445, 02155, 06255, 01555, 03555, 02465, 02075, 04075, 02275, 01106, 03106,
    05106, 01306, 03306, 00606, 00016, 00216, 07216, 04616, 02126, 04326, 02426, 05526, 02626, 00726,
    00036, 04136, 01236, 00436, 05246, 03446, 02646, 00056, 03056, 04356, 00656, 05066, 00466, 01176,
    03176, 00007, 04007, 07007, 00207, 02207, 06307, 00407, 04507, 02607, 02017, 01117, 04217, 03417,
    05417, 01027, 04027, 00127, 06127, 01227, 00327, 01527, 02037, 02337, 05337, 03537, 01047, 05047,
    03147, 00247, 00547, 02257, 02457, 02067, 01367, 00077,
};
// clang-format on

constexpr int digit(int point, int element) { return (point >> (9 - 3 * element)) & 7; }
constexpr float level(int point, int element) { return static_cast<float>(2 * digit(point, element) + 1); }

void decode(const BlockIQ3_S& block, float* out) {
  for (int i = 0; i < BlockIQ3_S::kElements; ++i) {
    const int group = i / 32;
    const int scale = (block.scales[group / 2] >> (4 * (group % 2))) & 15;
    const int number = block.q[i / 4] | (((block.high[group] >> (i / 4 % 8)) & 1) << 8);
    const float magnitude = f16_to_f32(block.d) * static_cast<float>(1 + 2 * scale) * level(kPoints[number], i % 4);
    out[i] = ((block.signs[i / 8] >> (i % 8)) & 1) != 0 ? -magnitude : magnitude;
  }
}

// For any four digits, the number of the nearest point.
std::array<uint16_t, 4096> find_nearest() {
  std::array<uint16_t, 4096> nearest;
  for (int wanted = 0; wanted < 4096; ++wanted) {
    int best = std::numeric_limits<int>::max();
    for (int number = 0; number < kNumPoints; ++number) {
      int distance = 0;
      for (int e = 0; e < 4; ++e) {
        const int apart = digit(wanted, e) - digit(kPoints[number], e);
        distance += apart * apart;
      }
      if (distance >= best) continue;
      best = distance;
      nearest[static_cast<size_t>(wanted)] = static_cast<uint16_t>(number);
    }
  }
  return nearest;
}

// A point near four elements of which 1 / inverse is one level: the one nearest to their rounded levels.
int near_point(const float* x, float inverse) {
  static const std::array<uint16_t, 4096> kNearest = find_nearest();
  size_t wanted = 0;
  for (int e = 0; e < 4; ++e) {
    const float rounded = round_within((std::abs(x[e]) * inverse - 1) / 2, 0, 7);
    wanted = wanted << 3 | static_cast<size_t>(rounded);
  }
  return kPoints[kNearest[wanted]];
}

// The levels of all points, for each of the four elements.
struct Levels {
  float of[4][kNumPoints] = {};
};
constexpr Levels kLevels = [] {
  Levels levels;
  for (int e = 0; e < 4; ++e) {
    for (int number = 0; number < kNumPoints; ++number) levels.of[e][number] = level(kPoints[number], e);
  }
  return levels;
}();

// The number of the nearest point.
int nearest_number(const float* x, float inverse) {
  std::array<float, kNumPoints> distances = {};
  for (int e = 0; e < 4; ++e) {
    const float wanted = std::abs(x[e]) * inverse;
    for (size_t number = 0; number < kNumPoints; ++number) {
      const float apart = wanted - kLevels.of[e][number];
      distances[number] += apart * apart;
    }
  }
  return static_cast<int>(std::ranges::min_element(distances) - distances.begin());
}

constexpr int kGroup = 32;
constexpr int kHighestScale = 31;  // 1 + 2 * 15

// The level of one for a group, by least squares: the largest element is put on many levels in turn, and each time the
// best scale has a closed form.
float search_group_scale(const float* x) {
  float largest = 0;
  for (int i = 0; i < kGroup; ++i) largest = std::max(largest, std::abs(x[i]));
  if (!(largest > 1e-20f)) return 0;
  float best_scale = 0;
  float best_gain = 0;  // the squared error falls by (x . l)^2 / (l . l) against all zeros
  for (float highest = 1; highest < 20; highest += 0.5f) {
    const float inverse = highest / largest;
    float xl = 0;
    float ll = 0;
    for (int i = 0; i < kGroup; i += 4) {
      const int point = near_point(x + i, inverse);
      for (int e = 0; e < 4; ++e) {
        xl += std::abs(x[i + e]) * level(point, e);
        ll += level(point, e) * level(point, e);
      }
    }
    if (xl * xl > best_gain * ll) {
      best_gain = xl * xl / ll;
      best_scale = xl / ll;
    }
  }
  return best_scale;
}

BlockIQ3_S encode(const float* in) {
  std::array<float, 8> wanted;
  for (size_t g = 0; g < 8; ++g) wanted[g] = search_group_scale(in + kGroup * g);
  BlockIQ3_S block = {};
  block.d = f32_to_f16(*std::ranges::max_element(wanted) / kHighestScale);
  const float d = f16_to_f32(block.d);
  for (int g = 0; g < 8; ++g) {
    const float factor = d > 0 ? wanted[static_cast<size_t>(g)] / d : 0;
    const int scale = static_cast<int>(round_within((factor - 1) / 2, 0, 15));
    block.scales[g / 2] = static_cast<uint8_t>(block.scales[g / 2] | (scale << (4 * (g % 2))));
    const float inverse = d > 0 ? 1 / (d * static_cast<float>(1 + 2 * scale)) : 0;
    for (int i = kGroup * g; i < kGroup * (g + 1); i += 4) {
      const int number = nearest_number(in + i, inverse);
      block.q[i / 4] = static_cast<uint8_t>(number & 255);
      block.high[g] = static_cast<uint8_t>(block.high[g] | ((number >> 8) << (i / 4 % 8)));
      for (int e = i; e < i + 4; ++e) {
        block.signs[e / 8] = static_cast<uint8_t>(block.signs[e / 8] | ((in[e] < 0 ? 1 : 0) << (e % 8)));
      }
    }
  }
  return block;
}

}  // namespace

FormatRows iq3_formats() {
  static constexpr WeightFormat kRows[] = {
      block_format<BlockIQ3_S, decode, encode>(Format::kIQ3_S, "IQ3_S"),
  };
  return kRows;
}

}  // namespace quire
