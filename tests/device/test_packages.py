"""install-packages and remove-packages with the real apt-get and dpkg, as root, from a repository on this disk.

Packages are tiny, made by dpkg-deb here, and removed again; apt's own lists and sources are not touched.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError
from tests.support.packages import make_package, run

from iot_jobs_agent.handler import Handler
from iot_jobs_handlers.packages import INSTALL, REMOVE

if TYPE_CHECKING:
    from conftest import Call

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can install packages"),
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="this is not Debian"),
    pytest.mark.timeout(120),
]
NAME = "iot-jobs-agent-test"
NAMES = (NAME, f"{NAME}-broken", f"{NAME}-user", f"{NAME}+")
Make = Callable[..., None]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make packages in a repository that is the only one apt knows during the test."""
    repository = tmp_path / "repository"
    for directory in ("repository", "lists/partial", "cache/archives/partial", "empty"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{repository} ./\n")
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "{tmp_path}/empty";\n'
        f'Dir::State::lists "{tmp_path}/lists";\nDir::Cache "{tmp_path}/cache";\nAPT::Sandbox::User "root";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    for key in ("DEBIAN_FRONTEND", "APT_LISTCHANGES_FRONTEND", "NEEDRESTART_MODE"):
        monkeypatch.setenv(key, "to be overwritten")

    def made(name: str, version: str = "1.0", postinst: str = "", **fields: str) -> None:
        scripts = {"DEBIAN/postinst": f"#!/bin/sh\n{postinst}\n"} if postinst else {}
        make_package(repository, name, version, files=scripts, **fields)
        index(repository)

    index(repository)
    yield made
    subprocess.run(["/usr/bin/dpkg", "--purge", "--force-all", *NAMES], check=False, capture_output=True)


def index(repository: Path) -> None:
    """Write the index as apt-ftparchive would, which is not everywhere."""
    entries = []
    for package in sorted(repository.glob("*.deb")):
        digest = run("sha256sum", package).split()[0]
        control = run("dpkg-deb", "--field", package).rstrip()
        entries.append(f"{control}\nFilename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {digest}\n")
    (repository / "Packages").write_text("\n".join(entries))


def state(name: str) -> str:
    asked = ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}${Version}", name]
    return subprocess.run(asked, check=False, capture_output=True, text=True).stdout


def test_packages_are_installed_and_removed(make: Make, call: "Call") -> None:
    make(NAME)
    make(f"{NAME}-user", Depends=NAME)
    ended = call(INSTALL, {"packages": [f"{NAME}-user", NAME]})
    assert (ended.word, ended.details) == ("succeeded", {NAME: "1.0", f"{NAME}-user": "1.0"})
    assert state(NAME) == "ii 1.0"
    ended = call(REMOVE, {"packages": [NAME]})
    assert (ended.word, ended.details) == ("succeeded", {"removed": NAME})
    assert not state(NAME).startswith("ii")
    assert not state(f"{NAME}-user").startswith("ii")


def test_what_is_done_already_succeeds(make: Make, call: "Call") -> None:
    make(NAME)
    assert call(REMOVE, {"packages": [NAME]}).details == {"removed": ""}
    assert [call(INSTALL, {"packages": [NAME]}).word for _ in range(2)] == ["succeeded", "succeeded"]


def test_a_version_is_installed_even_an_older_one(make: Make, call: "Call") -> None:
    make(NAME, "1.0")
    make(NAME, "2.0")
    assert call(INSTALL, {"packages": [NAME]}).details == {NAME: "2.0"}
    assert call(INSTALL, {"packages": [f"{NAME}=1.0"]}).details == {NAME: "1.0"}
    assert "Version '3.0'" in call(INSTALL, {"packages": [f"{NAME}=3.0"]}).reason
    assert state(NAME) == "ii 1.0"


def test_an_unknown_name_fails_and_is_not_a_pattern(make: Make, call: "Call") -> None:
    make(NAME)
    for unknown in ("iot-jobs.agent-test", f"{NAME}+", "no-such-package"):
        ended = call(INSTALL, {"packages": [unknown]})
        assert (ended.word, ended.reason) == ("failed", f"no source has a package named {unknown}")
    assert state(NAME) == ""


def test_to_remove_a_name_with_a_plus_installs_nothing(make: Make, call: "Call") -> None:
    make(NAME)
    call(INSTALL, {"packages": [NAME], "update": True})
    call(REMOVE, {"packages": [NAME]})
    assert call(REMOVE, {"packages": [f"{NAME}+"]}).details == {"removed": ""}
    assert not state(NAME).startswith("ii")


def test_a_package_that_does_not_configure_fails_with_apts_words(make: Make, call: "Call") -> None:
    make(f"{NAME}-broken", postinst="echo no >&2; exit 3")
    ended = call(INSTALL, {"packages": [f"{NAME}-broken"]})
    assert ended.word == "failed"
    assert ended.reason.startswith("apt-get exited with code 100: Sub-process /usr/bin/dpkg returned an error code")
    assert state(f"{NAME}-broken").startswith("iF")
    assert call(REMOVE, {"packages": [f"{NAME}-broken"]}).word == "succeeded"


def test_an_install_that_would_remove_another_package_fails(make: Make, call: "Call") -> None:
    make(NAME)
    make(f"{NAME}-user", Conflicts=NAME)
    call(INSTALL, {"packages": [NAME]})
    assert "remove is disabled" in call(INSTALL, {"packages": [f"{NAME}-user"]}).reason
    assert state(NAME) == "ii 1.0"


def test_a_lock_that_stays_taken_is_a_retry(make: Make, call: "Call") -> None:
    make(NAME)
    call(INSTALL, {"packages": [NAME]})
    with Path("/var/lib/dpkg/lock-frontend").open("wb") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        words = [call(each, {"packages": [NAME]}, {"lock_timeout_s": 0}).word for each in (REMOVE,)]
    assert words == ["retry"]
    assert state(NAME) == "ii 1.0"


def test_a_lock_that_is_given_back_is_waited_for(make: Make, call: "Call", tmp_path: Path) -> None:
    make(NAME)
    call(INSTALL, {"packages": [NAME]})
    names = {"ID": "1", "PHASE": "run", "DIR": tmp_path, "SETTINGS_FILE": tmp_path / "settings.json", "CONTROL_FD": 2}
    environment = {f"JOB_{key}": str(value) for key, value in names.items()} | {"JOB_RESULT_FILE": f"{tmp_path}/result"}
    (tmp_path / "settings.json").write_text('{"lock_timeout_s": 60}')
    with Path("/var/lib/dpkg/lock-frontend").open("wb") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        worker = subprocess.Popen(
            [sys.executable, "-I", "-m", "iot_jobs_agent.worker", "iot_jobs_handlers.packages:REMOVE", "run"],
            env=environment | {"PATH": os.environ["PATH"], "APT_CONFIG": os.environ["APT_CONFIG"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdin
        assert worker.stdout
        worker.stdin.write(json.dumps({"packages": [NAME]}))
        worker.stdin.close()
        said = ""
        while "Waiting for cache lock" not in said:
            more = worker.stdout.read(1)
            assert more, said
            said += more
    worker.stdout.read()
    worker.stdout.close()
    assert worker.wait() == 0
    assert json.loads((tmp_path / "result").read_text())["outcome"] == "succeeded"
    assert not state(NAME).startswith("ii")


def test_the_lock_of_the_lists_is_a_retry_too(make: Make, call: "Call", tmp_path: Path) -> None:
    make(NAME)
    with (tmp_path / "lists" / "lock").open("wb") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        assert call(INSTALL, {"packages": [NAME]}, {"lock_timeout_s": 0}).word == "retry"


def test_what_an_interrupted_dpkg_left_is_finished_first(make: Make, call: "Call", tmp_path: Path) -> None:
    make(NAME)
    run("dpkg", "--unpack", tmp_path / "repository" / f"{NAME}_1.0_all.deb")
    status = run("dpkg-query", "--status", NAME).rstrip()
    Path("/var/lib/dpkg/updates/0001").write_text(f"{status}\n\n")
    assert state(NAME).startswith("iU")
    assert call(INSTALL, {"packages": [NAME]}).word == "succeeded"
    assert state(NAME) == "ii 1.0"
    assert not Path("/var/lib/dpkg/updates/0001").exists()


@pytest.mark.parametrize("handler", [INSTALL, REMOVE])
def test_without_root_it_is_rejected(call: "Call", tmp_path: Path, handler: Handler[Any]) -> None:
    shutil.chown(tmp_path / "job", "nobody")
    tmp_path.chmod(0o777)
    parents = [each for each in tmp_path.parents if each.stat().st_uid == 0 and each.stat().st_mode & 0o777 == 0o700]
    for parent in parents:
        parent.chmod(0o711)
    os.seteuid(65534)
    try:
        ended = call(handler, {"packages": ["curl"]})
    finally:
        os.seteuid(0)
        for parent in parents:
            parent.chmod(0o700)
    assert (ended.word, ended.reason) == ("rejected", "needs a privileged unit")


@pytest.mark.parametrize(
    "name", ["-y", "curl-", "Curl", "curl;id", "a", "./x.deb", "curl/stable", "curl:arm64", "?all", ""]
)
def test_a_text_that_cannot_be_a_name_is_not_accepted(name: str) -> None:
    for handler in (INSTALL, REMOVE):
        with pytest.raises(ValidationError):
            handler.params.model_validate({"packages": [name]})
