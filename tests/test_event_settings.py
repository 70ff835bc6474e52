"""Whom events are told to: what cannot be used is named with its value and what to do, and no secret is shown."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from headgate.bootstrap.events import check_events, destination_names
from headgate.settings import WEBHOOKS_MAX, Settings, SettingsError, load

SECRET = f"whsec_{base64.b64encode(b's' * 32).decode()}"
SHOP_URL, SHOP_SECRET = "HEADGATE_EVENTS__WEBHOOKS__SHOP__URL", "HEADGATE_EVENTS__WEBHOOKS__SHOP__SECRET_FILE"


def shop(url: str) -> Settings:
    return load(environment={SHOP_URL: url})


def with_secret(path: Path) -> Settings:
    return load(environment={SHOP_URL: "https://shop.example/hooks", SHOP_SECRET: str(path)})


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "shop.secret"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/hooks?token=sekret",
        "https://shop.example:8443",
        "http://127.0.0.1:9000/",
        "http://127.8.8.8/",
        "http://[::1]:9000/hooks",
        "http://localhost/hooks",
    ],
)
def test_urls_that_can_be_used(url: str) -> None:
    settings = shop(url)
    assert settings.events.webhooks["shop"].url == url
    assert check_events(settings).startswith("webhook shop at http")
    assert "sekret" not in check_events(settings)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "is not given; write for example https://"),
        ("http://shop.example/sekret", "leads to http://shop.example, which everybody on the way can read; use https"),
        ("http://10.0.0.8:9000/sekret", "leads to http://10.0.0.8:9000"),
        ("http://[2001:db8::1]:9000/sekret", "leads to http://[2001:db8::1]:9000,"),
        ("http://localhost.shop.example/sekret", "use https"),
        ("http://127.0.0.1.shop.example/sekret", "use https"),
        ("ftp://shop.example/sekret", "names the scheme 'ftp'"),
        ("shop.example/sekret", "names the scheme ''"),
        ("https:///sekret", "the host None"),
        ("https://shop.example/a b?sekret", "holds spaces or letters beyond ASCII"),
        ("https://药房.example/sekret", "holds spaces or letters beyond ASCII"),
        ("https://shop.example\n.evil.example/sekret", "holds spaces or letters beyond ASCII"),
        ("https://shop,example/sekret", "the host 'shop,example'"),
        ("https://a..b/sekret", "the host 'a..b'"),
        (f"https://{'x' * 64}.example/sekret", "the host 'xxxx"),
        ("https://mei:sekret@shop.example/", "with a name and a password in it"),
        ("https://shop.example:port/sekret", "is no URL"),
        ("https://shop.example:99999/sekret", "is no URL"),
    ],
)
def test_urls_that_cannot_be_used_are_named_and_what_is_secret_in_them_is_not(url: str, said: str) -> None:
    with pytest.raises(SettingsError) as found:
        shop(url)
    assert str(found.value).startswith("events.webhooks.shop.url")
    assert said in str(found.value)
    assert "sekret" not in str(found.value)


def test_webhooks_of_a_file_and_of_variables_stand_beside_each_other(tmp_path: Path) -> None:
    config = tmp_path / "headgate.toml"
    config.write_text(
        '[events.webhooks.shop]\nurl = "https://shop.example/"\n[events.webhooks.log-2]\nurl = "http://localhost:9/"\n'
    )
    settings = load(
        config, environment={SHOP_SECRET: "/keys/shop", "HEADGATE_EVENTS__WEBHOOKS__NEW__URL": "https://n/"}
    )
    found = {name: (webhook.url, webhook.secret_file) for name, webhook in settings.events.webhooks.items()}
    assert found == {
        "shop": ("https://shop.example/", "/keys/shop"),
        "log-2": ("http://localhost:9/", ""),
        "new": ("https://n/", ""),
    }
    assert destination_names(settings) == ["webhook:shop", "webhook:log-2", "webhook:new"]


@pytest.mark.parametrize("name", ["", "Shop", "9", "a.b", "shop one", "x" * 49, "药房"])
def test_names_that_the_ledger_could_not_keep(name: str) -> None:
    with pytest.raises(SettingsError, match=r"events\.webhooks holds the name"):
        load(overrides={"events": {"webhooks": {name: {"url": "https://shop.example"}}}}, environment={})


def test_more_webhooks_than_there_is_room_for() -> None:
    webhooks = {f"w{number}": {"url": "https://shop.example"} for number in range(WEBHOOKS_MAX + 1)}
    with pytest.raises(SettingsError, match=f"holds {WEBHOOKS_MAX + 1}; at most {WEBHOOKS_MAX}"):
        load(overrides={"events": {"webhooks": webhooks}}, environment={})


def test_a_webhook_without_a_name() -> None:
    with pytest.raises(
        SettingsError, match=r"webhooks have names; write HEADGATE_EVENTS__WEBHOOKS__NAME__URL"
    ) as found:
        load(environment={"HEADGATE_EVENTS__WEBHOOKS": "https://shop.example/sekret"})
    assert "sekret" not in str(found.value)


def test_a_setting_of_a_webhook_that_there_is_not() -> None:
    with pytest.raises(SettingsError, match="there is no such setting"):
        load(environment={SHOP_URL: "https://shop.example", "HEADGATE_EVENTS__WEBHOOKS__SHOP__SECRET": "sekret"})


def test_a_stream_needs_a_server() -> None:
    with pytest.raises(SettingsError, match=r"events\.stream is true, and gate\.url is memory:"):
        load(environment={"HEADGATE_EVENTS__STREAM": "true"})
    settings = load(environment={"HEADGATE_EVENTS__STREAM": "true", "HEADGATE_GATE__URL": "redis://:sekret@127.0.0.1"})
    assert destination_names(settings) == ["stream"]
    assert check_events(settings) == "a stream at redis://127.0.0.1:6379"


def on_nats(url: str, secret_file: str = "") -> Settings:
    return load(environment={"HEADGATE_EVENTS__NATS__URL": url, "HEADGATE_EVENTS__NATS__SECRET_FILE": secret_file})


def test_nats_can_be_used(secret_file: Path) -> None:
    settings = on_nats("tls://nats.example:4222", str(secret_file))
    assert destination_names(settings) == ["nats"]
    assert check_events(settings) == "NATS at tls://nats.example:4222"
    assert check_events(on_nats("nats://127.0.0.1")) == "NATS at nats://127.0.0.1"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nats://nats.example", "leads to nats://nats.example, which everybody on the way can read; use tls"),
        ("tls://mei:sekret@nats.example", "with a name and a password in it; leave them out, and put them into a file"),
        ("https://nats.example/sekret", "names the scheme 'https'"),
        ("tls:///sekret", "the host None"),
        ("tls://nats.example:99999/sekret", "is no URL"),
        ("tls://nats example/sekret", "holds spaces"),
    ],
)
def test_nats_that_cannot_be_used_is_named(url: str, said: str) -> None:
    with pytest.raises(SettingsError) as found:
        on_nats(url)
    assert str(found.value).startswith("events.nats.url")
    assert said in str(found.value)
    assert "sekret" not in str(found.value)


def test_a_secret_of_nats_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"events\.nats\.secret_file is given, and events\.nats\.url is not"):
        on_nats("", "/keys/nats")
    secret = tmp_path / "nats.secret"
    with pytest.raises(SettingsError, match=r"events\.nats\.secret_file is .* which cannot be read"):
        check_events(on_nats("tls://nats.example", str(secret)))
    secret.write_text("headgate:sekret")
    secret.chmod(0o640)
    with pytest.raises(SettingsError, match="which others can read") as found:
        check_events(on_nats("tls://nats.example", str(secret)))
    assert "sekret" not in str(found.value)
    secret.write_text("\n")
    secret.chmod(0o600)
    with pytest.raises(SettingsError, match="which is empty"):
        check_events(on_nats("tls://nats.example", str(secret)))


def test_the_client_of_nats_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.bootstrap.events.find_spec", lambda _name: None)
    with pytest.raises(SettingsError, match=r"pip install 'headgate\[nats\]'"):
        check_events(on_nats("tls://nats.example"))
    assert check_events(load(environment={})) == "told to nobody"


def test_nobody_is_told_by_default() -> None:
    settings = load(environment={})
    assert (destination_names(settings), check_events(settings)) == ([], "told to nobody")


def test_a_secret_is_said_to_be_there(secret_file: Path) -> None:
    assert check_events(with_secret(secret_file)) == "webhook shop at https://shop.example, signed"
    secret_file.write_text(f"{SECRET}\n{SECRET[:-4]}AAA=\n")
    assert check_events(with_secret(secret_file)) == "webhook shop at https://shop.example, signed"
    assert check_events(shop("https://shop.example/")) == "webhook shop at https://shop.example, not signed"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds 0 secrets"),
        (f"{SECRET}\n" * 5, "holds 5 secrets"),
        (SECRET.removeprefix("whsec_"), "secret 1 is no whsec_"),
        ("whsec_c2Vrc2V0", "secret 1 is no whsec_"),
        (f"{SECRET}\nwhsec_not!base64", "secret 2 is no whsec_"),
        (f"whsec_{base64.b64encode(b's' * 65).decode()}", "secret 1 is no whsec_"),
        ("whsec_密钥", "it is no text in ASCII"),
    ],
)
def test_files_without_a_secret_in_them(secret_file: Path, content: str, said: str) -> None:
    secret_file.write_text(content)
    with pytest.raises(SettingsError) as found:
        check_events(with_secret(secret_file))
    message = str(found.value)
    assert message.startswith(f"events.webhooks.shop.secret_file is '{secret_file}'")
    assert said in message
    assert not [line for line in content.split() if line.removeprefix("whsec_") in message]


def test_a_secret_that_is_not_there_or_that_others_can_read(secret_file: Path) -> None:
    secret_file.chmod(0o640)
    with pytest.raises(SettingsError, match=rf"which others can read \(mode 640\): chmod 600 {secret_file}"):
        check_events(with_secret(secret_file))
    with pytest.raises(SettingsError, match=r"which cannot be read \(No such file or directory\)"):
        check_events(with_secret(secret_file.with_name("nowhere")))
