"""Sets of fonts, each as if no other were installed: what a page must fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_FONTS = Path("/usr/share/fonts")


@dataclass(frozen=True)
class FontSet:
    """Fonts of one design in one directory. families: how the names of its families begin."""

    name: str
    directory: Path
    families: tuple[str, ...]


_KNOWN = (
    FontSet("DejaVu", _FONTS / "truetype/dejavu", ("DejaVu",)),
    FontSet("Liberation", _FONTS / "truetype/liberation", ("Liberation",)),
    FontSet("FreeFont", _FONTS / "truetype/freefont", ("Free",)),
    FontSet("Noto", _FONTS / "truetype/noto", ("Noto",)),
    FontSet("URW", _FONTS / "opentype/urw-base35", ("Nimbus", "P052", "URW", "Standard Symbols", "D050000L")),
)
#: Those that are here; scripts/debian-packages.txt says which `make test` sees to.
FONT_SETS = tuple(fonts for fonts in _KNOWN if fonts.directory.is_dir())


def only(fonts: FontSet, directory: Path) -> Path:
    """Returns a configuration of fontconfig's, written there, by which no other fonts exist."""
    configuration = directory / "fonts.conf"
    configuration.write_text(
        "<?xml version='1.0'?><!DOCTYPE fontconfig SYSTEM 'urn:fontconfig:fonts.dtd'><fontconfig>"
        "<include ignore_missing='yes'>/etc/fonts/fonts.conf</include><reset-dirs/>"
        f"<dir>{fonts.directory}</dir><cachedir>{directory / 'font-cache'}</cachedir></fontconfig>"
    )
    return configuration
