// The files of formats. A new format is an enumerator in tensor/format.h and a row in the file of its family; a new
// family is a file beside these, declared and listed here.
#pragma once

#include <span>

#include "tensor/format.h"

namespace quire {

using FormatRows = std::span<const WeightFormat>;

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

inline constexpr FormatRows (*kFormatFiles[])() = {
    plain_formats, q8_0_formats, q4_q5_formats, q2_k_q4_k_formats, q3_k_q6_k_formats,
    iq3_formats,   iq4_formats,  fp4_formats,   int_group_formats, f8_formats,
};

}  // namespace quire
