// Intel AMX on this machine.
#pragma once

namespace quire {

// Whether the processor has tiles with products of int8 and bf16, the system lets this process use them, and known
// products come out right. The first call asks the system for permission, which holds for all threads, and says in the
// log why a processor that has tiles is not used. Needs a machine with the instruction set of the base.
bool machine_has_amx();

}  // namespace quire
