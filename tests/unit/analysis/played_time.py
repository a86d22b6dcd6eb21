"""Time that only work moves, and threads that wake when it passes them: no test waits or is late.

The test's own thread moves it. A started thread runs until it waits, and again at each of its moments,
while the mover stands still: what it sees depends on nothing but the played work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace


class PlayedTime:
    """What a module calls `time`; its `threading` is what that module calls so."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._turn = threading.Condition()
        self._running = 0
        self._waiting: list[_Event] = []
        self.threading = SimpleNamespace(
            Event=lambda: _Event(self), Thread=lambda target, daemon: _Thread(self, target, daemon)
        )

    def monotonic(self) -> float:
        return self._now_s

    def sleep(self, span_s: float) -> None:
        """Move on; every thread that waits has its moments meanwhile."""
        with self._turn:
            until_s = self._now_s + span_s
            while first := min(self._waiting, key=lambda event: event.wakes_s, default=None):
                if first.wakes_s > until_s:
                    break
                self._now_s = first.wakes_s
                self._wake(first)
            self._now_s = until_s

    def _wake(self, event: _Event) -> None:
        """Let the event's thread run until it waits again or ends."""
        self._waiting.remove(event)
        self._running += 1
        self._turn.notify_all()
        self._turn.wait_for(lambda: not self._running)

    def _rest(self) -> None:
        self._running -= 1
        self._turn.notify_all()

    def begin(self, thread: threading.Thread) -> None:
        """Start a thread and return when it waits or has ended."""
        with self._turn:
            self._running += 1
            thread.start()
            self._turn.wait_for(lambda: not self._running)

    def run(self, target: Callable[[], None]) -> None:
        """Run what a thread is for, and say when it has ended."""
        try:
            target()
        finally:
            with self._turn:
                self._rest()

    def set(self, event: _Event) -> None:
        with self._turn:
            event.happened = True
            if event in self._waiting:
                self._wake(event)

    def wait(self, event: _Event, span_s: float) -> bool:
        with self._turn:
            if not event.happened:
                event.wakes_s = self._now_s + span_s
                self._waiting.append(event)
                self._rest()
                self._turn.wait_for(lambda: event not in self._waiting)
            return event.happened


class _Event:
    """As threading's, waited for by one thread."""

    def __init__(self, time: PlayedTime) -> None:
        self._time = time
        self.happened = False
        self.wakes_s = 0.0

    def is_set(self) -> bool:
        return self.happened

    def set(self) -> None:
        self._time.set(self)

    def wait(self, span_s: float) -> bool:
        return self._time.wait(self, span_s)


class _Thread:
    """As threading's."""

    def __init__(self, time: PlayedTime, target: Callable[[], None], daemon: bool) -> None:
        self._time = time
        self._thread = threading.Thread(target=lambda: time.run(target), daemon=daemon)

    def start(self) -> None:
        self._time.begin(self._thread)

    def join(self) -> None:
        self._thread.join()
