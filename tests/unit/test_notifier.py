"""The notifier within one process."""

from __future__ import annotations

from loom.storage.notifier import (
    MESSAGES,
    InProcessNotifier,
    activity_topic,
    run_topic,
    workflow_topic,
)


def test_listeners_hear_of_their_topic_and_no_other() -> None:
    notifier, heard = InProcessNotifier(), []
    notifier.subscribe("one", heard.append)
    notifier.publish(["two", "one", "three"])
    assert heard == ["one"]


def test_every_listener_of_a_topic_hears_of_it_in_order_of_subscription() -> None:
    notifier, heard = InProcessNotifier(), []
    for name in "abc":
        notifier.subscribe("topic", lambda topic, name=name: heard.append(name))
    notifier.publish(["topic"])
    assert heard == ["a", "b", "c"]


def test_topics_are_published_in_order_and_as_often_as_given() -> None:
    notifier, heard = InProcessNotifier(), []
    for topic in ("one", "two"):
        notifier.subscribe(topic, heard.append)
    notifier.publish(["two", "one", "two"])
    assert heard == ["two", "one", "two"]


def test_publishing_to_nobody_is_fine() -> None:
    InProcessNotifier().publish(["topic"])


def test_who_has_unsubscribed_hears_no_more() -> None:
    notifier, heard = InProcessNotifier(), []
    unsubscribe = notifier.subscribe("topic", heard.append)
    notifier.publish(["topic"])
    unsubscribe()
    notifier.publish(["topic"])
    assert heard == ["topic"]


def test_unsubscribing_twice_takes_nobody_else_away() -> None:
    notifier, heard = InProcessNotifier(), []
    unsubscribe = notifier.subscribe("topic", heard.append)
    unsubscribe()
    notifier.subscribe("topic", heard.append)
    unsubscribe()
    notifier.publish(["topic"])
    assert heard == ["topic"]


def test_one_that_subscribed_twice_hears_twice_until_it_unsubscribes_once() -> None:
    notifier, heard = InProcessNotifier(), []
    notifier.subscribe("topic", heard.append)
    unsubscribe = notifier.subscribe("topic", heard.append)
    notifier.publish(["topic"])
    unsubscribe()
    notifier.publish(["topic"])
    assert heard == ["topic"] * 3


def test_a_listener_may_unsubscribe_while_it_is_told() -> None:
    notifier, heard = InProcessNotifier(), []

    def once(topic: str) -> None:
        heard.append(topic)
        unsubscribe()

    unsubscribe = notifier.subscribe("topic", once)
    notifier.subscribe("topic", heard.append)
    notifier.publish(["topic", "topic"])
    assert heard == ["topic"] * 3


def test_one_that_subscribes_while_others_are_told_hears_of_the_next() -> None:
    notifier, heard = InProcessNotifier(), []
    notifier.subscribe("topic", lambda topic: notifier.subscribe(topic, heard.append) and None)
    notifier.publish(["topic"])
    assert heard == []
    notifier.publish(["topic"])
    assert heard == ["topic"]


def test_other_processes_do_not_hear() -> None:
    assert not InProcessNotifier.crosses_processes


def test_topics_cannot_be_taken_for_each_other() -> None:
    topics = {workflow_topic("x"), activity_topic("x"), run_topic("x"), MESSAGES}
    assert len(topics) == 4
