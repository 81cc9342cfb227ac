"""A subscription of the fake of Pub/Sub."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import pubsub_v1
from makers.go_programs import pubsub
from makers.notifications import Message

_ACK_SECONDS = 10
"""The least there is."""


@dataclass(frozen=True)
class Subscription:
    """`projects/…/subscriptions/…`, and what sends to its topic."""

    path: str
    environment: dict[str, str]
    """Of processes that are to find it."""
    publish: Callable[[Message], None]

    def unacknowledged(self) -> int:
        """How many messages are delivered again, when the time to acknowledge them has passed."""
        with pubsub_v1.SubscriberClient() as subscriber, contextlib.suppress(DeadlineExceeded):
            answer = subscriber.pull(
                subscription=self.path, max_messages=100, timeout=_ACK_SECONDS + 5, retry=None
            )
            return len(answer.received_messages)
        return 0


@contextlib.contextmanager
def subscription(monkeypatch: pytest.MonkeyPatch) -> Iterator[Subscription]:
    """One for as long as this lasts, which this process finds."""
    with pubsub() as address:
        environment = {"PUBSUB_EMULATOR_HOST": address}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        publisher = pubsub_v1.PublisherClient()
        topic = publisher.topic_path("my-project", "my-topic")
        publisher.create_topic(name=topic)
        with pubsub_v1.SubscriberClient() as subscriber:
            path = subscriber.subscription_path("my-project", "my-subscription")
            subscriber.create_subscription(name=path, topic=topic, ack_deadline_seconds=_ACK_SECONDS)

        def publish(message: Message) -> None:
            attributes, data = message
            publisher.publish(topic, data, **attributes).result()

        yield Subscription(path, environment, publish)
        publisher.stop()
        publisher.transport.close()
