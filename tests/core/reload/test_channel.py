from __future__ import annotations

import socket

from flowcore.reload.channel import Channel


def pair() -> tuple[Channel, Channel]:
    ours, theirs = socket.socketpair()
    return Channel(ours), Channel(theirs)


def test_messages_come_in_order_until_the_other_end_closes():
    one, other = pair()
    one.send("loaded", files=["a", "b"])
    one.send("serving")
    one.close()
    found = [(message.kind, dict(message.data)) for message in other]
    other.close()

    assert found == [("loaded", {"files": ["a", "b"]}), ("serving", {})]


def test_nothing_happens_when_there_is_nobody_to_tell():
    one, other = pair()
    other.close()
    one.send("serving")
    one.send("serving")

    assert [*one] == []
    one.close()


def test_sockets_go_with_their_message():
    one, other = pair()
    with socket.create_server(("127.0.0.1", 0)) as first, socket.socket() as second:
        one.send("keep", first, name="first")
        one.send("serving")
        one.send("go", first, second, names=["first", "second"])
        one.close()
        messages = [*other]
        address = first.getsockname()

    other.close()
    assert [len(message.sockets) for message in messages] == [1, 0, 2]
    assert messages[0].sockets[0].getsockname() == address
    for message in messages:
        for sock in message.sockets:
            assert not sock.get_inheritable()
            sock.close()
