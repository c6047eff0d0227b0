"""boto3 clients for a simulator, as operators and devices have them but for the address."""

from typing import Any

import boto3


def boto3_client(service: str, http_url: str, **members: Any) -> Any:
    """Return an unmodified boto3 client; any credentials will do."""
    options = {
        "region_name": "us-east-1",
        "aws_access_key_id": "anyone",
        "aws_secret_access_key": "anything",
        **members,
    }
    return boto3.client(service, endpoint_url=http_url, **options)
