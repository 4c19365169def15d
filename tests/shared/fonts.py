"""Sets of fonts, each as if no other were installed: what a page must fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_FONTS = Path("/usr/share/fonts")


@dataclass(frozen=True)
class FontSet:
    """Fonts of one design in one directory. families: how the names of its families begin.

    need: its name in tests/needs, "" for what `make test` does not see to.
    """

    name: str
    directory: Path
    families: tuple[str, ...]
    need: str = ""


_KNOWN = (
    FontSet("DejaVu", _FONTS / "truetype/dejavu", ("DejaVu",), "DejaVu fonts"),
    FontSet("Liberation", _FONTS / "truetype/liberation", ("Liberation",), "Liberation fonts"),
    FontSet("FreeFont", _FONTS / "truetype/freefont", ("Free",), "FreeFont fonts"),
    FontSet("Noto", _FONTS / "truetype/noto", ("Noto",)),
    FontSet("URW", _FONTS / "opentype/urw-base35", ("Nimbus", "P052", "URW", "Standard Symbols", "D050000L")),
)
#: Those that a test needs, and of the others those that are here.
FONT_SETS = tuple(fonts for fonts in _KNOWN if fonts.need or fonts.directory.is_dir())


def only(fonts: FontSet, directory: Path) -> Path:
    """Returns a configuration of fontconfig's, written there, by which no other fonts exist."""
    configuration = directory / "fonts.conf"
    configuration.write_text(
        "<?xml version='1.0'?><!DOCTYPE fontconfig SYSTEM 'urn:fontconfig:fonts.dtd'><fontconfig>"
        "<include ignore_missing='yes'>/etc/fonts/fonts.conf</include><reset-dirs/>"
        f"<dir>{fonts.directory}</dir><cachedir>{directory / 'font-cache'}</cachedir></fontconfig>"
    )
    return configuration
