"""The conformance kit finds what is wrong with a handler, and nothing wrong with our own."""

from typing import Any

import pytest

GOOD = """#!/bin/sh
[ "$1" = describe ] && echo '{"name": "good", "on_interrupt": "resume", "grace_s": 5}' && exit 0
set -e
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
