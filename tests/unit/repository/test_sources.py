"""A directory looked through: whose Makefile counts, what is found below it, what its sources register."""

from __future__ import annotations

from pathlib import Path

from kmod_harness.repository.sources import Found, Unclear, look_through

MISC = "static int __init hello_init(void) { return misc_register(&hello); }\n"
SILENT = "static int __init quiet_init(void) { return 0; }\n"


def looked(tmp_path: Path, files: dict[str, str]) -> Found:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return look_through(tmp_path)


def names(found: Found) -> list[str]:
    return [str(module.ko) for module in found.modules]


def test_one_module_where_one_stands(tmp_path: Path) -> None:
    found = looked(tmp_path, {"Makefile": "obj-m := my-driver.o\n", "my-driver.c": MISC})
    (module,) = found.modules
    assert (str(module.ko), module.name, str(module.makefile)) == ("my-driver.ko", "my_driver", "Makefile")
    assert module.makes_node
    assert found.kbuild == (Path(),)


def test_kbuild_comes_before_makefile(tmp_path: Path) -> None:
    found = looked(tmp_path, {"Kbuild": "obj-m := right.o\n", "Makefile": "obj-m := wrong.o\n"})
    assert names(found) == ["right.ko"]


def test_a_makefile_that_goes_into_directories_is_built_as_one(tmp_path: Path) -> None:
    found = looked(
        tmp_path,
        {
            "Makefile": "obj-m += core/\nobj-$(CONFIG_PCI) += pci/\n",
            "core/Makefile": "obj-m := core.o\n",
            "pci/Kbuild": "obj-$(CONFIG_X) := x.o\nobj-m += y.o\n",
        },
    )
    assert found.kbuild == (Path(),)
    assert [(str(one.ko), one.configs) for one in found.modules] == [
        ("core/core.ko", ()),
        ("pci/x.ko", ("CONFIG_PCI", "CONFIG_X")),
        ("pci/y.ko", ("CONFIG_PCI",)),
    ]


def test_without_one_at_the_top_the_nearest_below_are_built_each(tmp_path: Path) -> None:
    found = looked(
        tmp_path,
        {
            "Makefile": "all:\n\t$(MAKE) -C drivers/a\n",
            "drivers/a/Makefile": "obj-m := a.o sub/\n",
            "drivers/a/sub/Makefile": "obj-m := inner.o\n",
            "drivers/b/Makefile": "obj-m := b.o\n",
            ".venv/x/Makefile": "obj-m := hidden.o\n",
            "env/pyvenv.cfg": "",
            "env/Makefile": "obj-m := packaged.o\n",
        },
    )
    assert found.kbuild == (Path("drivers/a"), Path("drivers/b"))
    assert names(found) == ["drivers/a/a.ko", "drivers/a/sub/inner.ko", "drivers/b/b.ko"]


def test_a_device_is_looked_for_in_the_parts_of_a_module(tmp_path: Path) -> None:
    found = looked(
        tmp_path,
        {
            "Makefile": "obj-m := one.o two.o\none-y := main.o dev.o\n",
            "main.c": SILENT,
            "dev.c": "device_create(class, NULL, devt, NULL, name);\n",
            "two.c": SILENT,
        },
    )
    assert [module.makes_node for module in found.modules] == [True, False]


def test_a_node_that_nobody_makes_is_no_device(tmp_path: Path) -> None:
    found = looked(tmp_path, {"Makefile": "obj-m := a.o\n", "a.c": "register_chrdev(0, name, &fops);\n"})
    assert [module.makes_node for module in found.modules] == [False]


def test_a_circle_of_directories_has_an_end_and_none_leads_out(tmp_path: Path) -> None:
    found = looked(
        tmp_path,
        {
            "mine/Makefile": "obj-m := a.o ./ sub/ ../ /etc/\n",
            "mine/sub/Makefile": "obj-m := b.o ../\n",
        },
    )
    assert names(found) == ["mine/a.ko", "mine/sub/b.ko"]


def test_what_was_built_before_is_seen_where_no_makefile_tells_of_it(tmp_path: Path) -> None:
    found = looked(tmp_path, {"Makefile": "include rules.mk\n", "out/hello.ko": ""})
    assert (found.modules, found.lying) == ((), (Path("out/hello.ko"),))
    assert found.unclear == (Unclear(Path("Makefile"), "include rules.mk"),)


def test_a_makefile_of_programs_is_not_told_as_unclear(tmp_path: Path) -> None:
    found = looked(tmp_path, {"Makefile": "include rules.mk\n", "driver/Makefile": "obj-m := a.o $(MORE)\n"})
    assert found.unclear == (Unclear(Path("driver/Makefile"), "obj-m := a.o $(MORE)"),)


def test_an_empty_directory_has_nothing(tmp_path: Path) -> None:
    assert look_through(tmp_path) == Found((), (), (), ())


def test_the_copies_of_modules_in_a_failures_bundle_are_not_the_repositorys(tmp_path: Path) -> None:
    found = looked(
        tmp_path,
        {
            "Makefile": "obj-m := my.o\n",
            **{f"evidence/a/{name}": "" for name in ("verdict.json", "machine.json", "reproduce.sh")},
            "evidence/a/my.ko": "",
            "evidence/a/modules/Makefile": "obj-m := copy.o\n",
        },
    )
    assert names(found) == ["my.ko"]
    assert found.unclear == ()
