"""The table of facts that differ by release. All other code asks it and compares no releases itself.

A new release is looked at fact by fact, in its source and by the guest tests on it; then it is added to the
`proven` of each, and to PROVEN. What is read from the running kernel, from debug information or from a file
is no fact of this table: READ lists it.
"""

from __future__ import annotations

from kmod_harness.releases.fact import Fact, NumberFact
from kmod_harness.releases.release import Release

#: The releases whose guest tests, faults and verified modules are all right.
PROVEN: tuple[Release, ...] = ((6, 1), (6, 12), (7, 2))

# --- where a module's sections lie
TYPES_OF_SYMBOLS = Fact(
    part="the places of a module's sections",
    what="kallsyms keep the symbols' types in an array of their own",
    since=(5, 2),
    source="1c7651f43777",
    used_by="kmod/layout/predict.py",
    proven="6.1 6.12 7.2",
    assumed=True,
)
MEMORY_TYPES = Fact(
    part="the places of a module's sections",
    what="a module has a block for each type of memory (mod_mem[]), not one core and one init block",
    since=(6, 4),
    source="ac3b43283923",
    used_by="kmod/layout/predict.py explain/ verify/outside/struct_module.py verify/patch/branches.py",
    proven="6.1 6.12 7.2",
    assumed=True,
)
TAGS_APART = Fact(
    part="the places of a module's sections",
    what="alloc_tags has memory of its own, if allocations are counted (MEM_ALLOC_PROFILING)",
    since=(6, 13),
    source="codetag_needs_module_section, lib/codetag.c",
    used_by="kmod/layout/predict.py",
    proven="6.1 6.12 7.2",
    assumed=True,
)
STATIC_CALLS_READ_ONLY = Fact(
    part="the places of a module's sections",
    what=".static_call_sites is read-only after init",
    since=(6, 15),
    source="kernel/module/strict_rwx.c, 7.2.13",
    used_by="kmod/layout/predict.py",
    proven="6.1 6.12 7.2",
    assumed=True,
)
TEXT_CACHE = Fact(
    part="where its memory comes from",
    what="a module's text comes out of a cache of large pages",
    since=(6, 13),
    source="execmem ROX, mm/execmem.c",
    used_by="kmod/layout/module_area.py explain/",
    proven="6.1 6.12 7.2",
    assumed=True,
)
MEMORY_KNOWS_ROX = Fact(
    part="struct module",
    what="struct module_memory has is_rox before its size",
    since=(6, 13),
    source="include/linux/module.h, 7.2.13",
    used_by="verify/outside/memory_types.py",
    proven="6.1 6.12 7.2",
    assumed=True,
)

# --- what the kernel writes into a module's tables and code
ALTERNATIVE_FLAGS = Fact(
    part="alternatives",
    what="struct alt_instr has flags in the feature's upper half",
    since=(6, 3),
    source="5d1dd961e743",
    used_by="verify/patch/alternatives.py",
    proven="6.1 6.12 7.2",
    assumed=True,
)
ALTERNATIVES_ONCE = Fact(
    part="alternatives",
    what="a place with several alternatives is written once, and no length is written back",
    since=(7, 2),
    source="analyze_patch_site, arch/x86/kernel/alternative.c, 7.2.13; not in 6.12",
    used_by="verify/patch/alternatives.py",
    proven="6.1 6.12 7.2",
    assumed=True,
)
CALLS_COUNTED = Fact(
    part="counted calls",
    what="calls are counted where the CPU needs it (call depth tracking)",
    since=(6, 2),
    source="arch/x86/kernel/callthunks.c",
    used_by="verify/outside/kernel_state.py verify/patch/call_thunks.py",
    proven="6.1 6.12 7.2",
    assumed=True,
)
CALLS_COUNTED_IN_ALTERNATIVES = Fact(
    part="counted calls",
    what="calls within alternatives are counted too",
    since=(6, 2),
    until=(7, 2),
    source="patch_alt_call_sites, arch/x86/kernel/callthunks.c, 6.12.118; gone in 7.2",
    used_by="verify/patch/call_thunks.py",
    proven="6.1 6.12 7.2",
    assumed=True,
)
SORT_BY_TWO = Fact(
    part="sorted tables",
    what="sort() takes the two largest from the heap at once",
    since=(6, 12),
    source="lib/sort.c, 6.12.118; not in 6.1",
    used_by="verify/patch/sorting.py",
    proven="6.1 6.12 7.2",
    assumed=False,
)
ORC_TYPES = Fact(
    part="sorted tables",
    what="struct orc_entry names its type",
    since=(6, 4),
    source="arch/x86/include/asm/orc_types.h",
    used_by="verify/patch/tables.py",
    proven="6.1 6.12 7.2",
    assumed=False,
)
LONG_NOPS_JOINED = Fact(
    part="rewritten code",
    what="NOPs behind a rewritten branch are joined to the longest there are",
    since=(6, 12),
    source="optimize_nops, arch/x86/kernel/alternative.c, 6.12.118; not in 6.1",
    used_by="verify/patch/branches.py",
    proven="6.1 6.12 7.2",
    assumed=False,
)
STATIC_RETURN_BY_THUNK = Fact(
    part="rewritten code",
    what="a conditional tail call of nothing goes to the return thunk that this CPU needs",
    since=(6, 12),
    source="arch/x86/kernel/static_call.c, 6.12.118; not in 6.1",
    used_by="verify/patch/labels.py",
    proven="6.1 6.12 7.2",
    assumed=False,
)
BRANCHES_FILLED = Fact(
    part="rewritten code",
    what="an indirect branch fills its place with INT3 or CS prefixes",
    since=(7, 2),
    source="emit_indirect, arch/x86/kernel/alternative.c, 7.2.13; not in 6.12",
    used_by="verify/patch/branches.py",
    proven="6.1 6.12 7.2",
    assumed=False,
)
ENDBR_POISON_NOP = Fact(
    part="rewritten code",
    what="an unused ENDBR becomes `nopl -42(%rax)`",
    since=(7, 2),
    source="gen_endbr_poison, arch/x86/include/asm/ibt.h, 7.2.13; not in 6.12",
    used_by="verify/patch/branches.py",
    proven="6.1 6.12 7.2",
    assumed=False,
)
ITS_FEATURE = NumberFact(
    part="CPU features",
    what="the bit of X86_FEATURE_INDIRECT_THUNK_ITS",
    numbers={(6, 1): 21 * 32 + 5, (6, 12): 21 * 32 + 6, (7, 2): 21 * 32 + 10},
    source="arch/x86/include/asm/cpufeatures.h, 6.1.192, 6.12.118 and 7.2.13",
    used_by="verify/outside/kernel_state.py",
)
CPUINFO_BEFORE_VMX = NumberFact(
    part="CPU features",
    what="bytes before the VMX words of struct cpuinfo_x86: family, vendor, model, stepping, TLB size",
    numbers={(6, 1): 8, (6, 12): 12, (7, 2): 12},
    source="arch/x86/include/asm/processor.h, 6.1.192, 6.12.118 and 7.2.13",
    used_by="verify/outside/kernel_state.py",
)

#: What differs by release as well, and is read instead: what, where it is read, and by which file.
READ = (
    (
        "the sections' addresses for gdb: with `nsections` up to 6.12, a list that ends with a null later",
        "DWARF of vmlinux",
        "debug/gdb_side.py",
    ),
    ("the names of a module's blocks of memory for crash", "DWARF of vmlinux", "report/crash_dump.py"),
    ("where `mem[]` lies in struct module", "memory, by the blocks' sizes", "verify/outside/memory_types.py"),
    (
        "the running task: `current_task`, from 6.2 on a member of `pcpu_hot`",
        "symbols of the kernel",
        "explain/observe/running_kernel.py",
    ),
    (
        "the directory that source paths are relative to from 6.13 on",
        "DW_AT_comp_dir of the module",
        "kmod/elf/compile_directory.py",
    ),
    ("sections of a .ko with addresses, from 6.10 on", "section headers", "kmod/elf/for_gdb.py"),
    ("the words of vermagic", "configuration", "build/kernel/facts.py"),
    ("the forms of modules.order", "the file itself", "build/kernel/own_modules.py"),
    (
        "the names of Kconfig symbols: kernel-config/renamed-symbols.txt has what they were called",
        "Kconfig of the source",
        "build/kernel/from_source.py",
    ),
    (
        "the words of reports: all spellings of all releases are recognised",
        "the kernel log",
        "klog/header_table.py",
    ),
)
