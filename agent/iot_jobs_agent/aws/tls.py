"""TLS options with the device's certificate, for HTTPS. The files are read again for each connection."""

from typing import Any

from awscrt import io

from iot_jobs_agent.config.values import Aws

ALPN_PORT = 443  # serves several protocols, which ALPN tells apart (AWS IoT developer guide, page protocols)


def tls_options(aws: Aws, port: int, *, alpn: str) -> Any:
    """Return the SDK's TLS options with the device's certificate. `alpn` is used on port 443 only.

    Raises whatever the SDK raises for files that it cannot use, so call it within `sdk_errors`.
    """
    options = io.TlsContextOptions.create_client_with_mtls_from_path(str(aws.certificate), str(aws.private_key))
    options.override_default_trust_store_from_path(None, str(aws.root_ca))
    if port == ALPN_PORT:
        options.alpn_list = [alpn]
    return options
