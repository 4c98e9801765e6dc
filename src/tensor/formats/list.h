// The files of formats. A new format is an enumerator in tensor/format.h and a row in the file of its family; a new
// family is a file beside these, declared and listed here.
#pragma once

#include <span>

#include "tensor/format.h"
#include "tensor/formats/block_parts.h"

namespace quire {

using FormatRows = std::span<const WeightFormat>;
using PackRows = std::span<const PackRow>;

FormatRows plain_formats();  // floats of one element per block; storage
FormatRows q8_0_formats();
FormatRows q4_q5_formats();
FormatRows q2_k_q4_k_formats();
FormatRows q3_k_q6_k_formats();
FormatRows iq3_formats();
FormatRows iq4_formats();
FormatRows fp4_formats();
FormatRows int_group_formats();
FormatRows f8_formats();
FormatRows s8_formats();

// The formats whose codes a search may choose (block_parts.h).
PackRows q8_0_packers();
PackRows q4_q5_packers();
PackRows q2_k_q4_k_packers();
PackRows q3_k_q6_k_packers();
PackRows iq3_packers();
PackRows iq4_packers();
PackRows mxfp4_packers();

inline constexpr PackRows (*kPackFiles[])() = {
    q8_0_packers, q4_q5_packers, q2_k_q4_k_packers, q3_k_q6_k_packers, iq3_packers, iq4_packers, mxfp4_packers,
};

inline constexpr FormatRows (*kFormatFiles[])() = {
    plain_formats, q8_0_formats, q4_q5_formats,     q2_k_q4_k_formats, q3_k_q6_k_formats, iq3_formats,
    iq4_formats,   fp4_formats,  int_group_formats, f8_formats,        s8_formats,
};

}  // namespace quire
