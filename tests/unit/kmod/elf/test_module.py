"""Reading .ko files: small real object files, and what damage does to them."""

from __future__ import annotations

import gzip
import lzma
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from kmod_harness.errors import ModuleFileError
from kmod_harness.kmod.elf.module import KernelModule, parse_module, read_module

MODINFO = (
    "name=tiny", "vermagic=6.1.192 SMP mod_unload ", "license=GPL", "license=second", "depends=core,other-x",
    "description=a tiny module", "alias=char-major-240", "alias=pci:v1", "parm=size:buffer size: in bytes",
    "parmtype=size:int", "parmtype=label:charp", "no equals sign",
)  # fmt: skip
#: What modpost adds to a module, by hand; `helper` is in `.text`, `tiny_init` in `.init.text`.
SOURCE = r"""
#define SECTION(name) __attribute__((section(name), used))
%s
SECTION(".gnu.linkonce.this_module") char __this_module[64];
extern int _printk(const char *, ...);
extern int maybe(void) __attribute__((weak));
int tiny_exported(int x) { return x + 1; }
static int counter = 3;
__attribute__((noinline)) static int helper(int x) { return counter += x; }
SECTION(".init.text") int init_module(void) { maybe(); return _printk("x") + helper(1); }
SECTION("__ksymtab") char __ksymtab_tiny_exported[12];
SECTION("__ksymtab_gpl") char __ksymtab_tiny_gpl[12];
SECTION("__versions") struct { unsigned long crc; char name[56]; } ver[] = {{0x12345678, "_printk"}};
"""

pytestmark = pytest.mark.needs("binutils", "gcc")


#: As `xz`, `gzip` and `zstd` do it.
COMPRESSIONS = [lzma.compress, gzip.compress, zstandard.ZstdCompressor(write_checksum=True).compress]


def compile_object(directory: Path, source: str, *flags: str, name: str = "tiny.ko") -> Path:
    (directory / "source.c").write_text(source)
    target = directory / name
    subprocess.run(
        ["gcc", "-w", "-O1", "-mcmodel=kernel", "-fno-pic", *flags, "-o", target, directory / "source.c"],
        check=True,
    )
    return target


def modinfo_source(records: tuple[str, ...]) -> str:
    return "\n".join(
        f'SECTION(".modinfo") static const char info{i}[] __attribute__((aligned(1))) = "{record}";'
        for i, record in enumerate(records)
    )


@pytest.fixture(scope="module")
def ko(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = SOURCE % modinfo_source(MODINFO)
    return compile_object(tmp_path_factory.mktemp("ko"), source, "-c", "-g", "-fno-toplevel-reorder")


@pytest.fixture(scope="module")
def module(ko: Path) -> KernelModule:
    return read_module(ko)


def test_modinfo_is_read(module: KernelModule) -> None:
    assert (module.name, module.vermagic, module.release) == ("tiny", "6.1.192 SMP mod_unload ", "6.1.192")
    assert (module.license, module.description) == ("GPL", "a tiny module")
    assert module.depends == ("core", "other-x")
    assert module.aliases == ("char-major-240", "pci:v1")
    assert module.parameters == {"size": "int", "label": "charp"}
    assert module.parameter_descriptions == {"size": "buffer size: in bytes"}


def test_sections_are_those_that_readelf_shows(module: KernelModule, ko: Path) -> None:
    shown = subprocess.run(["readelf", "-SW", ko], check=True, capture_output=True, text=True).stdout
    assert len(module.sections) == int(shown.split("There are ")[1].split()[0])
    text = module.section(".text")
    assert text is not None
    assert (text.type, text.allocated, text.executable, text.init) == ("SHT_PROGBITS", True, True, False)
    init = module.section(".init.text")
    assert init is not None
    assert init.init


def test_symbols_are_defined_with_their_section_or_undefined(module: KernelModule) -> None:
    by_name = {symbol.name: symbol for symbol in module.symbols}
    assert (by_name["helper"].section, by_name["helper"].kind, by_name["helper"].binding) == (
        ".text",
        "FUNC",
        "LOCAL",
    )
    assert by_name["init_module"].section == ".init.text"
    assert by_name["counter"].section == ".data"
    assert {(symbol.name, symbol.weak) for symbol in module.undefined} == {
        ("_printk", False),
        ("maybe", True),
    }


def test_exports_versions_debug_info(module: KernelModule) -> None:
    assert module.exports == {"tiny_exported": False, "tiny_gpl": True}
    assert module.versions == {"_printk": 0x12345678}
    assert module.has_debug_info
    assert not module.signed


def test_without_a_name_in_modinfo_the_file_names_it(ko: Path) -> None:
    data = ko.read_bytes().replace(b"name=tiny\0", b"nope=tiny\0")
    assert parse_module(data, Path("/x/my-driver.ko.xz")).name == "my_driver"


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_a_compressed_module_is_read_the_same(
    ko: Path, module: KernelModule, tmp_path: Path, compress
) -> None:
    packed = tmp_path / "tiny.ko.packed"
    packed.write_bytes(compress(ko.read_bytes()))
    assert read_module(packed).symbols == module.symbols


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_a_damaged_compressed_module_is_a_typed_error(ko: Path, tmp_path: Path, compress) -> None:
    data = compress(ko.read_bytes())
    for cut in (8, 20, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.ko").write_bytes(data[:cut])
        with pytest.raises(ModuleFileError):
            read_module(tmp_path / "cut.ko")
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    (tmp_path / "flipped.ko").write_bytes(flipped)
    with pytest.raises(ModuleFileError):
        read_module(tmp_path / "flipped.ko")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (b"\x7fELF", "truncated"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 90, "damaged"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "x.ko").write_bytes(content)
    with pytest.raises(ModuleFileError, match=says) as error:
        read_module(tmp_path / "x.ko")
    assert str(tmp_path / "x.ko") in str(error.value)


def test_a_zstd_file_that_does_not_tell_its_size_is_read_too(ko: Path, tmp_path: Path) -> None:
    pack = zstandard.ZstdCompressor(write_content_size=False)
    (tmp_path / "tiny.ko.zst").write_bytes(pack.compress(ko.read_bytes()))
    assert read_module(tmp_path / "tiny.ko.zst").data == ko.read_bytes()


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(ModuleFileError, match="is a directory"):
        read_module(tmp_path)
    with pytest.raises(ModuleFileError, match="no such file"):
        read_module(tmp_path / "absent.ko")
    with pytest.raises(ModuleFileError, match="cannot be read"):
        read_module("a\0b.ko")
    os.mkfifo(tmp_path / "fifo.ko")
    with pytest.raises(ModuleFileError, match="not a regular file"):
        read_module(tmp_path / "fifo.ko")


def test_a_file_without_read_permission(ko: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.ko").write_bytes(ko.read_bytes())
    (tmp_path / "secret.ko").chmod(0)
    tmp_path.chmod(0o755)
    # Root may read anything: the child gives its privileges up, inside of the directory because
    # those above it are pytest's own, mode 0700.
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from kmod_harness.errors import ModuleFileError\n"
        "from kmod_harness.kmod.elf.ko_file import module_bytes\n"
        "os.chdir(sys.argv[1])\n"
        "if os.geteuid() == 0:\n    os.setgroups([])\n    os.setresuid(65534, 65534, 65534)\n"
        "try:\n    module_bytes(Path('secret.ko'))\n"
        "except ModuleFileError as error:\n    print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
    assert "secret.ko: no permission to read it" in ran.stdout, ran.stderr


def test_executables_shared_objects_and_plain_objects_are_named(tmp_path: Path) -> None:
    main = "int main(void) { return 0; }"
    for flags, says in (
        (("-static", "-no-pie"), "an executable"),
        (("-pie", "-fPIE", "-mcmodel=small"), "a shared object or position-independent"),
        (("-shared", "-fPIC", "-mcmodel=small"), "a shared object"),
        (("-c",), "no .modinfo and no .gnu.linkonce.this_module"),
    ):
        with pytest.raises(ModuleFileError, match=says):
            read_module(compile_object(tmp_path, main, *flags))


def test_another_machine_and_another_class_are_named(ko: Path) -> None:
    data = bytearray(ko.read_bytes())
    struct.pack_into("<H", data, 18, 183)  # EM_AARCH64
    with pytest.raises(ModuleFileError, match="another machine"):
        parse_module(bytes(data), ko)
    data[4] = 1  # ELFCLASS32
    with pytest.raises(ModuleFileError, match="another class"):
        parse_module(bytes(data), ko)


def test_a_stripped_module_is_named(ko: Path, tmp_path: Path) -> None:
    stripped = tmp_path / "stripped.ko"
    subprocess.run(["strip", "--strip-all", "-o", stripped, ko], check=True)
    with pytest.raises(ModuleFileError, match=r"no symbol table|damaged"):
        read_module(stripped)


def test_a_module_cut_short_anywhere_is_a_typed_error(ko: Path) -> None:
    data = ko.read_bytes()
    for size in {*range(200), *range(200, len(data), 97), len(data) - 1}:
        with pytest.raises(ModuleFileError):
            parse_module(data[:size], ko)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_bytes_give_a_module_or_the_typed_error(ko: Path, data: st.DataObject) -> None:
    whole = bytearray(ko.read_bytes())
    header_table = struct.unpack_from("<Q", whole, 40)[0]
    places = st.one_of(
        st.integers(0, 63), st.integers(header_table, len(whole) - 1), st.integers(0, len(whole) - 1)
    )
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=6)):
        whole[place] = value
    try:
        assert isinstance(parse_module(bytes(whole), ko), KernelModule)
    except ModuleFileError as error:
        assert str(ko) in str(error)


@given(st.binary(max_size=400).map(lambda tail: b"\x7fELF\x02\x01\x01" + tail))
def test_anything_behind_an_elf_magic_gives_the_typed_error(data: bytes) -> None:
    with pytest.raises(ModuleFileError):
        parse_module(data, Path("x.ko"))


def test_importing_the_room_does_not_import_pyelftools() -> None:
    script = "import sys, kmod_harness.kmod, kmod_harness.klog; sys.exit('elftools' in sys.modules)"
    subprocess.run(
        [sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)}
    )
