"""Objects as S3 keeps them, in memory, and presigned URLs for them: good for one method, one object, and a while.

A URL has the query of AWS's Signature Version 4, so that clients take it for one; its signature is an HMAC-SHA256 of
method, path and query with a key of the simulator's own, which is all that checking it here needs. Does no I/O;
`http.s3` serves it.
"""

import hashlib
import hmac
import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlencode

from iot_jobs_simulator.names import REGION

PATH: Final = "/_simulator/s3/"
_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_SIGNED: Final = frozenset(
    {f"X-Amz-{name}" for name in ("Algorithm", "Credential", "Date", "Expires", "Security-Token", "SignedHeaders")}
)
_DATE: Final = "%Y%m%dT%H%M%SZ"


class Denied(Exception):  # noqa: N818 - it is what S3 says
    """S3's 403, with its code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """Bucket and key."""

    bucket: str
    key: str

    @property
    def path(self) -> str:
        """Where the simulator serves it to who has a presigned URL."""
        return f"{PATH}{quote(self.bucket, safe='')}/{quote(self.key)}"


class Objects:
    """All objects of a simulator."""

    def __init__(self) -> None:
        self._objects: dict[ObjectPlace, bytes] = {}
        self._secret = secrets.token_bytes(32)
        self._issued = itertools.count(1)

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Keep the object, instead of an older one."""
        self._objects[ObjectPlace(bucket, key)] = content

    def get(self, bucket: str, key: str) -> bytes | None:
        """The object, if there is one."""
        return self._objects.get(ObjectPlace(bucket, key))

    def delete(self, bucket: str, key: str) -> None:
        """Forget the object, if there is one."""
        self._objects.pop(ObjectPlace(bucket, key), None)

    def presign(self, method: str, place: ObjectPlace, now: float, expires_s: int) -> str:
        """Path and query of a URL for GET or PUT; no two are equal."""
        query = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"ASIASIMULATOR/{datetime.fromtimestamp(now, UTC):%Y%m%d}/{REGION}/s3/aws4_request",
            "X-Amz-Date": datetime.fromtimestamp(now, UTC).strftime(_DATE),
            "X-Amz-Expires": str(expires_s),
            "X-Amz-Security-Token": f"{next(self._issued)}.{secrets.token_urlsafe(16)}",
            "X-Amz-SignedHeaders": "host",
        }
        signature = self._signature(method, place, query)
        return f"{place.path}?{urlencode(query, quote_via=quote)}&X-Amz-Signature={signature}"

    def check(self, method: str, place: ObjectPlace, query: Mapping[str, str], now: float) -> None:
        """Raise Denied unless the query was signed for this method and object and has not expired."""
        given = dict(query)
        signature = given.pop("X-Amz-Signature", None)
        if signature is None or given.keys() != _SIGNED:
            raise Denied("AccessDenied", "Access Denied")
        if not hmac.compare_digest(signature.encode(errors="replace"), self._signature(method, place, given).encode()):
            raise Denied("SignatureDoesNotMatch", "The request signature we calculated does not match the signature")
        signed_at = datetime.strptime(given["X-Amz-Date"], _DATE).replace(tzinfo=UTC).timestamp()
        if now > signed_at + int(given["X-Amz-Expires"]):
            raise Denied("AccessDenied", "Request has expired")

    def _signature(self, method: str, place: ObjectPlace, query: Mapping[str, str]) -> str:
        # Percent-encoded, so that a line feed in a value cannot stand for the end of one member and the next one.
        text = "\n".join([method, place.path, urlencode(sorted(query.items()), quote_via=quote, errors="replace")])
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
