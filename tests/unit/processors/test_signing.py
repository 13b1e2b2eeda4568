from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from jobqueue.domain.errors import InvalidInputError
from jobqueue.processors.webhooks import signing

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the key of the standard's example
BODY = '{"name":"Žofie ☃"}'.encode()


def test_the_receivers_own_library_accepts_the_signature() -> None:
    headers = signing.headers([SECRET], "msg_1", datetime.now(UTC), BODY)

    assert Webhook(SECRET).verify(BODY, headers) == {"name": "Žofie ☃"}


def test_a_known_message_has_the_signature_of_the_standards_own_example() -> None:
    at = datetime.fromtimestamp(1614265330, UTC)

    headers = signing.headers([SECRET], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}')

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("hours", [-11, 0, 5.5, 13])
def test_the_same_instant_is_signed_the_same_in_every_time_zone(hours: float) -> None:
    at = datetime(2024, 3, 31, 1, 59, 59, 999_999, UTC)
    there = at.astimezone(timezone(timedelta(hours=hours)))

    assert signing.headers([SECRET], "m", there, BODY) == signing.headers([SECRET], "m", at, BODY)


@pytest.mark.parametrize("changed", ["id", "body", "time", "secret"])
def test_whatever_is_tampered_with_the_signature_no_longer_fits(changed: str) -> None:
    headers = signing.headers([SECRET], "msg_1", datetime.now(UTC), BODY)
    body, secret = BODY, SECRET
    if changed == "id":
        headers["webhook-id"] = "msg_2"
    elif changed == "time":
        headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) - 1)
    elif changed == "body":
        body += b" "
    else:
        secret = SECRET.replace("M", "N", 1)

    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_x", "whsec_ž"])
def test_a_secret_that_is_none_is_an_error_of_our_own(secret: str) -> None:
    with pytest.raises(InvalidInputError, match="secret"):
        signing.headers([secret], "m", datetime.now(UTC), BODY)


def test_a_naive_time_is_refused_rather_than_guessed() -> None:
    naive = datetime.now(UTC).replace(tzinfo=None)

    with pytest.raises(ValueError, match="aware"):
        signing.headers([SECRET], "m", naive, BODY)
