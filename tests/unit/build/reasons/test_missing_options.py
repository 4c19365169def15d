"""The kernel's options that a build misses, found in a source tree, and the failure told with them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from kmod_harness.build.cache import Cache
from kmod_harness.build.reasons.complaints import Complaints
from kmod_harness.build.reasons.explain_failure import Sources, explain_exclusion, explain_failure
from kmod_harness.build.reasons.header_conditions import conditions, needed_by_name
from kmod_harness.build.reasons.kernel_makefiles import options_of
from kmod_harness.build.reasons.kernel_tree import kernel_tree
from kmod_harness.build.reasons.missing_options import MissingOption, missing_options
from kmod_harness.errors import BuildFailed, NotForThisKernel

TREE = {
    "Makefile": "VERSION = 6\nPATCHLEVEL = 1\n",
    "Kconfig": 'config MEDIA\n\tbool "M"\nconfig VIDEO_DEV\n\ttristate "V"\n\tdepends on MEDIA\n'
    'config COMPAT\n\tbool "C"\nconfig CODEC\n\tbool "D"\nconfig NET\n\tbool "N"\n',
    "Kbuild": "obj-y += drivers/\n",
    "drivers/Makefile": "obj-$(CONFIG_MEDIA) += media/\n",
    "drivers/media/Makefile": "videodev-objs := dev.o \\\n\tioctl.o\nvideodev-$(CONFIG_COMPAT) += compat.o\n"
    "obj-$(CONFIG_VIDEO_DEV) += videodev.o\nobj-y += always.o\n",
    "drivers/media/dev.c": "EXPORT_SYMBOL_GPL(video_devdata);\n",
    "drivers/media/compat.c": "EXPORT_SYMBOL_NS_GPL(video_compat, MEDIA);\n",
    "tools/dev.c": "EXPORT_SYMBOL(video_devdata);\n",
    "include/linux/net.h": """\
#ifdef CONFIG_NET
struct always { int a; };
#if IS_ENABLED(CONFIG_CODEC) || defined(CONFIG_COMPAT)
int codec_run(int x);
#else
#define NO_CODEC 1
#endif
#endif
struct dev {
	int plain;
#ifdef CONFIG_CODEC
	void *codec;
#endif
};
""",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    directory = tmp_path / "linux"
    for name, text in TREE.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


NET = {"NET": "y"}


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("drivers/media/dev.c", ("MEDIA", "VIDEO_DEV")),
        ("drivers/media/ioctl.c", ("MEDIA", "VIDEO_DEV")),
        ("drivers/media/compat.c", ("MEDIA", "VIDEO_DEV", "COMPAT")),
        ("drivers/media/always.c", ("MEDIA",)),
    ],
)
def test_the_options_of_a_source_file(tree: Path, file: str, options: tuple[str, ...]) -> None:
    assert options_of(tree, PurePosixPath(file), {}) == options


@pytest.mark.parametrize(
    ("config", "options"),
    [({}, ("USB_HID",)), ({"USB": "y"}, ("USB", "USB_HID")), ({"PHY": "m"}, ("PHY", "USB_HID"))],
)
def test_of_several_options_for_a_directory_one_is_enough(
    tree: Path, config: dict[str, str], options: tuple[str, ...]
) -> None:
    (tree / "drivers/Makefile").write_text("obj-$(CONFIG_PHY) += usb/\nobj-$(CONFIG_USB) += usb/\n")
    (tree / "drivers/usb").mkdir()
    (tree / "drivers/usb/Makefile").write_text("obj-$(CONFIG_USB_HID) += hid.o\n")
    assert options_of(tree, PurePosixPath("drivers/usb/hid.c"), config) == options


def test_of_several_files_that_export_a_symbol_one_is_enough(tree: Path) -> None:
    (tree / "drivers/media/always.c").write_text("EXPORT_SYMBOL(video_devdata);\n")
    complaints = Complaints(symbols=("video_devdata",))
    assert missing_options(complaints, tree, {"MEDIA": "y"}) == ()
    assert missing_options(complaints, tree, NET) == (MissingOption("MEDIA", ("video_devdata",)),)


@pytest.mark.parametrize(
    ("complaints", "config", "missing"),
    [
        (
            Complaints(symbols=("video_devdata",)),
            NET,
            [MissingOption("VIDEO_DEV", ("video_devdata",), ("MEDIA",))],
        ),
        (
            Complaints(symbols=("video_devdata",)),
            {"MEDIA": "y"},
            [MissingOption("VIDEO_DEV", ("video_devdata",))],
        ),
        (
            Complaints(names=("video_devdata",)),
            {"MEDIA": "y"},
            [MissingOption("VIDEO_DEV", ("video_devdata",))],
        ),
        (Complaints(names=("codec_run",)), NET, [MissingOption("CODEC", ("codec_run",))]),
        (Complaints(members=(("dev", "codec"),)), NET, [MissingOption("CODEC", ("struct dev.codec",))]),
        # set, or unconditional: the option is not what is wrong
        (Complaints(names=("codec_run",)), {**NET, "COMPAT": "y"}, []),
        (Complaints(members=(("dev", "plain"),)), NET, []),
        (Complaints(members=(("dev", "nosuch"),), names=("nosuch",), symbols=("nosuch",)), NET, []),
        (Complaints(names=("NO_CODEC",)), NET, []),
    ],
)
def test_the_options_that_explain_complaints(
    tree: Path, complaints: Complaints, config: dict[str, str], missing: list[MissingOption]
) -> None:
    assert list(missing_options(complaints, tree, config)) == missing


def test_a_header_lines_conditions_end_with_their_block() -> None:
    lines = dict(conditions("#ifdef CONFIG_A\na\n#else\nb\n#endif\nc\n#ifndef CONFIG_A\nd\n#endif\n"))
    assert lines == {"a": (("A",),), "b": (), "c": (), "d": (), "": ()}
    assert needed_by_name("#if !defined(CONFIG_A) && defined(CONFIG_B)\nint f(void);\n#endif", "f") == [
        (("B",),)
    ]


def test_a_failure_names_the_option_and_the_fragment(tree: Path) -> None:
    output = 'ERROR: modpost: "video_devdata" [a.ko] undefined!\nmake: *** [x] Error 2\n'
    failure = BuildFailed("building failed", evidence="x", advice="the whole log: /log")
    told = explain_failure(failure, output, Sources(tree, NET, {}, {"VIDEO_DEV": "m"}))
    assert told.message.startswith("a.ko needs video_devdata, which neither this kernel")
    assert told.evidence == "this kernel was built without CONFIG_VIDEO_DEV, which has video_devdata"
    assert told.advice.splitlines() == [
        "a kernel with it: write into video-dev.config",
        "CONFIG_MEDIA=y",
        "CONFIG_VIDEO_DEV=y",
        "then: kmod-harness kernel build minimal --kconfig video-dev.config",
        "and --kconfig video-dev.config for `modules` and `run`",
        "or take Debian's, which has it: --kernel debian",
        "the whole log: /log",
    ]


def test_the_fragment_is_over_minimal_whatever_was_built_for(tree: Path) -> None:
    output = 'ERROR: modpost: "video_devdata" [a.ko] undefined!\n'
    told = explain_failure(BuildFailed("x"), output, Sources(tree, {"MEDIA": "y"}, {"NET": "y"}, {}))
    assert "CONFIG_MEDIA=y" in told.advice
    assert "--kernel debian" not in told.advice


def test_the_fragment_is_for_minimal_of_the_same_release(tree: Path) -> None:
    output = 'ERROR: modpost: "video_devdata" [a.ko] undefined!\n'
    told = explain_failure(BuildFailed("x"), output, Sources(tree, NET, {}, {}, "minimal@6.12"))
    assert "kmod-harness kernel build minimal@6.12 --kconfig video-dev.config" in told.advice


def test_what_the_sources_own_check_says_is_looked_up(tree: Path) -> None:
    output = "Makefile:4: *** You need to enable VIDEO_DEV in your kernel.  Stop.\n"
    told = explain_failure(BuildFailed("x", evidence="y"), output, Sources(tree, NET, {}, {}))
    assert told.message == output.strip()
    assert told.evidence == "this kernel was built without CONFIG_VIDEO_DEV"


def test_without_a_source_the_first_error_is_still_first() -> None:
    output = 'a.c:3:1: error: broken\nERROR: modpost: "video_devdata" [a.ko] undefined!\n'
    told = explain_failure(BuildFailed("x", evidence="y", advice="log"), output, Sources(None, NET, {}, {}))
    assert (told.message, told.evidence, told.advice) == ("a.c:3:1: error: broken", "", "log")


def test_a_make_that_ended_well_without_its_modules_is_told_by_what_make_said() -> None:
    output = "make[1]: *** No rule to make target '/d/a.c', needed by '/d/a.o'.  Stop.\n"
    told = explain_failure(BuildFailed("was built, but not a.ko"), output, Sources(None, NET, {}, {}))
    assert told.message == "make: No rule to make target '/d/a.c', needed by '/d/a.o'."
    assert told.evidence == "was built, but not a.ko"


def test_an_exclusion_names_the_kernel_that_it_would_be_for(tree: Path) -> None:
    failure = NotForThisKernel(
        "p 1 is not for this kernel", evidence="asks for CONFIG_VIDEO_DEV !CONFIG_COMPAT"
    )
    told = explain_exclusion(failure, Sources(tree, NET, {}, {}))
    assert isinstance(told, NotForThisKernel)
    assert "CONFIG_VIDEO_DEV=y" in told.advice
    assert "COMPAT" not in told.advice


def test_the_source_is_the_kernels_own_or_of_its_version_in_the_cache(tree: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")

    def copy(entry: Path) -> dict[str, object]:
        tree.rename(entry / "linux")
        return {}

    assert kernel_tree(tree, "6.1.0", cache) == tree
    build_dir = tmp_path / "build"
    build_dir.mkdir()
    assert kernel_tree(build_dir, "6.1.0-9-amd64", cache) is None
    entry = cache.entry("source", "abc", copy)
    assert kernel_tree(build_dir, "6.1.0-9-amd64", cache) == entry / "linux"
    assert kernel_tree(build_dir, "6.12.1", cache) is None
    (build_dir / "source").symlink_to(entry / "linux")
    assert kernel_tree(build_dir, "5.10.0", cache) == entry / "linux"
