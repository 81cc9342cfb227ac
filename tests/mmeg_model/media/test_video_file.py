"""A part of a file, or of what another process reads, as a file of its own."""

import os
import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmeg_model.media.errors import MediaError
from mmeg_model.media.video_file import MAX_READ_BYTES, VideoFile, answering

CONTENT = bytes(range(200))


class Memory:
    """A source that remembers what was asked of it, and fails where it is told to."""

    def __init__(self, content=CONTENT, *, failure=None):
        self.content, self.failure = content, failure
        self.asked = []
        self.num_ahead = 0

    @property
    def num_bytes(self):
        return len(self.content)

    def read_at(self, offset, num_bytes):
        self.asked.append((offset, num_bytes))
        if self.failure:
            raise self.failure
        return self.content[offset : offset + num_bytes]

    def read_ahead(self):
        self.num_ahead += 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 250)),
        st.tuples(st.just("seek"), st.integers(0, 250), st.just(os.SEEK_SET)),
        st.tuples(st.just("seek"), st.integers(-50, 50), st.just(os.SEEK_CUR)),
        st.tuples(st.just("seek"), st.integers(-250, 50), st.just(os.SEEK_END)),
        st.tuples(st.just("tell")),
    )
)


def assert_same_steps(file, expected, steps):
    for name, *arguments in steps:
        try:
            result = getattr(expected, name)(*arguments)
        except OSError:
            with pytest.raises(OSError, match="Invalid argument"):
                getattr(file, name)(*arguments)
        else:
            assert getattr(file, name)(*arguments) == result


@given(st.integers(0, 250), st.none() | st.integers(0, 200), STEPS)
def test_video_file_is_its_part_as_a_file(tmp_path_factory, start_byte, num_bytes, steps):
    part = CONTENT[start_byte:] if num_bytes is None else CONTENT[start_byte : start_byte + num_bytes]
    folder = tmp_path_factory.getbasetemp()
    (folder / "all").write_bytes(CONTENT)
    (folder / "part").write_bytes(part)
    descriptor = os.open(folder / "all", os.O_RDONLY)
    with (
        VideoFile(descriptor, start_byte=start_byte, num_bytes=num_bytes and len(part)) as file,
        (folder / "part").open("rb", buffering=0) as expected,
    ):
        assert_same_steps(file, expected, steps)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@given(st.integers(0, 200), st.integers(0, 200), STEPS)
def test_a_part_behind_a_socket_is_a_file_too(tmp_path_factory, start_byte, num_bytes, steps):
    part = CONTENT[start_byte : start_byte + num_bytes]
    path = tmp_path_factory.getbasetemp() / "part"
    path.write_bytes(part)
    with (
        answering(Memory()) as descriptor,
        VideoFile(os.dup(descriptor), start_byte=start_byte, num_bytes=len(part)) as file,
        path.open("rb", buffering=0) as expected,
    ):
        assert_same_steps(file, expected, steps)


def test_reads_are_cut_to_what_one_request_may_ask_for():
    source = Memory(bytes(MAX_READ_BYTES + 7))
    with (
        answering(source) as descriptor,
        VideoFile(os.dup(descriptor), start_byte=0, num_bytes=source.num_bytes) as file,
    ):
        assert [len(file.read(MAX_READ_BYTES + 5)) for _ in range(3)] == [MAX_READ_BYTES, 7, 0]
    assert source.asked == [(0, MAX_READ_BYTES), (MAX_READ_BYTES, 7)]  # nothing is asked at the end


def test_a_failure_to_read_comes_across_and_the_next_read_is_tried():
    failure = MediaError("open", "NotFound", "gs://b/é is gone")
    source = Memory(failure=failure)
    with (
        answering(source) as descriptor,
        VideoFile(os.dup(descriptor), start_byte=0, num_bytes=200) as file,
    ):
        with pytest.raises(MediaError, match=r"^open: NotFound: gs://b/é is gone$"):
            file.read(10)
        source.failure = None
        assert file.read(10) == CONTENT[:10]


@pytest.mark.parametrize(
    "request_bytes",
    [
        struct.pack("!QI", 0, MAX_READ_BYTES + 1),
        struct.pack("!QI", 150, 51),
        struct.pack("!QI", 2**64 - 1, 1),
        struct.pack("!QI", 201, 0),
        b"half",
    ],
)
def test_who_asks_for_anything_else_gets_nothing(request_bytes):
    source = Memory()
    with answering(source) as descriptor, socket.socket(fileno=os.dup(descriptor)) as child:
        child.sendall(request_bytes)
        child.shutdown(socket.SHUT_WR)
        assert child.recv(1) == b""
    assert source.asked == []


@pytest.fixture
def new_thread():
    """Find the one thread that was started since this test began."""
    before = set(threading.enumerate())
    return lambda: (set(threading.enumerate()) - before).pop()


def test_the_thread_ends_with_the_context_while_somebody_still_holds_the_descriptor(new_thread):
    with answering(Memory()) as descriptor:
        held = os.dup(descriptor)
        thread = new_thread()
    thread.join(60)
    assert not thread.is_alive()
    with (
        VideoFile(held, start_byte=0, num_bytes=10) as file,
        pytest.raises(OSError, match=r"nobody reads|Broken"),
    ):
        file.read(1)


def test_the_thread_ends_although_nobody_takes_its_answer(new_thread):
    content = bytes(MAX_READ_BYTES)
    source = Memory(content)
    with answering(source) as descriptor, socket.socket(fileno=os.dup(descriptor)) as child:
        thread = new_thread()
        child.sendall(struct.pack("!QI", 0, MAX_READ_BYTES))
        assert child.recv(1, socket.MSG_PEEK)  # it is at it, and more than a socket holds is left
    thread.join(60)
    assert not thread.is_alive()
    assert source.num_ahead == 0
