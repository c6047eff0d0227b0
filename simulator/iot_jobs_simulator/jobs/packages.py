"""Versions of software packages, as jobs name them: the form of their ARNs and placeholders. Pure.

There is no package catalog here, so no placeholder can be resolved and no shadow `$package` is updated; what AWS would
refuse is refused in its words (developer guide, page software-package-catalog-troubleshooting).
"""

import re
from collections.abc import Sequence
from typing import Final

from iot_jobs_simulator.refusals import Code, Refused, invalid

MAX_PACKAGE_VERSIONS: Final = 25
_NAME: Final = "[a-zA-Z0-9_.-]"
_ARN: Final = re.compile(
    rf"arn:aws[a-z-]*:iot:[a-z0-9-]+:[0-9]{{12}}:package/{_NAME}{{1,128}}/version/(?:{_NAME}{{1,64}}|\$default|\$null)"
)
_PLACEHOLDER: Final = re.compile(
    r"\$\{aws:iot:package:(?P<package>[^:${}]*):version:(?P<version>[^:{}]*)"
    r":(?P<what>attributes|attributes:[^:${}]+|artifact:s3-presigned-url)\}"
)
_BEGINNING: Final = "${aws:iot:package:"


def check_package_versions(arns: Sequence[str]) -> None:
    """Refuse destinationPackageVersions that no package version can have; none is looked up."""
    if len(arns) > MAX_PACKAGE_VERSIONS:
        raise invalid(f"destinationPackageVersions has {len(arns)} ARNs, at most {MAX_PACKAGE_VERSIONS} are allowed")
    for each in arns:
        if _ARN.fullmatch(each) is None:
            raise invalid(f"{each} is not the ARN of a package version")


def check_package_placeholders(document: str, destinations: Sequence[str]) -> None:
    """Refuse each placeholder of a package: in AWS's words if it is malformed, else because there is no catalog."""
    for match in _PLACEHOLDER.finditer(document):
        _check_one(match, document, destinations)
    if _BEGINNING in _PLACEHOLDER.sub("", document):
        raise _malformed(f"A placeholder {_BEGINNING}...}} names no attribute and no artifact of a package version")


def _check_one(match: re.Match[str], document: str, destinations: Sequence[str]) -> None:
    package, version, what = match["package"], match["version"], match["what"]
    if version == "$null":
        raise _malformed("$null is not allowed to be referenced as a package version in job documents.")
    if bool(package) is not bool(version):
        raise _malformed("Empty package name and version name have to be used in pair.")
    if not package and len(destinations) != 1:
        raise _malformed(
            "Cannot resolve empty package name and version name given multiple elements in destination package"
            " versions."
        )
    before, after = document[: match.start()].rstrip(), document[match.end() :].lstrip()
    is_alone = before.endswith('"') and after.startswith('"')
    if what == "attributes" and not is_alone:
        raise _malformed(
            "The package version attribute placeholder for all attributes has to be a json value by itself and not"
            " appended with other strings or nested with other placeholders."
        )
    if what.startswith("artifact") and _is_nested(document[: match.start()]):
        raise _malformed(
            "${aws:iot:package:[...]:artifact:s3-presigned-url} cannot be nested inside another placeholder."
        )
    raise invalid(f"{match[0]} cannot be resolved: package catalogs are not supported by this simulator")


def _is_nested(before: str) -> bool:
    """Whether a placeholder is open at the end of a text."""
    return before.rfind("${aws:") > before.rfind("}")


def _malformed(message: str) -> Refused:
    return Refused(Code.INVALID_JOB_DOCUMENT, message)
