"""Texts that break what is put together by hand: quotes, line ends, markers, things that look like instructions."""

from __future__ import annotations

from hypothesis import strategies as st

PIECES = (
    *(
        "'",
        '"',
        "`",
        "$",
        "$HOME",
        "${X}",
        "$(id)",
        "\\",
        "\\\\",
        "\\\n",
        "\n",
        "\r",
        "\r\n",
        "\t",
        "\v",
        "\f",
        "\x1b[2J",
    ),
    *(
        "\x00",
        "\x1a",
        "\x7f",
        "\x85",
        "\u2028",
        "\u2029",
        "\ufeff",
        "\xa0",
        "\u200b",
        "\u202e",
        "\ud800",
        " ",
        "  ",
        "#",
    ),
    *(
        "# syntax=evil/frontend\n",
        "# escape=`\n",
        "\nUSER root\n",
        "\nRUN id\n",
        "\n\nFROM scratch\n",
        "\nONBUILD RUN id",
    ),
    *(
        "<<EOF",
        "<<'IMAGESPEC'",
        "IMAGESPEC",
        "\nIMAGESPEC\n",
        "\nIMAGESPEC\r\n",
        "\n\tIMAGESPEC",
        "; rm -rf /",
        "&& id",
    ),
    *(
        "|| true",
        "| tee x",
        ">",
        "<",
        "*",
        "?",
        "~",
        "=",
        ",",
        ":",
        "@",
        "/",
        "..",
        "/../",
        "--",
        "-",
        "%s",
        "{{ 7*7 }}",
    ),
    *(
        "{% raw %}",
        "{# x #}",
        "é",
        "名",
        "😀",
        "a",
        "1",
        "x" * 5_000,
        "[",
        "]",
        '["a"]',
        "!",
        "^",
        "(",
        ")",
        "null",
        "{}",
    ),
)

nasty = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join),
    st.text(max_size=8),
    st.lists(st.sampled_from(PIECES) | st.text(max_size=3), min_size=1, max_size=8).map("".join),
)
"""Any text; about half of them with something in it that matters to a shell, a Dockerfile, JSON or a template."""


def around(tame: str) -> st.SearchStrategy[str]:
    """Return nasty texts, half of them beside a text that is valid by itself."""
    return nasty | nasty.map(lambda text: tame + text) | nasty.map(lambda text: text + tame)
