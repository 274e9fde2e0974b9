"""``spec.models``: which servables a server holds, where their versions come from, and which are served."""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from tfserving_operator.api.base import INT64_MAX, ApiModel, cel, set_list, validations

VersionNumber = Annotated[int, Field(ge=0, le=INT64_MAX)]
"""int64 as in TensorFlow Serving: timestamps with milliseconds are common, and are beyond the 2**53 that JavaScript
keeps exactly. The API server, kubectl and this operator keep every digit."""
ReportedVersion = Annotated[int, Field(ge=-INT64_MAX - 1, le=INT64_MAX)]
"""What a server may call a version: TensorFlow Serving takes a directory named -1 for one."""

ModelName = Annotated[str, Field(min_length=1, max_length=48, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$")]
# The length stands in the pattern, as structural schemas bound a map's keys by nothing else.
VersionLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9_]{1,63}$")]
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=f"^{_SUBDOMAIN}$")]

FETCHED_SCHEMES = frozenset({"s3", "gs", "https", "http"})

_IS_FETCHED = "self.uri.matches('^(" + "|".join(sorted(FETCHED_SCHEMES)) + ")://')"


class SourceCredentials(ApiModel):
    """Where the fetching container finds its credentials."""

    secret_name: ObjectName = Field(
        description="Secret in the same namespace. Keys for s3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and "
        "where needed AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL, ca.crt. For gs: service-account.json. "
        "For http(s): token, or username and password, and ca.crt.",
    )


class ModelSource(ApiModel):
    """Where the versions of a model are."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                f"!has(self.credentials) || {_IS_FETCHED}",
                "credentials are used by s3, gs and http(s) sources only: remove source.credentials "
                "(an oci image is pulled with server.imagePullSecrets)",
                fieldPath=".credentials",
            ),
            cel(
                f"!has(self.sizeLimit) || {_IS_FETCHED}",
                "sizeLimit bounds the volume that s3, gs and http(s) sources are fetched into: remove source.sizeLimit",
                fieldPath=".sizeLimit",
            ),
            cel(
                "!self.uri.startsWith('file://') || self.uri.matches('^file:///+[^/]')",
                "a file uri has three slashes and a directory, for example file:///srv/models/mnist",
                fieldPath=".uri",
            ),
            cel(
                f"!self.uri.startsWith('pvc://') || self.uri.matches('^pvc://{_SUBDOMAIN}(/|$)')",
                "a pvc uri begins with the claim's name, for example pvc://models/mnist",
                fieldPath=".uri",
            ),
            cel(
                "!self.uri.matches('^(s3|gs|oci):///')",
                "the uri lacks the bucket or registry after ://, for example s3://bucket/models/mnist",
                fieldPath=".uri",
            ),
            cel(
                "!self.uri.matches('^(s3|gs)://[^/]') "
                "|| self.uri.matches('^(s3|gs)://[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?(/|$)')",
                "a bucket's name has letters, digits, dots, dashes and underscores, and begins and ends with a letter "
                "or digit: write for example s3://bucket/models/mnist",
                fieldPath=".uri",
            ),
            cel(
                "!self.uri.matches('^(s3|gs)://[^?#]*[?#]')",
                "an s3 or gs uri has no query and no fragment: remove what begins with ? or #",
                fieldPath=".uri",
            ),
            cel(
                "!self.uri.startsWith('http') || !self.uri.contains('#') "
                "|| self.uri.matches('^[^#]*#sha256=[0-9A-Fa-f]{64}$')",
                "after # stands sha256= and the 64 hexadecimal digits of the archive: correct or remove it",
                fieldPath=".uri",
            ),
            cel(
                "!self.uri.matches('^https?://[^/]*:[0-9]*(/|$)') "
                "|| self.uri.matches('^https?://[^/]*:[0-9]{1,4}(/|$)') "
                "|| (self.uri.matches('^https?://[^/]*:[0-9]{5}(/|$)') && int(url(self.uri).getPort()) < 65536)",
                "the port of a uri is a number up to 65535: correct it, or leave it out with its colon",
                fieldPath=".uri",
            ),
            cel(
                "!self.uri.startsWith('http') || self.uri.matches('^https?://[^/@]+(/|$)')",
                "write https://HOST/PATH without a user name or password: those belong into the Secret that "
                "source.credentials names",
                fieldPath=".uri",
            ),
            cel(
                "!self.uri.matches('/[.][.]?(/|$)')",
                "the uri must not have /./ or /../ in it: write the path that is meant",
                fieldPath=".uri",
            ),
            cel(
                "!self.uri.contains('{version}') || self.uri.startsWith('http')",
                "{version} is replaced in http and https uris only: name the parent of the version directories",
                fieldPath=".uri",
            ),
        )
    )

    uri: Annotated[
        str,
        Field(min_length=6, max_length=2048, pattern=r"^(s3|gs|https|http|pvc|oci|file)://[^\s]+$"),
    ] = Field(
        description="Parent of the numeric version directories: s3://bucket/prefix, gs://bucket/prefix, "
        "https://host/model.tar.gz (an archive; {version} in it is replaced; #sha256=HEX is checked), "
        "pvc://claim/path, oci://registry/repository:tag (mounted as an image volume), "
        "file:///path (a directory that every node has).",
    )
    credentials: SourceCredentials | None = Field(
        default=None,
        description="Credentials for s3, gs and http(s). Left out: the pod's service account "
        "(workload identity), else anonymous.",
    )
    size_limit: Annotated[str, Field(max_length=32)] | None = Field(
        default=None,
        description="Most that the model's versions may take of the node's disk, for example 20Gi; an archive is "
        "unpacked beside itself. Left out: what the node has.",
        json_schema_extra=validations(
            cel(
                # So that 20m, which is a fiftieth of a byte, is not taken for 20 megabytes.
                "isQuantity(self) && quantity(self).compareTo(quantity('1k')) >= 0",
                "write a quantity of 1k or more, for example 500Mi or 20Gi",
            )
        ),
    )

    @property
    def scheme(self) -> str:
        """The URI's scheme, lower case."""
        return urlsplit(self.uri).scheme

    @property
    def is_fetched(self) -> bool:
        """Whether an init container copies the model, rather than a volume holding it."""
        return self.scheme in FETCHED_SCHEMES


class ModelVersions(ApiModel):
    """Which versions are served: exactly one of latest, specific and all."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "(has(self.latest) ? 1 : 0) + (has(self.specific) ? 1 : 0) + (has(self.all) ? 1 : 0) == 1",
                "give exactly one of latest, specific and all, for example {latest: 1}",
            ),
        )
    )

    latest: Annotated[int, Field(ge=1, le=32)] | None = Field(
        default=None, description="Serve the n highest version numbers."
    )
    specific: Annotated[list[VersionNumber], Field(min_length=1, max_length=32)] | None = Field(
        default=None, description="Serve just these version numbers.", json_schema_extra=set_list()
    )
    all: Annotated[bool, Field(json_schema_extra={"enum": [True]})] | None = Field(
        default=None, description="Serve every version found. Memory grows with each."
    )

    def policy(self) -> Self:
        """This policy, ``latest: 1`` where nothing was said."""
        if self.latest is None and self.specific is None and self.all is None:
            return type(self)(latest=1)
        return self


class Model(ApiModel):
    """One servable."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "!has(self.labels) || !has(self.versions) || !has(self.versions.specific) "
                "|| self.labels.all(label, self.labels[label] in self.versions.specific)",
                "a label points at a version that versions.specific does not list: add the version or move the label",
                fieldPath=".labels",
            ),
            cel(
                "!self.source.uri.contains('{version}') || (has(self.versions) && has(self.versions.specific))",
                "a uri with {version} cannot be listed: name the versions in versions.specific",
                fieldPath=".versions",
            ),
        )
    )

    name: ModelName = Field(description="Name that clients put into their requests.")
    source: ModelSource = Field(description="Where the model's versions are.")
    versions: ModelVersions = Field(
        default=ModelVersions(latest=1), description="Which versions are served. Default: the latest one."
    )
    labels: Annotated[dict[VersionLabel, VersionNumber], Field(max_length=16)] = Field(
        default_factory=dict,
        description="Version labels, for example stable: 41. Clients address "
        "/v1/models/NAME/labels/LABEL. A label is set once its version is available on the replica.",
    )
