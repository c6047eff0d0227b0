"""Placeholders that AWS refuses, in its words, and package versions, which are known by their form only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.jobs.packages import MAX_PACKAGE_VERSIONS
from iot_jobs_simulator.jobs.settings import ServiceSettings

if TYPE_CHECKING:
    from conftest import Cloud

ARN = "arn:aws:iot:us-east-1:123456789012:"
ROLE = {"roleArn": "arn:aws:iam::123456789012:role/presign"}
S3 = "https://s3.us-east-1.amazonaws.com"


def refused(cloud: Cloud, placeholder: str, **members: Any) -> tuple[str, str]:
    job = {"jobId": "J1", "targets": [ARN + "thing/lamp"], "presignedUrlConfig": ROLE}
    return cloud.refused("CreateJob", **job, document=json.dumps({"a": placeholder}), **members)


FORMS = [
    ("${aws:iot:s3-presigned-url:" + S3 + "/b/k", "One or more parameters or placeholders are not terminated."),
    (
        "${aws:iot:s3-presigned-url:${aws:iot:s3-presigned-url:" + S3 + "/b/k}}",
        "${aws:iot:s3-presigned-url:[...]} should not be the second layer pattern.",
    ),
    (
        "${aws:iot:s3-presigned-url:" + S3 + "/b/${jobId}}",
        "Local placeholder, ${jobId}, is only valid inside of presign url upload",
    ),
    (
        "${aws:iot:s3-presigned-url-upload:" + S3 + "/b/${colour}}",
        "Undefined placeholder, ${colour}, inside of presign url upload parameter",
    ),
    (
        "${aws:iot:s3-presigned-url-upload:" + S3 + "/b/${jobId}${jobId}${jobId}}",
        "The occurrence of local placeholder jobId within S3 presigned url upload placeholder exceeds limit of 2.",
    ),
    (
        "${aws:iot:s3-presigned-url-upload:" + S3 + "/${jobId}/k}",
        "S3 bucket name in presigned url upload is not allowed to contain any placeholders",
    ),
    (
        "${aws:iot:package:app:version:$null:attributes:a}",
        "$null is not allowed to be referenced as a package version in job documents.",
    ),
    (
        "${aws:iot:package:app:version::attributes:a}",
        "Empty package name and version name have to be used in pair.",
    ),
    (
        "${aws:iot:package::version:1.0:attributes:a}",
        "Empty package name and version name have to be used in pair.",
    ),
    (
        "${aws:iot:package::version::attributes:a}",
        "Cannot resolve empty package name and version name given multiple elements in destination package versions.",
    ),
    (
        "see ${aws:iot:package:app:version:1.0:attributes}",
        (
            "The package version attribute placeholder for all attributes has to be a json value by itself and not"
            " appended with other strings or nested with other placeholders."
        ),
    ),
    (
        "${aws:iot:s3-presigned-url:${aws:iot:package:app:version:1.0:artifact:s3-presigned-url}}",
        "${aws:iot:package:[...]:artifact:s3-presigned-url} cannot be nested inside another placeholder.",
    ),
    (
        "${aws:iot:package:app:version:1.0:colour}",
        "A placeholder ${aws:iot:package:...} names no attribute and no artifact of a package version",
    ),
]


@pytest.mark.parametrize(("placeholder", "words"), FORMS)
def test_a_malformed_placeholder_is_refused_in_awss_words(cloud: Cloud, placeholder: str, words: str) -> None:
    assert refused(cloud, placeholder) == ("InvalidRequest", words)


@pytest.mark.parametrize("settings", [ServiceSettings(invalid_documents_have_their_own_exception=True)])
@pytest.mark.parametrize(("placeholder", "words"), FORMS)
def test_the_exception_that_only_the_guide_names_can_be_had(cloud: Cloud, placeholder: str, words: str) -> None:
    assert refused(cloud, placeholder) == ("InvalidJobDocumentException", words)


@pytest.mark.parametrize("url", ["https://example.com/b/k", S3 + "/b", "http://s3/b/k", "nonsense"])
def test_a_placeholder_without_an_object_in_s3_is_refused_in_awss_words(cloud: Cloud, url: str) -> None:
    assert refused(cloud, "${aws:iot:s3-presigned-url:" + url + "}") == (
        "InvalidRequest",
        "Provided argument for presigned url is invalid",
    )


@pytest.mark.parametrize(
    ("placeholder", "kind"),
    [
        ("${aws:iot:code-sign-signature:s3://us-east-1.b/k@1}", "${aws:iot:code-sign-signature"),
        (
            "${aws:iot:code-sign-signature:s3://us-gov-west-1.my.bucket/dir/file v1.bin@aB._-3}",
            "${aws:iot:code-sign-signature",
        ),
        ("${aws:iot:colour:red}", "${aws:iot:colour"),
        ("${aws:ssm:x}", "${aws:ssm"),
        ("${aws:\u00fc}", "${aws:"),
    ],
)
def test_placeholders_of_other_kinds_are_refused_by_name(cloud: Cloud, placeholder: str, kind: str) -> None:
    code, message = refused(cloud, placeholder)
    assert (code, message) == (
        "InvalidRequest",
        f"Placeholders {kind}:...}} in job documents are not supported by this simulator",
    )


@pytest.mark.parametrize(
    "what",
    [
        "",
        ":",
        ":s3://bucket/key@1",
        ":s3://us-east-1.b/k",
        ":s3://us-east-1.b/@1",
        ":s3://us-east-1.b/k@",
        ":https://b/k@1",
    ],
)
def test_a_signature_of_no_version_of_a_code_file_is_malformed(cloud: Cloud, what: str) -> None:
    assert refused(cloud, "${aws:iot:code-sign-signature" + what + "}") == (
        "InvalidRequest",
        "A placeholder ${aws:iot:code-sign-signature:...} does not name s3://REGION.BUCKET/CODE-FILE@VERSION",
    )


@pytest.mark.parametrize(
    ("placeholder", "destinations"),
    [
        ("${aws:iot:package:app:version:1.0:attributes:a}", []),
        ("${aws:iot:package:app:version:$default:attributes:a}", []),
        ("${aws:iot:package:app:version:1.0:attributes}", []),
        ("${aws:iot:package:app:version:1.0:artifact:s3-presigned-url}", []),
        ("${aws:iot:package::version::attributes:a}", [ARN + "package/app/version/1.0"]),
        ("${aws:iot:s3-presigned-url:${aws:iot:package:app:version:1.0:attributes:url}}", []),
    ],
)
def test_a_package_that_nobody_knows_is_refused_by_name(
    cloud: Cloud, placeholder: str, destinations: list[str]
) -> None:
    code, message = refused(cloud, placeholder, destinationPackageVersions=destinations)
    assert (code, "package catalogs are not supported by this simulator" in message) == ("InvalidRequest", True)


@pytest.mark.parametrize("version", ["1.0", "$default", "$null", "v_1-2.3"])
def test_package_versions_are_kept_and_shown(cloud: Cloud, version: str) -> None:
    arns = [ARN + "package/app.x_1-2/version/" + version]
    cloud.create_job("J1", destinationPackageVersions=arns)
    assert cloud.job()["destinationPackageVersions"] == arns
    shown = cloud.operate("DescribeJob", jobId="J1", beforeSubstitution=True)["job"]
    assert shown["destinationPackageVersions"] == arns
    cloud.create_job("J2", destinationPackageVersions=[])
    assert "destinationPackageVersions" not in cloud.job("J2")


@pytest.mark.parametrize(
    ("arns", "words"),
    [
        (["package/app/version/1.0"], "Member must satisfy regular expression pattern: ^arn:[!-~]+$"),
        (["arn:" + "x" * 1600], "Member must have length less than or equal to 1600"),
        ([ARN + "package/app"], "is not the ARN of a package version"),
        ([ARN + "package/app/version/$latest"], "is not the ARN of a package version"),
        ([ARN + "package/a/b/version/1"], "is not the ARN of a package version"),
        ([ARN + "job/J1"], "is not the ARN of a package version"),
        ([ARN + "package/app/version/1"] * (MAX_PACKAGE_VERSIONS + 1), "has 26 ARNs, at most 25 are allowed"),
    ],
)
def test_what_no_package_version_can_have_is_refused(cloud: Cloud, arns: list[str], words: str) -> None:
    job = {"jobId": "J1", "targets": [ARN + "thing/lamp"], "document": "{}", "destinationPackageVersions": arns}
    code, message = cloud.refused("CreateJob", **job)
    assert (code, words in message) == ("InvalidRequest", True)
