"""The conformance kit finds what is wrong with a handler, and nothing wrong with our own."""

import os
from typing import Any

import pytest

from iot_jobs_agent.kit.inputs import may_be

GOOD = """#!/bin/sh
[ "$1" = describe ] && echo '{"name": "good", "on_interrupt": "resume", "grace_s": 5}' && exit 0
set -e
grep -q '"a": 1' "$JOB_FILE" || { jobctl reject 'a: give 1' && exit 0; }
jobctl progress 10 "$1" || :
cat > work
rm -f half
echo half > half
"""
BAD = {
    "SIGTERM": """#!/bin/sh
[ "$1" = describe ] && echo '{"name": "bad", "grace_s": 0.3}' && exit 0
trap '' TERM
echo '{"progress": 1}' >&3
for tenth in 1 2 3 4 5 6; do sleep 0.1; done
""",
    "SIGKILL": """#!/bin/sh
[ -e @lock ] && echo "locked" >&2 && exit 1
trap 'rm @lock; exit 1' TERM
touch @lock
echo '{"progress": 1}' >&3
sleep 0.3
rm @lock
""",
    "SIGKILL and resume": """#!/bin/sh
[ "$1" = describe ] && echo '{"name": "bad", "on_interrupt": "resume"}' && exit 0
trap 'rmdir copy; exit 1' TERM
mkdir copy || exit 1
echo '{"progress": 1}' >&3
sleep 0.2
rmdir copy
""",
    "full disk": "#!/bin/sh\ncat > downloaded\nexit 0\n",
    "closed fd 3": "#!/bin/sh\nset -e\necho '{\"progress\": 1}' >&3\n",
    "unknown key": "#!/bin/sh\ngrep -q unknown && exit 1\nexit 0\n",
}


def test_one_that_does_everything_right_conforms(author: Any) -> None:
    author.write("good", GOOD)
    done = author.run("try", "./good", "-", "--conform", params={"a": 1})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"ok     {case}"
        for case in (
            *("undisturbed", "SIGTERM", "SIGKILL", "SIGKILL and resume"),
            *("full disk", "closed fd 3", "10 MB of output", "unknown key"),
            *("odd file name", "option in a text", "wrong type"),
        )
    ]


@pytest.mark.parametrize("case", BAD)
def test_each_wrong_is_found_and_is_the_only_one(author: Any, case: str) -> None:
    author.write("bad", BAD[case].replace("@lock", str(author.directory / "lock")))
    problems = author.problems("./bad", {})
    assert next(iter(problems)) == case
    if case == "SIGKILL":  # the lock of the one that was killed is in the way from then on
        assert "locked" in problems[case]
    else:
        assert list(problems) == [case]
    if case == "full disk":
        assert problems[case].endswith("not even downloaded in JOB_DIR")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'no such unit' >&2; exit 4", "exited with code 4: no such unit; give params and settings"),
        ("sleep 1000 & exit 0", "1 process left behind and killed"),
        ("echo nonsense >&3", "a line on fd 3 was ignored"),
    ],
)
def test_one_that_is_wrong_even_undisturbed_is_told(author: Any, script: str, words: str) -> None:
    author.write("bad", f"#!/bin/sh\n{script}\n")
    config = author.write("config.toml", "[handler.bad]\ngrace_s = 1\n")
    assert words in author.problems("./bad", {}, "--config", config)["undisturbed"]


# What docs/writing-a-handler.md showed until 2026-11-22.
SHELL_UNTIL_2026_11 = r"""#!/bin/sh
set -eu
param() {
    python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1" < "$JOB_FILE" 2> /dev/null
}
if ! directory=$(param directory) || ! keep=$(param keep) || ! [ -d "$directory" ]; then
    jobctl reject "directory, keep: name a directory that exists, and how many files to keep"
    exit 0
fi
cd "$directory"
ls -t | tail -n +$((keep + 1)) | while read -r old; do
    rm -f -- "$old"
done
"""
PERL_UNTIL_2026_11 = r"""#!/usr/bin/perl
use strict;
use warnings;
use JSON::PP;
my $params = decode_json(do { local $/; <STDIN> });
my ($directory, $keep) = @{$params}{qw(directory keep)};
if (!defined $keep || !defined $directory || !-d $directory) {
    open(my $result, '>', $ENV{JOB_RESULT_FILE}) or die;
    print {$result} encode_json({outcome => 'rejected', reason => 'directory, keep'});
    exit 0;
}
my %age = map { $_ => -M $_ } grep { -f } glob("$directory/*");
my @newest_first = sort { $age{$a} <=> $age{$b} } keys %age;
for my $old (splice(@newest_first, $keep)) {
    unlink($old) or die;
}
"""


@pytest.mark.parametrize("text", [SHELL_UNTIL_2026_11, PERL_UNTIL_2026_11], ids=["shell", "perl"])
def test_field_g1_a_handler_that_guesses_at_types_and_splits_names_does_not_conform(author: Any, text: str) -> None:
    author.write("keep-newest", text)
    for age in range(4):
        path = author.write(f"logs/log.{age}", "")
        os.utime(path, (1000 - age, 1000 - age))
    problems = author.problems("./keep-newest", {"directory": str(author.directory / "logs"), "keep": 2})
    assert list(problems) == ["odd file name", "wrong type"]
    assert problems["wrong type"].startswith('keep = "conformance-kit": ended ')
    assert problems["odd file name"].startswith("with blanks and dashes in the names below directory it left other")


def test_field_g1_a_text_that_becomes_an_option_of_another_program_is_found(author: Any) -> None:
    author.write("unit", '#!/bin/sh\nunit=$(cut -d \'"\' -f 4 "$JOB_FILE")\n[ -n "$unit" ] || exit 1\nuname $unit\n')
    config = author.write("unit.manifest.json", '{"params": {"properties": {"unit": {}}}}', mode=0o644)
    assert config.exists()
    assert author.problems("./unit", {"unit": "-m"}) == {
        "option in a text": (
            'unit = "--help": ended SUCCEEDED, although "conformance-kit" does not;'
            " quote the value, and put -- in front of it"
        )
    }


@pytest.mark.parametrize(
    ("schema", "value", "may"),
    [
        ({}, [], False),
        ({"properties": {}}, [], True),
        ({"properties": {"a": {"type": "string"}}}, [], False),
        ({"properties": {"a": {"type": ["string", "array"]}}}, [], True),
        ({"properties": {"a": {"anyOf": [{"type": "array"}, {"type": "null"}]}}}, [], True),
        ({"properties": {"a": {"oneOf": [{"type": "string"}]}}}, {"text": 1}, False),
        ({"properties": {"a": {"$ref": "#/$defs/a"}}}, 7, True),
        ({"properties": {"a": {"type": "integer"}}}, True, False),
    ],
)
def test_field_g1_a_type_is_wrong_unless_the_manifest_allows_it(
    schema: dict[str, Any], value: object, *, may: bool
) -> None:
    assert may_be(schema, "a", value) is may


def test_field_g1_after_the_last_case_the_work_is_what_the_params_asked_for(author: Any) -> None:
    author.write("note", f"#!/bin/sh\ncat > {author.directory}/noted\n")
    author.problems("./note", {"text": "hello"})
    assert (author.directory / "noted").read_text() == '{"text": "hello"}'


BUSY_AT_FIRST = """#!/bin/sh
[ "$1" = describe ] && echo '{"may_reboot": true, "on_interrupt": "rerun"}' && exit 0
[ -e tried ] || { touch tried && jobctl retry 'dpkg is locked' && exit 0; }
[ "$1" = resume ] || { jobctl reboot 'new kernel' && exit 0; }
[ "$JOB_REASON" = reboot ] @and
"""


def test_field_g2_a_handler_that_asks_for_another_try_and_a_reboot_conforms(author: Any) -> None:
    author.write("busy", BUSY_AT_FIRST.replace("@and", ""))
    done = author.run("try", "./busy", "{}", "--conform")
    assert (done.returncode, "ok     SIGKILL and rerun\n" in done.stdout) == (0, True), done.stdout


def test_field_g2_one_that_fails_after_its_reboot_does_not_conform(author: Any) -> None:
    author.write("busy", BUSY_AT_FIRST.replace("@and", "&& exit 4"))
    assert author.problems("./busy", {})["undisturbed"].startswith("ended FAILED: exited with code 4")
