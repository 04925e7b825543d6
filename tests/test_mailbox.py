"""The one-slot mailbox: newest wins, drops are counted, nobody waits for ever."""

import threading
import time

import pytest

from vidcodec.mailbox import Mailbox, MailboxClosed


def test_reader_gets_the_newest_item_and_the_older_ones_are_counted_as_dropped() -> None:
    box: Mailbox[int] = Mailbox()
    assert [box.put(n) for n in (1, 2, 3)] == [True, False, False]
    assert box.get(timeout_s=0) == 3
    assert (box.put_count, box.dropped_count) == (3, 2)


def test_item_is_delivered_once() -> None:
    box: Mailbox[str] = Mailbox()
    box.put("only")
    assert box.poll() == "only"
    assert box.poll() is None
    with pytest.raises(TimeoutError):
        box.get(timeout_s=0.01)


def test_none_is_an_item_like_any_other() -> None:
    box: Mailbox[None] = Mailbox()
    box.put(None)
    assert box.get(timeout_s=0) is None
    assert box.dropped_count == 0


def test_closed_mailbox_still_gives_its_last_item_and_then_says_so() -> None:
    box: Mailbox[int] = Mailbox()
    box.put(7)
    box.close()
    box.close()
    assert box.closed
    assert box.get() == 7
    with pytest.raises(MailboxClosed):
        box.get()


def test_item_put_after_close_is_dropped_and_counted() -> None:
    box: Mailbox[int] = Mailbox()
    box.close()
    assert box.put(1) is False
    assert box.dropped_count == 1
    assert box.poll() is None


def test_close_wakes_every_waiting_reader() -> None:
    box: Mailbox[int] = Mailbox()
    ended: list[str] = []

    def read() -> None:
        try:
            box.get()
        except MailboxClosed:
            ended.append("closed")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    time.sleep(0.02)
    box.close()
    for reader in readers:
        reader.join(timeout=2)
    assert ended == ["closed"] * 3


def test_get_waits_for_an_item_put_later() -> None:
    box: Mailbox[int] = Mailbox()
    timer = threading.Timer(0.05, box.put, args=(5,))
    timer.start()
    assert box.get(timeout_s=2) == 5


def test_every_item_is_either_read_or_counted_as_dropped_under_contention() -> None:
    box: Mailbox[int] = Mailbox()
    total = 5_000
    read: list[int] = []
    reader = threading.Thread(target=lambda: read.extend(box))
    reader.start()
    for number in range(total):
        box.put(number)
    box.close()
    reader.join(timeout=5)
    assert read == sorted(set(read)), "items arrive in order and once"
    assert read[-1] == total - 1, "the newest item is never lost"
    assert len(read) + box.dropped_count == total == box.put_count


def test_more_slots_keep_the_newest_items_in_their_order() -> None:
    mailbox: Mailbox[int] = Mailbox(slots=3)
    assert [mailbox.put(item) for item in range(5)] == [True, True, True, False, False]
    assert (mailbox.waiting, mailbox.dropped_count) == (3, 2)
    assert [mailbox.get(0), mailbox.poll(), mailbox.get(0), mailbox.poll()] == [2, 3, 4, None]
