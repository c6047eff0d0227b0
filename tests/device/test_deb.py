"""The Debian packages as files: what is in them, that lintian is content, and that two builds are the same."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.packages import run

from iot_jobs_agent.commands.table import COMMANDS

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "packaging" / "build-deb"
SITE = "usr/lib/iot-jobs-agent/lib/python3/site-packages"
MACHINES = {"amd64": "Advanced Micro Devices X86-64", "arm64": "AArch64"}
LIBRARIES = {  # of libc6 and libgcc-s1, on which the package depends
    *("libc", "libm", "libdl", "librt", "libpthread", "ld-linux-x86-64", "ld-linux-aarch64", "libgcc_s")
}
START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); import awscrt.mqtt, awsiot, jsonschema_rs; "
    "import iot_jobs_agent.daemon, iot_jobs_agent.config.config; from iot_jobs_agent.__main__ import main; "
    "assert all(module.__file__.startswith(sys.path[0]) for module in (awscrt, jsonschema_rs)); main(['--version'])"
)
COMPLETE = """source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
$(complete -p iot-jobs-agent | sed 's/.* -F \\([^ ]*\\) .*/\\1/'); printf '%s\\n' "${COMPREPLY[@]}" ;"""
pytestmark = [
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="this is not Debian"),
    pytest.mark.timeout(600),  # a build fetches wheels for two machine types and three Pythons
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packages of this checkout, by Debian's name for the machine type."""
    lines = run(BUILD, "--quick", "--output", tmp_path_factory.mktemp("built")).splitlines()
    packages = [Path(line) for line in lines if line.endswith(".deb")]
    assert lines[-1] == str(packages[-1])
    return {path.stem.rpartition("_")[2]: path for path in packages}


@pytest.fixture(scope="module")
def trees(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """What is in them."""
    unpacked = {name: tmp_path_factory.mktemp(name) / "tree" for name in built}
    for name, package in built.items():
        run("dpkg-deb", "--raw-extract", package, unpacked[name])
    yield unpacked
    for tree in unpacked.values():
        shutil.rmtree(tree)


def contents(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def test_two_builds_of_a_commit_are_the_same_and_the_hashes_are_theirs(built: dict[str, Path], tmp_path: Path) -> None:
    os.umask(0o077)  # another person's
    run(BUILD, "--quick", "--output", tmp_path)
    os.umask(0o022)
    assert contents(tmp_path) == contents(built["amd64"].parent)
    assert len(contents(tmp_path)) == 2 * len(MACHINES) * 2
    for path in tmp_path.glob("*.sha256"):
        digest, name = path.read_text().split()
        assert contents(tmp_path)[name] == digest


def test_lintian_is_content_but_for_what_has_its_reason(built: dict[str, Path]) -> None:
    said = run("lintian", "--allow-root", "--display-info", "--fail-on=error,warning", *built.values())
    assert [line for line in said.splitlines() if line.startswith(("E:", "W:"))] == []
    overrides = (ROOT / "packaging/debian/lintian-overrides").read_text().splitlines()
    for above, line in zip(["", *overrides], overrides, strict=False):
        assert line.startswith("#") or above.startswith("#"), line


def test_a_wrong_key_leaves_the_repository_as_it_was(built: dict[str, Path], tmp_path: Path) -> None:
    home, repository = tmp_path / "gnupg", tmp_path / "repository"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", ""]
    run(*gpg, "--quick-generate-key", "packages@example.com", "ed25519", "sign", "never")
    build = [BUILD.with_name("build-repository"), "--gnupg-home", home, "--output", repository]
    run(*build, "--key", "packages@example.com", built["amd64"])
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    assert repository / "dists/stable/InRelease" in before
    wrong = subprocess.run([*build, "--key", "nobody@example.com", built["arm64"]], check=False, capture_output=True)
    assert wrong.returncode == 1
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["gnupg", "repository"]


def test_every_file_for_systemd_is_in_its_place(trees: dict[str, Path]) -> None:
    for tree in trees.values():
        for source in (ROOT / "systemd").iterdir():
            name = source.name.replace(".sysusers.", ".").replace(".tmpfiles.", ".")
            placed = [path for path in tree.rglob(f"*{name}") if path.read_bytes() == source.read_bytes()]
            assert len(placed) == 1, source


def test_the_program_of_the_unit_is_in_the_package(trees: dict[str, Path]) -> None:
    unit = (ROOT / "systemd/iot-jobs-agent.service").read_text()
    program = re.findall(r"^ExecStart=/(\S+)", unit, re.MULTILINE)[0]
    for tree in trees.values():
        assert (tree / program).stat().st_mode & 0o111
        assert (tree / "usr/bin/iot-jobs-agent").resolve() == (tree / program).resolve()


def test_there_is_no_simulator_and_nothing_for_its_users(trees: dict[str, Path]) -> None:
    for tree in trees.values():
        assert [*tree.rglob("*iot_jobs_simulator*"), *tree.rglob("*iot-jobs-simulator*")] == []
        points = next((tree / SITE).glob("iot_jobs_agent-*/entry_points.txt")).read_text()
        assert "pytest11" not in points
        assert {path.name for path in (tree / "usr/lib/iot-jobs-agent/bin").iterdir()} == {
            *("iot-jobs-agent", "jobctl", "python3")
        }


def test_compiled_modules_are_of_the_machine_type_for_each_python(trees: dict[str, Path]) -> None:
    for architecture, tree in trees.items():
        modules = list((tree / SITE).rglob("*.so"))
        names = {path.name.split(".")[1] for path in modules}
        triplet = {"amd64": "x86_64", "arm64": "aarch64"}[architecture]
        assert names == {"abi3", *(f"cpython-3{minor}-{triplet}-linux-gnu" for minor in (11, 12, 13))}
        for path in modules:
            assert MACHINES[architecture] in run("readelf", "--file-header", path), path
            needed = re.findall(r"Shared library: \[(\S+?)\.so", run("readelf", "--dynamic", path))
            assert set(needed) <= LIBRARIES


def test_it_runs_with_each_python_that_is_here(trees: dict[str, Path]) -> None:
    tree = trees[run("dpkg", "--print-architecture").strip()]
    listed = json.loads(run("uv", "python", "list", "--only-installed", "--output-format=json"))
    pythons = {each["version"].rpartition(".")[0]: each["path"] for each in listed}
    for python in {"3.11", "3.12", "3.13"} & pythons.keys():
        assert run(pythons[python], "-I", "-S", "-B", "-c", START, tree / SITE) == "0.1.0\n", python


def test_the_bill_of_materials_names_the_pinned_versions_and_the_package(
    built: dict[str, Path], trees: dict[str, Path]
) -> None:
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    for architecture, package in built.items():
        bill = json.loads(package.with_suffix(".cdx.json").read_text())
        assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
        digest = bill["metadata"]["component"]["hashes"][0]["content"]
        assert digest == hashlib.sha256(package.read_bytes()).hexdigest()
        parts = {(part["name"], part["version"]) for part in bill["components"]}
        assert {f"{name}=={version}" for name, version in parts} <= set(pins)
        assert all(part["externalReferences"][0]["hashes"] and part["licenses"] for part in bill["components"])
        inside = {path.name.partition("-")[0] for path in (trees[architecture] / SITE).glob("*.dist-info")}
        assert {name.replace("-", "_") for name, _ in parts} == inside - {"iot_jobs_agent"}


def test_the_man_pages_have_every_command_and_every_key_and_groff_has_no_complaint(trees: dict[str, Path]) -> None:
    man = next(iter(trees.values())) / "usr/share/man"
    shown = {}
    wide = os.environ | {"MANWIDTH": "200", "LC_ALL": "C.UTF-8"}
    for page in (man / "man1/iot-jobs-agent.1.gz", man / "man5/iot-jobs-agent.toml.5.gz"):
        command = ["man", "--warnings", "--local-file", page]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=wide)
        assert done.stderr == ""
        shown[page.name] = re.sub(r"\s+", " ", done.stdout)
    for name, command in COMMANDS.items():
        words = f"{command.summary[1:]}. {command.more}".replace("`", "").rstrip()
        assert words in shown["iot-jobs-agent.1.gz"], name
    assert "--private-key FILE the file with its private key; it is copied" in shown["iot-jobs-agent.1.gz"]
    assert "78 the configuration cannot be used" in shown["iot-jobs-agent.1.gz"]
    reference = (ROOT / "config.example.toml").read_text()
    for line in re.findall(r"^(?:# )?(\w+ = .*)$", reference, re.MULTILINE):
        assert line in shown["iot-jobs-agent.toml.5.gz"], line


def test_bash_completes_commands_options_and_files(trees: dict[str, Path], tmp_path: Path) -> None:
    script = next(iter(trees.values())) / "usr/share/bash-completion/completions/iot-jobs-agent"
    (tmp_path / "client.pem").touch()

    def completed(*words: str) -> list[str]:
        command = ["bash", "-c", COMPLETE, script, *words]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split()

    assert completed("iot-jobs-agent", "se") == ["setup"]
    assert completed("iot-jobs-agent", "setup", "--fo") == ["--force"]
    assert completed("iot-jobs-agent", "setup", "--certificate", "cl") == ["client.pem"]
