"""Presigned-URL placeholders in job documents (developer guide, page create-manage-jobs). Does no I/O.

Checked when a job is created, replaced each time its document is delivered: a fresh URL every time, its life beginning
then. GetJobDocument shows them as they are.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from iot_jobs_simulator.jobs.execution import JobExecution
from iot_jobs_simulator.jobs.store import Documents
from iot_jobs_simulator.objects import ObjectPlace, Objects
from iot_jobs_simulator.refusals import Code, Refused, invalid

_ANY: Final = "${aws:"
_PRESIGNED: Final = "${aws:iot:s3-presigned-url"
_SIGNATURE: Final = "${aws:iot:code-sign-signature"
_SIGNATURE_OF: Final = re.compile(re.escape(_SIGNATURE) + r":s3://[a-z0-9-]+\.[a-z0-9.-]+/[^${}\"@]+@[^${}\"@]+\}")
_DEFAULT_LIFE_S: Final = 3600
_MAX_USES: Final = 2
MAX_DOCUMENT_BYTES: Final = 32768  # AWS IoT Device Management quotas, "Job document size"
# The host of an object's URL: path-style, virtual-hosted, dual-stack, with a dash or a point, in any partition.
_S3_HOST: Final = re.compile(
    r"(?:(?P<bucket>[a-z0-9][a-z0-9.-]+)\.)?s3(?:[.-](?:dualstack\.)?[a-z]{2}(?:-[a-z]+)+-\d)?\.amazonaws\.com(?:\.cn)?"
)
# One placeholder; the key of an upload may hold placeholders of its own, no other may.
_PLACEHOLDER: Final = re.compile(
    r"\$\{aws:iot:s3-presigned-url(?P<form>-v1|-v2|-upload)?:?(?P<url>(?:[^${}\"]|\$\{[a-zA-Z]+\})*)\}"
)
_LOCAL: Final = re.compile(r"\$\{(?P<name>[a-zA-Z]+)\}")
_LOCAL_STAND_IN: Final = "local-placeholder"
_NOT_OF_S3: Final = "Provided argument for presigned url is invalid"
_LOCALS: Final = frozenset({"thingName", "jobId", "executionNumber"})


def check(document: str) -> None:
    """Refuse presigned-URL placeholders that cannot be replaced, and placeholders of other kinds by name.

    The words are AWS's, of the developer guide's page software-package-catalog-troubleshooting.
    """
    rest = _PLACEHOLDER.sub("", document)
    if (at := rest.find(_ANY)) >= 0:
        raise _refusal_of(rest[at:])
    for match in _PLACEHOLDER.finditer(document):
        _check_one(match)


def check_role(document: str, presigned_url_config: Mapping[str, Any]) -> None:
    """Refuse a document with presigned-URL placeholders where there is no role to sign with."""
    if _PLACEHOLDER.search(document) and "roleArn" not in presigned_url_config:
        raise invalid("presignedUrlConfig role ARN is required to generate an S3 presigned url in job document.")


class PresignedDocuments(Documents):
    """Documents beside an object store, whose placeholders become URLs of it. `base_url` does not end in a slash."""

    def __init__(self, objects: Objects, base_url: str, now: Callable[[], float]) -> None:
        self._objects = objects
        self._base_url = base_url
        self._now = now

    def read_source(self, url: str) -> str:
        """Read the job document that a documentSource names; raises InvalidRequest where there is none."""
        place = _place(url)
        content = self._objects.get(place.bucket, place.key)
        if content is None:
            raise invalid(f"The object {url} does not exist")
        if len(content) > MAX_DOCUMENT_BYTES:
            raise invalid(f"The object {url} has more than {MAX_DOCUMENT_BYTES} bytes")
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise invalid(f"The object {url} is not UTF-8") from None

    def deliver(self, document: str, presigned_url_config: Mapping[str, Any], execution: JobExecution) -> str:
        """The document as this delivery of it reads."""
        expires_s = int(presigned_url_config.get("expiresInSec", _DEFAULT_LIFE_S))

        def url(match: re.Match[str]) -> str:
            method = "PUT" if match["form"] == "-upload" else "GET"
            place = _place(_named(match, execution))
            return self._base_url + self._objects.presign(method, place, self._now(), expires_s)

        return _PLACEHOLDER.sub(url, document)


def _refusal_of(rest: str) -> Refused:
    """Why the placeholder with which the text begins cannot be replaced; it lies in one JSON string."""
    if "}" not in rest.partition('"')[0]:
        return _malformed("One or more parameters or placeholders are not terminated.")
    if rest.startswith(_PRESIGNED):
        return _malformed("${aws:iot:s3-presigned-url:[...]} should not be the second layer pattern.")
    if rest.startswith(_SIGNATURE) and _SIGNATURE_OF.match(rest) is None:
        return _malformed(f"A placeholder {_SIGNATURE}:...}} does not name s3://REGION.BUCKET/CODE-FILE@VERSION")
    kind = re.match(r"[$]\{aws:(?:iot:)?[a-z0-9-]*", rest)
    shown = kind[0] if kind else _ANY
    return invalid(f"Placeholders {shown}:...}} in job documents are not supported by this simulator")


def _check_one(match: re.Match[str]) -> None:
    locals_used = [local["name"] for local in _LOCAL.finditer(match["url"])]
    for name in locals_used:
        if match["form"] != "-upload":
            raise _malformed(f"Local placeholder, ${{{name}}}, is only valid inside of presign url upload")
        if name not in _LOCALS:
            raise _malformed(f"Undefined placeholder, ${{{name}}}, inside of presign url upload parameter")
        if locals_used.count(name) > _MAX_USES:
            raise _malformed(
                f"The occurrence of local placeholder {name} within S3 presigned url upload placeholder exceeds"
                f" limit of {_MAX_USES}."
            )
    if not match["url"] and match["form"] == "-upload":
        return
    url = _url(match)
    place = _place(_LOCAL.sub(_LOCAL_STAND_IN, url))
    if _LOCAL_STAND_IN in place.bucket:
        raise _malformed("S3 bucket name in presigned url upload is not allowed to contain any placeholders")
    if not place.key:
        raise invalid(_NOT_OF_S3)


def _malformed(message: str) -> Refused:
    return Refused(Code.INVALID_JOB_DOCUMENT, message)


def _named(match: re.Match[str], execution: JobExecution) -> str:
    """The URL with what it says about the execution. An upload without bucket and key gets both made up."""
    values = {"thingName": execution.thing_name, "jobId": execution.job_id, "executionNumber": str(execution.number)}
    url = _url(match) or "https://s3.amazonaws.com/uploads/${jobId}/${thingName}/${executionNumber}"
    return _LOCAL.sub(lambda local: values[local["name"]], url)


def _url(match: re.Match[str]) -> str:
    r"""As written; JSON allows `\/` for `/`, and the second version has the whole URL percent-encoded."""
    url = match["url"].replace("\\/", "/")
    return unquote(url) if match["form"] == "-v2" else url


def _place(url: str) -> ObjectPlace:
    """Bucket and key of a path-style or virtual-hosted URL; a version is dropped, since the simulator keeps one."""
    parts = urlsplit(url.replace("#", "%23"))
    path = unquote(parts.path).removeprefix("/")
    if parts.scheme == "s3" and parts.netloc:
        return ObjectPlace(parts.netloc, path)
    host = _S3_HOST.fullmatch(parts.netloc)
    if parts.scheme not in ("https", "http") or host is None:
        raise invalid(_NOT_OF_S3)
    if host["bucket"] is not None:
        return ObjectPlace(host["bucket"], path)
    bucket, _, key = path.partition("/")
    return ObjectPlace(bucket, key)
