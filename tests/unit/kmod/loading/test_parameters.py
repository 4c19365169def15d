"""Parameters come out of the kernel's parser as they went in."""

from __future__ import annotations

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kmod_harness.kmod.loading.parameters import Parameter, format_parameters

_BLANKS = b" \t\n\v\f\r\xa0"


def next_arg(args: bytes) -> tuple[bytes, bytes | None, bytes]:
    """As lib/cmdline.c does it: name, value, the rest."""
    quoted = in_quote = args.startswith(b'"')
    args = args[1:] if quoted else args
    at, equals = 0, 0
    while at < len(args) and (in_quote or args[at] not in _BLANKS):
        equals = equals or (at if args[at : at + 1] == b"=" else 0)
        in_quote ^= args[at : at + 1] == b'"'
        at += 1
    word, rest = args[:at], args[at + 1 :].lstrip(_BLANKS)
    if not equals:
        return word, None, rest
    name, value = word[:equals], word[equals + 1 :]
    if value.startswith(b'"'):
        value = value[1:].removesuffix(b'"')
    return name, value, rest


def as_the_kernel_reads(text: str) -> dict[str, str | None]:
    args = os.fsencode(text).lstrip(_BLANKS)
    found: dict[str, str | None] = {}
    while args:
        name, value, args = next_arg(args)
        found[os.fsdecode(name)] = None if value is None else os.fsdecode(value)
    return found


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a b",
        'it is a "quoted" title',
        'a b "c"',
        '5"',
        '"',
        '""',
        '"a b"',
        "  ",
        "a=b",
        "voil\u00e0",  # its second byte is a blank to the kernel
        "two\nlines",
    ],
)
def test_a_string_arrives_as_it_was_given(value: str) -> None:
    given_parameters: dict[str, Parameter] = {"first": "x y", "title": value, "last": 7}
    expected = {"first": "x y", "title": value, "last": "7"}
    assert as_the_kernel_reads(format_parameters(given_parameters)) == expected


@pytest.mark.parametrize(
    ("items", "value"),
    [(["a b", "c"], "a b,c"), (["", "x"], ",x"), ([""], ""), ([1, 2], "1,2"), ([True, False], "Y,N")],
)
def test_a_list_is_items_between_commas(items: list[str | int | bool], value: str) -> None:
    assert as_the_kernel_reads(format_parameters({"names": items})) == {"names": value}


def test_an_empty_list_is_no_parameter() -> None:
    assert format_parameters({"names": [], "on": None}) == "on"


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"names": ["a,b", "c"]}, "names: .* comma"),
        ({"name": "a\0b"}, "name: .* NUL"),
        ({"name": 'a "b c'}, "name: .* quotation"),
        ({"name": 'say "a b" loud'}, "name: .* quotation"),
        ({"a": '"a b"', "b": '"c d"'}, "two values"),
    ],
)
def test_what_the_kernel_cannot_take_is_refused(parameters: dict[str, Parameter], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        format_parameters(parameters)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,5}", fullmatch=True), st.text(st.sampled_from('ab" ,=\xe0'))))
@example({"a": '"', "b": " "})
def test_whatever_is_not_refused_arrives(parameters: dict[str, str]) -> None:
    try:
        text = format_parameters(parameters)
    except ValueError:
        return
    assert as_the_kernel_reads(text) == parameters
