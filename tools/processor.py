"""What this machine's processor is called. Virtual machines often say no more than "AMD EPYC"; family and model, which
they pass on, tell the generation."""

import platform

# (vendor, family, first model, last model): as in the vendors' lists of CPUID signatures.
GENERATIONS = [
    ("AuthenticAMD", 23, 0x00, 0x2f, "Zen"), ("AuthenticAMD", 23, 0x30, 0xff, "Zen 2"),
    ("AuthenticAMD", 25, 0x00, 0x0f, "Zen 3"), ("AuthenticAMD", 25, 0x20, 0x5f, "Zen 3"),
    ("AuthenticAMD", 25, 0x10, 0x1f, "Zen 4"), ("AuthenticAMD", 25, 0x60, 0xaf, "Zen 4"),
    ("AuthenticAMD", 26, 0x00, 0xff, "Zen 5"),
    ("GenuineIntel", 6, 85, 85, "Skylake to Cooper Lake"), ("GenuineIntel", 6, 106, 108, "Ice Lake"),
    ("GenuineIntel", 6, 143, 143, "Sapphire Rapids"), ("GenuineIntel", 6, 207, 207, "Emerald Rapids"),
    ("GenuineIntel", 6, 173, 174, "Granite Rapids"),
]
EXTENSIONS = {"amx_int8": "AMX", "avx512_bf16": "AVX-512 bf16", "avx512_vnni": "AVX-512 VNNI", "avx2": "AVX2"}


def cpuinfo():
    """The first processor's lines of /proc/cpuinfo as a dictionary."""
    fields = {}
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                name, _, value = line.partition(":")
                if not name.strip():
                    break
                fields[name.strip()] = value.strip()
    except OSError:
        pass
    return fields


def processor_name():
    """Such as "AMD EPYC (Zen 5, AVX-512 bf16)"."""
    fields = cpuinfo()
    name = fields.get("model name") or platform.processor() or platform.machine()
    signature = [fields.get("vendor_id"), int(fields.get("cpu family", 0)), int(fields.get("model", 0))]
    words = [generation for vendor, family, first, last, generation in GENERATIONS
             if signature[:2] == [vendor, family] and first <= signature[2] <= last]
    flags = fields.get("flags", "").split()
    words += [text for flag, text in EXTENSIONS.items() if flag in flags][:1]
    return f"{name} ({', '.join(words)})" if words else name
