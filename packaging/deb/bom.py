"""Writes the bill of materials: what of others is in the package, from which file, with its hash. CycloneDX 1.6, JSON.

The same package always has the same bill: its serial number comes from its contents, and its time is the commit's.
"""

import hashlib
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.utils import canonicalize_name
from wheels import metadata_of

NAME = "iot-jobs-agent"


def bill_of_materials(package: Path, version: str, architecture: str, wheels: Iterable[Path], epoch: int) -> str:
    """Return the bill of a package that was built from these wheels, our own one left out."""
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    whole = Component(
        type=ComponentType.APPLICATION,
        name=NAME,
        version=version,
        bom_ref=NAME,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
        purl=PackageURL("deb", None, NAME, version, {"arch": architecture}),
    )
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, digest))
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    bom.metadata.component = whole
    parts = [_component(wheel) for wheel in sorted(wheels, key=lambda wheel: wheel.name)]
    bom.components.update(parts)
    bom.register_dependency(whole, parts)
    return f"{make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)}\n"


def _component(wheel: Path) -> Component:
    """Return one wheel as a component: a package that has a file for each Python is there once for each."""
    fields = metadata_of(wheel)
    (name,), (version,) = fields["Name"], fields["Version"]
    licence = fields.get("License-Expression", fields.get("License", []))
    return Component(
        type=ComponentType.LIBRARY,
        name=canonicalize_name(name),
        version=version,
        bom_ref=wheel.name,
        description=next(iter(fields.get("Summary", [])), None),
        licenses=[LicenseFactory().make_from_string(text) for text in licence if "\n" not in text],
        purl=PackageURL("pypi", None, canonicalize_name(name), version, {"file_name": wheel.name}),
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(f"https://pypi.org/project/{canonicalize_name(name)}/{version}/"),
                comment=wheel.name,
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(wheel.read_bytes()).hexdigest())],
            )
        ],
    )
