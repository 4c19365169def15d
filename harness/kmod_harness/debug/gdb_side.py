"""Runs inside gdb: adds each module's symbols, every section at its address, as modules come and go.

Needs none of the kernel's own gdb scripts. When `do_init_module` is called, a module's memory is final and
none of its code has run; `free_module` frees it (kernel/module/main.c, 6.1). Loaded by gdb's `-x`, with a
JSON text in `$kmod_harness`.
"""

from __future__ import annotations

import json

import gdb

WANTED = json.loads(gdb.convenience_variable("kmod_harness").string())


def sections(module):
    """Yields (section, address) from the kernel's own table for sysfs (kernel/module/sysfs.c)."""
    table = module["sect_attrs"]
    if not table:
        return
    names = {field.name for field in table.dereference().type.fields()}
    if "nsections" not in names:  # after 6.12: bin_attribute alone, the list of them ends with a null
        yield from listed_sections(table["grp"]["bin_attrs"])
        return
    for index in range(int(table["nsections"])):
        entry = table["attrs"][index]
        fields = {field.name for field in entry.type.fields()}
        if "battr" in fields:
            yield entry["battr"]["attr"]["name"].string(), int(entry["address"])
        else:  # before 5.9
            yield entry["name"].string(), int(entry["address"])


def listed_sections(attributes):
    """Yields (section, address) from an array of pointers to `struct bin_attribute`."""
    while attributes.dereference():
        attribute = attributes.dereference().dereference()
        yield attribute["attr"]["name"].string(), int(attribute["private"])
        attributes += 1


def add_symbols(module):
    """Adds the symbols of a module whose file is known."""
    name = module["name"].string()
    path = WANTED["modules"].get(name)
    places = dict(sections(module))
    for without_memory in (".symtab", ".strtab", ".data..percpu"):
        places.pop(without_memory, None)
    if path is None or not places:
        return
    # a module may have init code only, and no .text
    text = places.pop(".text", None)
    first = f"{text:#x} " if text is not None else ""
    others = " ".join(f"-s {section} {address:#x}" for section, address in places.items())
    gdb.execute(f"add-symbol-file {json.dumps(path)} {first}{others}", to_string=True)
    LOADED[int(module.address)] = text if text is not None else next(iter(places.values()))


def argument(name, register):
    """Returns a function's first argument, at its first instruction."""
    kind = gdb.lookup_type("struct module").pointer()
    return gdb.parse_and_eval(f"${register}").cast(kind)


class ModuleLoadBreakpoint(gdb.Breakpoint):
    """Stops where a module is about to be initialised."""

    def stop(self):
        module = argument("mod", "rdi").dereference()
        name = module["name"].string()
        add_symbols(module)
        if name not in WANTED["modules"]:
            return False
        if WANTED["at"] == "init" and module["init"]:
            ModuleInitBreakpoint(f"*{int(module['init']):#x}", temporary=True)
        return WANTED["at"] == "load"


class ModuleInitBreakpoint(gdb.Breakpoint):
    """Stops at the first instruction of a module's init."""


class ModuleFreeBreakpoint(gdb.Breakpoint):
    """Stops where a module is about to be freed."""

    def stop(self):
        text = LOADED.pop(int(argument("mod", "rdi")), None)
        if text is not None:
            gdb.execute(f"remove-symbol-file -a {text:#x}", to_string=True)
        return False


def loaded_modules():
    """Yields the modules in the kernel's list."""
    kind = gdb.lookup_type("struct module")
    offset = next(field.bitpos // 8 for field in kind.fields() if field.name == "list")
    head = gdb.parse_and_eval("&modules")
    entry = head["next"]
    while int(entry) != int(head):
        yield gdb.Value(int(entry) - offset).cast(kind.pointer()).dereference()
        entry = entry["next"]


LOADED: dict[int, int] = {}
for present in loaded_modules():
    add_symbols(present)
ModuleLoadBreakpoint("*do_init_module", internal=True)
ModuleFreeBreakpoint("*free_module", internal=True)
