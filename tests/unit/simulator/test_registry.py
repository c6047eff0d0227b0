"""Things, thing groups and tags, as far as Jobs needs them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_simulator.refusals import Refused

if TYPE_CHECKING:
    from conftest import Cloud


class TestThings:
    def test_a_thing_is_described_with_its_version_and_attributes(self, cloud: Cloud) -> None:
        created = cloud.operate("CreateThing", thingName="fan", attributePayload={"attributes": {"room": "1"}})
        assert cloud.operate("DescribeThing", thingName="fan") == {
            **created,
            "defaultClientId": "fan",
            "attributes": {"room": "1"},
            "version": 1,
        }

    @pytest.mark.parametrize(
        ("payload", "attributes"),
        [
            ({"attributes": {"b": "2"}}, {"b": "2"}),
            ({"attributes": {"b": "2"}, "merge": True}, {"a": "1", "b": "2"}),
            ({"attributes": {"a": "", "b": "2"}, "merge": True}, {"b": "2"}),
            ({"attributes": {}}, {}),
            ({}, {"a": "1"}),
        ],
    )
    def test_an_update_replaces_or_merges_attributes(
        self, cloud: Cloud, payload: dict[str, Any], attributes: dict[str, str]
    ) -> None:
        cloud.operate("CreateThing", thingName="fan", attributePayload={"attributes": {"a": "1"}})
        assert cloud.operate("UpdateThing", thingName="fan", attributePayload=payload, expectedVersion=1) == {}
        thing = cloud.operate("DescribeThing", thingName="fan")
        assert (thing["attributes"], thing["version"]) == (attributes, 2)

    def test_versions_must_match_if_given(self, cloud: Cloud) -> None:
        for operation in ("UpdateThing", "DeleteThing"):
            code, message = cloud.refused(operation, thingName="lamp", expectedVersion=7)
            assert (code, "version 7 but found version 1" in message) == ("VersionConflict", True)
        cloud.operate("DeleteThing", thingName="lamp", expectedVersion=1)
        assert cloud.refused("DescribeThing", thingName="lamp")[0] == "ResourceNotFound"

    def test_deleting_what_is_not_there_is_no_error_but_updating_it_is(self, cloud: Cloud) -> None:
        assert cloud.operate("DeleteThing", thingName="nobody", expectedVersion=3) == {}
        assert cloud.refused("UpdateThing", thingName="nobody")[0] == "ResourceNotFound"

    def test_thing_types_and_billing_groups_are_refused_by_name(self, cloud: Cloud) -> None:
        for operation in ("CreateThing", "UpdateThing"):
            assert "thingTypeName" in cloud.refused(operation, thingName="lamp", thingTypeName="t")[1]
        assert "removeThingType" in cloud.refused("UpdateThing", thingName="lamp", removeThingType=True)[1]
        cloud.operate("UpdateThing", thingName="lamp", removeThingType=False)

    def test_things_are_listed_by_name_attribute_and_page(self, cloud: Cloud) -> None:
        for name, room in (("c", "red"), ("a", "blue"), ("b", "reddish")):
            cloud.operate("CreateThing", thingName=name, attributePayload={"attributes": {"room": room}})

        def names(**filters: Any) -> list[str]:
            return [thing["thingName"] for thing in cloud.operate("ListThings", **filters)["things"]]

        assert names() == ["a", "b", "c", "lamp"]
        assert names(attributeName="room") == ["a", "b", "c"]
        assert names(attributeName="room", attributeValue="red") == ["c"]
        assert names(attributeName="room", attributeValue="red", usePrefixAttributeValue=True) == ["b", "c"]
        assert "attributeName" in cloud.refused("ListThings", attributeValue="red")[1]
        first = cloud.operate("ListThings", maxResults=3)
        assert names(maxResults=3, nextToken=first["nextToken"]) == ["lamp"]


class TestGroups:
    @pytest.fixture
    def tree(self, cloud: Cloud) -> Any:
        """house above kitchen above shelf; club beside it. The lamp is on the shelf."""
        cloud.create_group("house")
        cloud.create_group("kitchen", parent="house")
        cloud.create_group("shelf", "lamp", parent="kitchen")
        cloud.create_group("club")
        return cloud

    def test_a_group_is_described_with_the_way_to_it(self, cloud: Cloud) -> None:
        created = {name: cloud.operate("CreateThingGroup", thingGroupName=name) for name in ("house",)}
        cloud.operate("CreateThingGroup", thingGroupName="kitchen", parentGroupName="house")
        properties = {"thingGroupDescription": "d", "attributePayload": {"attributes": {"a": "1"}}}
        receipt = cloud.operate(
            "CreateThingGroup", thingGroupName="shelf", parentGroupName="kitchen", thingGroupProperties=properties
        )
        described = cloud.operate("DescribeThingGroup", thingGroupName="shelf")
        assert receipt.items() <= described.items()
        assert (described["version"], described["thingGroupProperties"]) == (1, properties)
        metadata = described["thingGroupMetadata"]
        assert (metadata["parentGroupName"], metadata["creationDate"]) == ("kitchen", cloud.now)
        assert [group["groupName"] for group in metadata["rootToParentThingGroups"]] == ["house", "kitchen"]
        assert metadata["rootToParentThingGroups"][0]["groupArn"] == created["house"]["thingGroupArn"]
        root = cloud.operate("DescribeThingGroup", thingGroupName="house")
        assert root["thingGroupMetadata"] == {"creationDate": cloud.now}

    def test_creating_the_same_group_again_is_no_error_but_another_one_is(self, tree: Cloud) -> None:
        again = tree.operate("CreateThingGroup", thingGroupName="kitchen", parentGroupName="house")
        assert again["thingGroupId"] == tree.operate("DescribeThingGroup", thingGroupName="kitchen")["thingGroupId"]
        assert tree.refused("CreateThingGroup", thingGroupName="kitchen")[0] == "ResourceAlreadyExists"
        refused = tree.refused("CreateThingGroup", thingGroupName="new", parentGroupName="nothing")
        assert refused[0] == "ResourceNotFound"

    def test_a_group_is_updated_as_far_as_is_said(self, cloud: Cloud) -> None:
        cloud.create_group("club")

        def update(properties: Any, **more: Any) -> Any:
            version = cloud.operate("UpdateThingGroup", thingGroupName="club", thingGroupProperties=properties, **more)
            return version, cloud.operate("DescribeThingGroup", thingGroupName="club")["thingGroupProperties"]

        attributes = {"attributePayload": {"attributes": {"a": "1"}}}
        assert update(attributes, expectedVersion=1) == ({"version": 2}, attributes)
        both = attributes | {"thingGroupDescription": "d"}
        assert update({"thingGroupDescription": "d"}) == ({"version": 3}, both)
        more = {"attributePayload": {"attributes": {"b": "2"}, "merge": True}}
        assert update(more)[1]["attributePayload"] == {"attributes": {"a": "1", "b": "2"}}
        members = {"thingGroupName": "club", "thingGroupProperties": {}}
        assert cloud.refused("UpdateThingGroup", **members, expectedVersion=1)[0] == "VersionConflict"

    def test_a_group_is_deleted_unless_it_has_children(self, tree: Cloud) -> None:
        assert tree.refused("DeleteThingGroup", thingGroupName="house")[0] == "InvalidRequest"
        assert tree.refused("DeleteThingGroup", thingGroupName="shelf", expectedVersion=2)[0] == "VersionConflict"
        for name in ("shelf", "kitchen", "house", "nothing"):
            assert tree.operate("DeleteThingGroup", thingGroupName=name) == {}
        assert tree.operate("ListThingGroups")["thingGroups"][0]["groupName"] == "club"
        assert tree.operate("ListThingGroupsForThing", thingName="lamp")["thingGroups"] == []
        assert tree.refused("DescribeThingGroup", thingGroupName="house")[0] == "ResourceNotFound"

    @pytest.mark.parametrize(
        ("filters", "names"),
        [
            ({}, ["club", "house", "kitchen", "shelf"]),
            ({"recursive": False}, ["club", "house"]),
            ({"parentGroup": "house"}, ["kitchen"]),
            ({"parentGroup": "house", "recursive": True}, ["kitchen", "shelf"]),
            ({"parentGroup": "house", "recursive": True, "namePrefixFilter": "sh"}, ["shelf"]),
            ({"namePrefixFilter": "k"}, ["kitchen"]),
            ({"parentGroup": "club"}, []),
        ],
    )
    def test_groups_are_listed_by_place_and_prefix(self, tree: Cloud, filters: Any, names: list[str]) -> None:
        assert [group["groupName"] for group in tree.operate("ListThingGroups", **filters)["thingGroups"]] == names

    def test_lists_of_groups_and_members_come_in_pages(self, tree: Cloud) -> None:
        tree.create_thing("fan")
        tree.operate("AddThingToThingGroup", thingName="fan", thingGroupName="shelf")
        tree.operate("AddThingToThingGroup", thingName="lamp", thingGroupName="club")
        for operation, key, members in (
            ("ListThingGroups", "thingGroups", {}),
            ("ListThingsInThingGroup", "things", {"thingGroupName": "shelf"}),
            ("ListThingsInThingGroup", "things", {"thingGroupName": "house", "recursive": True}),
            ("ListThingGroupsForThing", "thingGroups", {"thingName": "lamp"}),
        ):
            everything = tree.operate(operation, **members)[key]
            first = tree.operate(operation, **members, maxResults=1)
            rest = tree.operate(operation, **members, nextToken=first["nextToken"])
            assert first[key] + rest[key] == everything
            assert "nextToken" not in rest
        assert tree.operate("ListThingsInThingGroup", thingGroupName="house")["things"] == []
        assert tree.operate("ListThingsInThingGroup", thingGroupName="house", recursive=True)["things"] == [
            "fan",
            "lamp",
        ]

    def test_things_and_groups_are_named_by_name_or_arn_or_both(self, tree: Cloud) -> None:
        thing = {"thingName": "lamp", "thingArn": tree.store.registry.find("lamp").arn}
        group = {"thingGroupName": "club", "thingGroupArn": tree.store.registry.groups.find("club").arn}
        tree.operate("AddThingToThingGroup", **thing, **group, overrideDynamicGroups=True)
        tree.operate("RemoveThingFromThingGroup", thingArn=thing["thingArn"], thingGroupArn=group["thingGroupArn"])
        assert tree.operate("ListThingsInThingGroup", thingGroupName="club")["things"] == []
        for incomplete, missing in ((thing, "thing group"), (group, "thing ")):
            code, message = tree.refused("AddThingToThingGroup", **incomplete)
            assert (code, missing in message) == ("InvalidRequest", True)
        tree.create_thing("fan")
        assert tree.refused("AddThingToThingGroup", **thing | {"thingName": "fan"}, **group)[0] == "InvalidRequest"
        for unknown in ({"thingGroupArn": group["thingGroupArn"] + "x"}, {"thingGroupName": "clubs"}):
            assert tree.refused("AddThingToThingGroup", thingName="lamp", **unknown)[0] == "ResourceNotFound"
        assert tree.refused("AddThingToThingGroup", thingName="nobody", **group)[0] == "ResourceNotFound"

    def test_a_thing_is_in_one_group_of_a_hierarchy_and_in_ten_at_most(self, tree: Cloud) -> None:
        code, message = tree.refused("AddThingToThingGroup", thingName="lamp", thingGroupName="house")
        assert (code, "same hierarchy" in message) == ("InvalidRequest", True)
        for number in range(9):
            tree.create_group(f"g{number}", "lamp")
        assert "at most 10" in tree.refused("AddThingToThingGroup", thingName="lamp", thingGroupName="club")[1]


class TestTags:
    def test_jobs_and_groups_have_tags_from_their_creation_on(self, cloud: Cloud) -> None:
        cloud.create_job("J1", tags=[{"Key": "b", "Value": "2"}, {"Key": "a"}])
        group = cloud.operate("CreateThingGroup", thingGroupName="club", tags=[{"Key": "g", "Value": "1"}])
        assert group == cloud.operate("CreateThingGroup", thingGroupName="club", tags=[{"Key": "g", "Value": "1"}])
        arn = cloud.job()["jobArn"]

        def tags(resource: str) -> Any:
            listed = cloud.operate("ListTagsForResource", resourceArn=resource)
            assert "nextToken" not in listed
            return {tag["Key"]: tag["Value"] for tag in listed["tags"]}

        assert (tags(arn), tags(group["thingGroupArn"])) == ({"a": "", "b": "2"}, {"g": "1"})
        cloud.operate("TagResource", resourceArn=arn, tags=[{"Key": "a", "Value": "9"}, {"Key": "c", "Value": "3"}])
        cloud.operate("UntagResource", resourceArn=arn, tagKeys=["b", "never"])
        assert tags(arn) == {"a": "9", "c": "3"}
        behind_a = base64.urlsafe_b64encode(b'["a"]').decode()
        rest = cloud.operate("ListTagsForResource", resourceArn=arn, nextToken=behind_a)
        assert rest == {"tags": [{"Key": "c", "Value": "3"}]}

    @pytest.mark.parametrize(
        ("members", "words"),
        [
            ({"tags": [{"Key": "g", "Value": "2"}]}, "Resource arn:"),
            ({}, "Resource arn:"),
            ({"parentGroupName": "house", "tags": [{"Key": "g", "Value": "1"}]}, "Thing Group club already"),
            (
                {"thingGroupProperties": {"thingGroupDescription": "d"}, "tags": [{"Key": "g"}]},
                "Thing Group club already",
            ),
        ],
    )
    def test_a_group_is_created_again_only_as_it_is(self, cloud: Cloud, members: dict[str, Any], words: str) -> None:
        cloud.create_group("house")
        cloud.operate("CreateThingGroup", thingGroupName="club", tags=[{"Key": "g", "Value": "1"}])
        with pytest.raises(Refused) as refused:
            cloud.operate("CreateThingGroup", thingGroupName="club", **members)
        assert refused.value.code == "ResourceAlreadyExists"
        assert refused.value.message.startswith(words)
        assert refused.value.message.endswith("already exists in current account with different properties")
        assert refused.value.members == {"resourceId": None, "resourceArn": None}
        group = cloud.operate("DescribeThingGroup", thingGroupName="club")
        assert group["thingGroupProperties"] == {}

    def test_what_is_gone_or_was_never_there_is_not_found(self, cloud: Cloud) -> None:
        cloud.create_job("J1")
        arn = cloud.job()["jobArn"]
        cloud.operate("DeleteJob", jobId="J1", force=True)
        cloud.pass_time(seconds=1)
        group = cloud.create_group("club")
        cloud.operate("DeleteThingGroup", thingGroupName="club")
        for resource in (arn, group, "arn"):
            assert cloud.refused("ListTagsForResource", resourceArn=resource)[0] == "ResourceNotFound"
            assert cloud.refused("UntagResource", resourceArn=resource, tagKeys=["a"])[0] == "ResourceNotFound"
            assert cloud.refused("TagResource", resourceArn=resource, tags=[{"Key": "a"}])[0] == "ResourceNotFound"

    @pytest.mark.parametrize(
        ("tags", "code"),
        [
            ([{"Key": "aws:x"}], "InvalidRequest"),
            ([{"Key": "AWS:x"}], "InvalidRequest"),
            ([{"Key": "a"}, {"Key": "a"}], "InvalidRequest"),
            ([{"Key": f"k{number}"} for number in range(51)], "LimitExceeded"),
        ],
    )
    def test_reserved_repeated_and_too_many_keys_are_refused(self, cloud: Cloud, tags: Any, code: str) -> None:
        target = cloud.store.registry.find("lamp").arn
        assert cloud.refused("CreateJob", jobId="J1", targets=[target], document="{}", tags=tags)[0] == code
        assert cloud.refused("CreateThingGroup", thingGroupName="club", tags=tags)[0] == code
        assert cloud.operate("ListThingGroups")["thingGroups"] == []
        assert cloud.operate("ListJobs")["jobs"] == []

    def test_fifty_tags_in_all_and_no_more(self, cloud: Cloud) -> None:
        cloud.create_job("J1", tags=[{"Key": f"k{number}"} for number in range(50)])
        arn = cloud.job()["jobArn"]
        cloud.operate("TagResource", resourceArn=arn, tags=[{"Key": "k0", "Value": "new"}])
        assert cloud.refused("TagResource", resourceArn=arn, tags=[{"Key": "one-more"}])[0] == "LimitExceeded"
