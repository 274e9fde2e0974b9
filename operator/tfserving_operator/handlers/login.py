"""kopf's way to the API server: the same as that of the operator's own client."""

from __future__ import annotations

from typing import Any

import kopf

from tfserving_operator.clients.transport import load_configuration


def register_login(registry: kopf.OperatorRegistry) -> None:
    """Add the login handler to ``registry``; kopf calls it at the start, and when its credentials are refused."""

    @kopf.on.login(id="login", registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        configuration = await load_configuration()
        authorization = (await configuration.auth_settings()).get("BearerToken", {}).get("value") or ""
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            token=authorization.rpartition(" ")[2] or None,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
        )
