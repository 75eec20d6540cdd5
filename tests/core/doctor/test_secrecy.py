from __future__ import annotations

from flowcore import Finding
from flowcore.doctor.secrecy import Secrets, hide_assigned


def test_the_values_of_what_has_the_name_of_a_secret_are_hidden():
    secrets = Secrets()
    secrets.learn(
        {
            "FLOW_LLM_API_KEY": "sk-1234567",
            "http": {"api_keys": {"bob": "bobs-key-1"}, "host": "example"},
            "db": {"password": ["pass-word-1", "pass-word-12"]},
        }
    )
    text = "sk-1234567 bobs-key-1 pass-word-12 pass-word-1 example"

    assert secrets.hide(text) == "*** *** *** *** example"


def test_they_are_hidden_wherever_they_stand_in_a_finding():
    secrets = Secrets()
    secrets.learn({"token": "canary"})
    finding = Finding("a", "b canary", "c canary", "problem", "d canary", "e canary")

    assert "canary" not in str(secrets.hide_all([finding]))


def test_the_user_of_a_url_is_hidden():
    assert Secrets().hide("see http://me:pw@host/x") == "see http://***@host/x"


def test_what_is_given_to_the_name_of_a_secret_is_hidden():
    assert hide_assigned('  api_key: "sk-1", x') == "  api_key: ***"
    assert hide_assigned("AUTH_TOKEN=abc def") == "AUTH_TOKEN=***"
    assert hide_assigned("port: 80") == "port: 80"
