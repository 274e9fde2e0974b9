"""Addresses of Prometheus and the way in: what the platform team configures. Credentials are files, never values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from tfserving_operator.clients.promql import matcher_name
from tfserving_operator.validation_words import problems_of

HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
HeaderValue = Annotated[str, Field(pattern=r"^[^\r\n\x00]*$")]
MatcherName = Annotated[str, AfterValidator(matcher_name)]

_NOT_IN_A_URL = re.compile(r"[\s\x00-\x1f\x7f]")
_API = "/api/v1"


def checked_url(url: str) -> str:
    """Return the address without a slash at its end; ValueError, which does not repeat it, where it is none."""
    # urlsplit takes some of these out without a word.
    if _NOT_IN_A_URL.search(url):
        raise ValueError("must not hold blanks or line ends")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must begin with http:// or https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password: use basicAuth, whose files are kept secret")
    if parts.query or parts.fragment:
        raise ValueError("must end with the path: no ? and no #")
    address = url.rstrip("/")
    if address.endswith(_API):
        raise ValueError(f"must end before {_API}, which the operator adds")
    return address


class _Configured(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )


class BasicAuth(_Configured):
    """User name and password, each in a file."""

    username_file: Path
    password_file: Path


class PrometheusEndpoint(_Configured):
    """One Prometheus-compatible API. Files are read anew when they change, so credentials may rotate."""

    url: str = Field(description="Address up to and without /api/v1, such as http://prometheus.monitoring:9090.")
    bearer_token_file: Path | None = None
    basic_auth: BasicAuth | None = None
    headers: Mapping[HeaderName, HeaderValue] = Field(
        default_factory=dict, description="Headers that are no secret, such as X-Scope-OrgID."
    )
    header_files: Mapping[HeaderName, Path] = Field(
        default_factory=dict, description="Headers whose values are secret, by file."
    )
    ca_file: Path | None = Field(default=None, description="Certificates to trust instead of the system's.")
    client_certificate_file: Path | None = None
    client_key_file: Path | None = None
    insecure_skip_verify: bool = Field(default=False, description="Trust any certificate. For trials only.")
    matchers: Mapping[MatcherName, str] = Field(
        default_factory=dict,
        description="Labels that all series must have, such as cluster where one Prometheus serves several clusters.",
    )

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        return checked_url(value)

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        names = [name.lower() for name in (*self.headers, *self.header_files)]
        if len(set(names)) < len(names):
            raise ValueError("a header is there twice in headers and headerFiles, whatever its upper and lower case")
        ways = (self.bearer_token_file is not None) + (self.basic_auth is not None) + ("authorization" in names)
        if ways > 1:
            raise ValueError("bearerTokenFile, basicAuth and a header Authorization exclude each other")
        if (self.client_certificate_file is None) != (self.client_key_file is None):
            raise ValueError("clientCertificateFile and clientKeyFile belong together")
        if self.insecure_skip_verify and self.ca_file is not None:
            raise ValueError("caFile has no effect with insecureSkipVerify: choose one")
        return self


class PrometheusAddresses(_Configured):
    """The Prometheus of the whole operator, and others for certain namespaces."""

    default: PrometheusEndpoint | None = None
    namespaces: Mapping[str, PrometheusEndpoint] = Field(default_factory=dict)

    def endpoint_of(self, namespace: str) -> PrometheusEndpoint | None:
        """Return where the series of a namespace are; None where nobody said."""
        return self.namespaces.get(namespace, self.default)


class AddressesError(ValueError):
    """The file cannot be read or says something wrong; ``str()`` names the field and no secret."""


def load_addresses(path: Path) -> PrometheusAddresses:
    """Return what the YAML file says; AddressesError when it is not there or not right."""
    try:
        return PrometheusAddresses.model_validate(yaml.safe_load(path.read_text()) or {})
    except OSError as error:
        raise AddressesError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AddressesError(f"{path}: is not YAML") from error
    except ValidationError as error:
        raise AddressesError(f"{path}: {'; '.join(problems_of(error))}") from None
