// Intel AMX on this machine.
#pragma once

#include <string>

namespace quire {

// Whether the processor has tiles with products of int8 and bf16, the system lets this process use them, and known
// products come out right. The first call asks the system for permission, which holds for all threads. Needs a machine
// with the instruction set of the base, as does the next one.
bool machine_has_amx();
// Why a processor that has tiles is not used; empty where it is used, and where the processor has none.
const std::string& amx_refusal();

}  // namespace quire
