"""Tags of jobs and thing groups (API reference, TagResource, UntagResource and ListTagsForResource). Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from iot_jobs_simulator.ordered import Key
from iot_jobs_simulator.refusals import Code, Refused, invalid, not_found

MAX_TAGS: Final = 50
_RESERVED: Final = "aws:"


class Tags:
    """The tags of every resource that can have some, by ARN."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, str]] = {}

    def begin(self, resource: str, tags: Iterable[Mapping[str, str]]) -> None:
        """Note a new resource with the tags it was created with; does nothing for one that has some already."""
        if resource not in self._of:
            self._of[resource] = valid_tags(tags)

    def are(self, resource: str, tags: Iterable[Mapping[str, str]]) -> bool:
        """Whether the resource is there with exactly these tags."""
        return self._of.get(resource) == valid_tags(tags)

    def end(self, resource: str) -> None:
        """Forget a resource that is gone."""
        self._of.pop(resource, None)

    def add(self, resource: str, tags: Iterable[Mapping[str, str]]) -> None:
        """Set tags; those of other keys stay."""
        merged = self._find(resource) | valid_tags(tags)
        if len(merged) > MAX_TAGS:
            raise Refused(Code.LIMIT_EXCEEDED, f"{resource} would have {len(merged)} tags, at most {MAX_TAGS} may be")
        self._of[resource] = merged

    def remove(self, resource: str, keys: Iterable[str]) -> None:
        """Remove the tags of these keys, as far as they are there."""
        tags = self._find(resource)
        for key in keys:
            tags.pop(key, None)

    def after(self, resource: str, key: Key | None) -> Iterator[tuple[Key, dict[str, str]]]:
        """The resource's tags by key, from a place on."""
        for name, value in sorted(self._find(resource).items()):
            if key is None or (name,) > key:
                yield (name,), {"Key": name, "Value": value}

    def _find(self, resource: str) -> dict[str, str]:
        if resource not in self._of:
            raise not_found(f"Resource {resource} not found")
        return self._of[resource]


def valid_tags(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The tags of a request as a mapping, or why they cannot be: what AWS reserves, keys twice, too many."""
    found: dict[str, str] = {}
    for tag in tags:
        name = tag["Key"]
        if name.lower().startswith(_RESERVED):
            raise invalid(f"Tag key {name} begins with {_RESERVED}, which is reserved")
        if name in found:
            raise invalid(f"Tag key {name} is given twice")
        found[name] = tag.get("Value", "")
    if len(found) > MAX_TAGS:
        raise Refused(Code.LIMIT_EXCEEDED, f"{len(found)} tags, at most {MAX_TAGS} are allowed")
    return found
