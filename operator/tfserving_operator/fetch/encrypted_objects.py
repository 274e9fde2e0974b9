"""Tells apart a corrupted object and one whose ETag only looks like an MD5.

S3 gives objects encrypted with KMS or customer keys an ETag of 32 hexadecimal digits that is no MD5, and
Google Cloud Storage does so with customer-managed keys. The object-store library hides the headers that say so,
so they are asked for with a signed HEAD request, and only when a checksum differs.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from tfserving_operator.fetch.object_store import ModelBucket, RemoteFile

_KMS = ("aws:kms", "aws:kms:dsse")


async def etag_is_not_md5(bucket: ModelBucket, file: RemoteFile) -> bool:
    """Return whether the store says that the ETag of ``file`` is not the MD5 of its content."""
    url = await bucket.sign_head(file)
    if url is None:
        return False
    import aiohttp  # Slow to import, and seldom needed for object stores.

    from tfserving_operator.fetch.http_client import open_session

    try:
        async with open_session(bucket.credentials) as session, session.head(url) as response:
            return response.ok and _headers_exempt(response.headers, file)
    except (aiohttp.ClientError, TimeoutError):
        return False


def _headers_exempt(headers: Mapping[str, str], file: RemoteFile) -> bool:
    if headers.get("x-amz-server-side-encryption") in _KMS:
        return True
    if "x-amz-server-side-encryption-customer-algorithm" in headers:
        return True
    hashes = headers.get("x-goog-hash", "")
    return "crc32c=" in hashes and f"md5={_base64_of(file.md5 or '')}" not in hashes


def _base64_of(hex_digest: str) -> str:
    return base64.b64encode(bytes.fromhex(hex_digest)).decode()
