from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tfserving_operator.clients.prometheus_endpoint import AddressesError, PrometheusEndpoint, load_addresses


def test_a_namespace_without_an_address_of_its_own_uses_the_default(tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yaml"
    content = {
        "default": {"url": "https://central/prometheus/", "bearerTokenFile": "/token", "matchers": {"cluster": "eu"}},
        "namespaces": {"team": {"url": "http://team:9090", "headers": {"X-Scope-OrgID": "team"}}},
    }
    file.write_text(yaml.safe_dump(content))

    addresses = load_addresses(file)

    default, own = addresses.endpoint_of("other"), addresses.endpoint_of("team")
    assert default is not None
    assert own is not None
    assert (default.url, default.bearer_token_file) == ("https://central/prometheus", Path("/token"))
    assert (own.url, own.headers, own.matchers) == ("http://team:9090", {"X-Scope-OrgID": "team"}, {})


def test_an_empty_file_has_no_address(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("")
    assert load_addresses(tmp_path / "empty.yaml").endpoint_of("any") is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("prometheus:9090", "http:// or https://"),
        ("ftp://prometheus", "http:// or https://"),
        ("http://", "name a host"),
        ("http://host:notaport", "is not a URL"),
        ("http://me:pass-word@host", "use basicAuth"),
        ("http://host/?token=pass-word", "no \\?"),
        ("http://pass word", "blanks"),
        ("http://host\n/x", "blanks"),
        ("http://host/api/v1", "before /api/v1"),
        ("http://host/prefix/api/v1/", "before /api/v1"),
    ],
)
def test_a_wrong_address_is_refused_and_not_repeated(url: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words) as refused:
        PrometheusEndpoint(url=url)
    assert "pass-word" not in str(refused.value)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"bearer_token_file": "/a", "headers": {"authorization": "x"}}, "exclude each other"),
        ({"bearer_token_file": "/a", "basic_auth": {"username_file": "/b", "password_file": "/c"}}, "exclude"),
        ({"client_key_file": "/k"}, "belong together"),
        ({"insecure_skip_verify": True, "ca_file": "/c"}, "no effect"),
        ({"headers": {"A b": "x"}}, "pattern"),
        ({"headers": {"A": "x\r\nB: y"}}, "pattern"),
        ({"headers": {"X-A": "x"}, "header_files": {"x-a": "/a"}}, "there twice"),
        ({"matchers": {'a="': "x"}}, "not a label"),
        ({"matchers": {"__name__": "x"}}, "not a label"),
        ({"matchers": {"le": "x"}}, "means something else"),
        ({"token": "x"}, "Extra inputs"),
    ],
)
def test_what_cannot_work_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PrometheusEndpoint(url="http://host", **more)


def test_an_address_behind_the_proxy_of_an_api_server_is_one() -> None:
    url = "https://cluster/api/v1/namespaces/monitoring/services/prometheus:9090/proxy"
    endpoint = PrometheusEndpoint(url=url, matchers={"job": "model-servers"})
    assert endpoint.url == url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        ("default: [", "is not YAML"),
        ("namespaces: {a: {url: 'http://u:pass-word@h'}}", "namespaces.a.url: must not hold .*basicAuth"),
        ("- default", "valid dictionary"),
    ],
)
def test_a_broken_file_is_refused_by_name_and_field(tmp_path: Path, text: str | None, words: str) -> None:
    file = tmp_path / "prometheus.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(AddressesError, match=f"prometheus.yaml: .*{words}|prometheus.yaml: {words}") as refused:
        load_addresses(file)
    assert "pass-word" not in str(refused.value)
