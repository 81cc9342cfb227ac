"""Who waits for something that there are several of gets it when it is their turn."""

import threading
from collections import deque
from typing import Self


class Turns:
    """A semaphore whose permits go to those who wait in the order in which they came.

    `threading.Semaphore` lets a thread that gives a permit back and asks again at once have it before those who wait: a
    video of hours would hold all decoders.
    """

    def __init__(self, num_permits: int) -> None:
        self._lock = threading.Lock()
        self._num_free = num_permits
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> Self:
        with self._lock:
            if self._num_free:  # then nobody waits
                self._num_free -= 1
                return self
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        try:
            mine.acquire()  # whoever gives a permit back lets it go
        except BaseException:  # interrupted
            with self._lock:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                else:  # the permit came meanwhile
                    self._give_back()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._give_back()

    def _give_back(self) -> None:
        if self._waiting:
            self._waiting.popleft().release()
        else:
            self._num_free += 1
