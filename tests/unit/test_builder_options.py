"""``builder_options``: documented keys, split into what is built and how."""

from __future__ import annotations

from typing import Any

import pytest

from imagespec.builder_options import HowToBuild, WhatToBuild, parse
from imagespec.errors import SpecError


def test_nothing_given_gives_the_defaults() -> None:
    assert parse(None) == parse({}) == (WhatToBuild(), HowToBuild())
    assert parse(dict.fromkeys(("user", "cache", "labels", "network", "bytecode", "ssh"))) == parse({})


def test_every_key_is_kept() -> None:
    what, how = parse(
        {
            "user": "worker",
            "workdir": "/srv//app/",
            "commands_first": True,
            "bytecode": False,
            "labels": {"b": "2", "a": "x\ny"},
            "extras": ["b", "a", "a"],
            "groups": ["g"],
            "build_args": {"B": "", "A": "1"},
            "cache": False,
            "cache_from": ["r/x"],
            "cache_to": "type=inline",
            "compression": "zstd",
            "network": "host",
            "secrets": [["f", "/run/f"]],
            "ssh": ["default"],
        }
    )
    assert (what.user, what.workdir, what.commands_first, what.bytecode) == ("worker", "/srv/app", True, False)
    assert what.labels == (("a", "x\ny"), ("b", "2"))
    assert (what.extras, what.groups) == (("a", "b"), ("g",))
    assert what.build_args == (("A", "1"), ("B", ""))
    assert (how.use_cache, how.cache_from, how.cache_to) == (False, ("r/x",), "type=inline")
    assert (how.compression, how.network, how.secrets) == ("zstd", "host", (("f", "/run/f"),))
    assert how.ssh == ("default",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"usr": "x"}, "builder_options.usr: is not a builder option"),
        ({"user": "Root"}, "builder_options.user: 'Root' is not a user's name"),
        ({"user": "1st"}, "builder_options.user: '1st' is not a user's name"),
        ({"user": "x" * 33}, "builder_options.user: '" + "x" * 33 + "' is not a user's name"),
        ({"workdir": "/"}, "builder_options.workdir: '/' belongs to the system"),
        ({"workdir": "//./"}, "builder_options.workdir: '/' belongs to the system"),
        ({"workdir": "/usr/local"}, "builder_options.workdir: '/usr/local' belongs to the system"),
        ({"workdir": "/opt"}, "builder_options.workdir: '/opt' belongs to the system"),
        ({"cache": "no"}, "builder_options.cache: must be true or false, not text"),
        ({"network": "bridge"}, "builder_options.network: 'bridge' is not one of default, host, none"),
        ({"labels": ["a"]}, "builder_options.labels: must map names to text, not a list"),
        ({"labels": {"a=b": "c"}}, "builder_options.labels: 'a=b' is not a label's name"),
        ({"labels": {"a": 1}}, "builder_options.labels.a: must be text, not a number"),
        (
            {"build_args": {"IMAGESPEC_X": ""}},
            "builder_options.build_args: 'IMAGESPEC_X' is not a build argument's name",
        ),
        ({"ssh": ["a", "b"]}, "builder_options.ssh: only one can be given"),
        ({"ssh": ['a="b"']}, "builder_options.ssh: is not id or id=path"),
        ({"extras": ["-x"]}, "builder_options.extras[0]: is not a name"),
    ],
)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(options)
    assert str(caught.value) == message
    assert caught.value.hint


@pytest.mark.parametrize("workdir", ["/root", "/opt/app", "/srv/app", "/home/me", "/app", "/var/app"])
def test_workdirs_of_ones_own(workdir: str) -> None:
    assert parse({"workdir": workdir})[0].workdir == workdir
