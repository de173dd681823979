"""Blocking functions in threads of ours: nobody waits past a deadline, and what hangs starves nobody."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from stanchion.errors import OutOfTime, ThreadsBusy
from stanchion.threads import Threads, in_thread

SOON = 0.05  # seconds after which a test gives up on what hangs
LONG = 30.0  # seconds that no test reaches
place: ContextVar[str] = ContextVar("place", default="nowhere")


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What hanging functions wait for; set at the end at the latest, and every thread of ours is gone after it."""
    event = threading.Event()
    yield event
    event.set()
    for thread in ours():
        thread.join(LONG)
    assert not ours()


def ours() -> list[threading.Thread]:
    """The threads of ours that are alive."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("stanchion ")]


def same(value: Any) -> Any:
    """What it is given."""
    return value


def test_a_function_runs_with_its_arguments_and_the_callers_context() -> None:
    """The function runs in another thread, sees the caller's context variables, and its result comes back."""

    def work(number: int) -> tuple[int, str, bool]:
        return number, place.get(), threading.current_thread().daemon

    async def main() -> Any:
        place.set("here")
        return await in_thread(work, 3, seconds=LONG)

    assert asyncio.run(main()) == (3, "here", True)


@pytest.mark.parametrize(("raised", "seen"), [(KeyError("x"), KeyError), (StopIteration(), RuntimeError)])
def test_what_a_function_raises_is_raised_where_it_is_awaited(raised: Exception, seen: type[Exception]) -> None:
    """An exception reaches the caller; a StopIteration, which no coroutine may raise, as RuntimeError."""

    def work() -> None:
        raise raised

    with pytest.raises(seen):
        asyncio.run(in_thread(work, seconds=LONG))


def test_a_late_answer_is_told_and_thrown_away(release: threading.Event) -> None:
    """At the deadline OutOfTime, a TimeoutError, is raised; what the function then returns goes to `late` only."""
    told, has_told = [], threading.Event()

    def late(answer: Any) -> None:
        told.append(answer)
        has_told.set()

    with pytest.raises(TimeoutError, match=r"wait did not return within 0\.05 s") as caught:
        asyncio.run(in_thread(release.wait, seconds=SOON, late=late))
    assert isinstance(caught.value, OutOfTime)
    assert told == []
    release.set()
    assert has_told.wait(LONG)
    assert told == [True]


def test_a_late_exception_is_told(release: threading.Event) -> None:
    """A function that fails after its deadline tells `late` the exception."""
    told, has_told = [], threading.Event()

    def work() -> None:
        release.wait()
        raise KeyError("late")

    def late(answer: Any) -> None:
        told.append(answer)
        has_told.set()

    with pytest.raises(OutOfTime):
        asyncio.run(in_thread(work, seconds=SOON, late=late))
    release.set()
    assert has_told.wait(LONG)
    assert isinstance(told[0], KeyError)


def test_without_time_nothing_is_begun() -> None:
    """A call with no time left is refused before its function runs."""
    begun: list[int] = []
    with pytest.raises(OutOfTime, match="append; it was not begun"):
        asyncio.run(in_thread(begun.append, 1, seconds=0))
    assert begun == []


def test_hanging_calls_do_not_starve_a_healthy_one(release: threading.Event) -> None:
    """Two calls that hang past their deadline in a pool of two give their places to the next."""
    threads = Threads(most_running=2, most_left_behind=5)

    async def main() -> Any:
        hanging = [threads.run(release.wait, seconds=SOON) for _ in range(2)]
        healthy = threads.run(same, "healthy", seconds=LONG)
        return await asyncio.gather(*hanging, healthy, return_exceptions=True)

    *late, healthy = asyncio.run(main())
    assert [type(error) for error in late] == [OutOfTime, OutOfTime]
    assert healthy == "healthy"


def test_who_waits_in_line_is_served_in_order(release: threading.Event) -> None:
    """Calls begin in the order in which they came."""
    threads = Threads(most_running=1)
    order: list[int] = []

    async def main() -> None:
        first = asyncio.create_task(threads.run(release.wait, seconds=LONG))
        others = [asyncio.create_task(threads.run(order.append, number, seconds=LONG)) for number in range(20)]
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(first, *others)

    asyncio.run(main())
    assert order == list(range(20))


def test_a_call_that_finds_no_place_in_its_time_is_refused_with_a_reason(release: threading.Event) -> None:
    """While calls that still have time hold all places, a further one waits for its own time only, and is not begun."""
    threads = Threads(most_running=1)
    begun: list[int] = []

    async def main() -> Any:
        holding = asyncio.create_task(threads.run(release.wait, seconds=LONG))
        await asyncio.sleep(0)
        with pytest.raises(ThreadsBusy, match=r"append was not begun: all 1 threads .* were taken for 0\.05 s"):
            await threads.run(begun.append, 1, seconds=SOON)
        release.set()
        return await holding, await threads.run(same, 2, seconds=LONG)

    assert asyncio.run(main()) == (True, 2)
    assert begun == []


def test_too_many_hanging_calls_refuse_new_ones_until_some_return(release: threading.Event) -> None:
    """From the limit on, new calls and those in line are refused at once; when what hung returns, they are taken."""
    threads = Threads(most_running=1, most_left_behind=1)

    async def main() -> Any:
        hanging = asyncio.create_task(threads.run(release.wait, seconds=SOON))
        await asyncio.sleep(0)
        in_line = asyncio.create_task(threads.run(same, 1, seconds=LONG))
        first = await asyncio.gather(hanging, in_line, return_exceptions=True)
        with pytest.raises(ThreadsBusy, match="1 that did not return in time still hang"):
            await threads.run(same, 2, seconds=LONG)
        release.set()
        for thread in ours():
            thread.join(LONG)
        return [type(error) for error in first], await threads.run(same, 3, seconds=LONG)

    assert asyncio.run(main()) == ([OutOfTime, ThreadsBusy], 3)


def test_a_cancelled_call_is_left_behind(release: threading.Event) -> None:
    """Cancelling the one who waits frees the place at once, and the answer goes to `late`."""
    threads = Threads(most_running=1)
    begun, has_told = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait()

    async def main() -> Any:
        hanging = asyncio.create_task(threads.run(work, seconds=LONG, late=lambda _: has_told.set()))
        while not begun.is_set():
            await asyncio.sleep(0)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        return await threads.run(same, "next", seconds=LONG)

    assert asyncio.run(main()) == "next"
    release.set()
    assert has_told.wait(LONG)


def test_who_is_cancelled_in_line_takes_no_place(release: threading.Event) -> None:
    """A call cancelled while it waits is never begun, and the next in line is served."""
    threads = Threads(most_running=1)
    begun: list[int] = []

    async def main() -> Any:
        holding = asyncio.create_task(threads.run(release.wait, seconds=LONG))
        leaving = asyncio.create_task(threads.run(begun.append, 1, seconds=LONG))
        following = asyncio.create_task(threads.run(same, 2, seconds=LONG))
        await asyncio.sleep(0)
        leaving.cancel()
        release.set()
        return await asyncio.gather(holding, leaving, following, return_exceptions=True)

    held, left, followed = asyncio.run(main())
    assert (held, type(left), followed) == (True, asyncio.CancelledError, 2)
    assert begun == []


def test_who_is_cancelled_while_being_served_gives_the_place_on(release: threading.Event) -> None:
    """A place given to one who is cancelled before knowing of it goes to the next, and is not lost."""
    threads = Threads(most_running=1)

    async def main() -> Any:
        holding = asyncio.create_task(threads.run(release.wait, seconds=LONG))
        leaving = asyncio.create_task(threads.run(same, 1, seconds=LONG))
        await asyncio.sleep(0)
        waiting = threads._line[0]
        release.set()
        while not waiting.has_place:  # the loop stands still meanwhile, so the one who waits cannot know
            pass
        leaving.cancel()
        await asyncio.gather(holding, leaving, return_exceptions=True)
        return await threads.run(same, 2, seconds=LONG)

    assert asyncio.run(main()) == 2


def test_one_thread_serves_call_after_call() -> None:
    """A thread that has just become free is used again, and ends when no call comes for a moment."""

    async def main() -> set[int]:
        return {await in_thread(threading.get_ident, seconds=LONG) for _ in range(20)}

    assert len(asyncio.run(main())) == 1
    for thread in ours():
        thread.join(LONG)
    assert not ours()


def test_the_place_of_one_whose_loop_is_gone_goes_to_the_next(release: threading.Event) -> None:
    """A loop that was closed while calls of it ran and waited does not keep their places."""
    threads = Threads(most_running=1)
    gone = asyncio.new_event_loop()
    for _ in range(2):  # one holds the place, the other waits in line
        task = gone.create_task(threads.run(release.wait, seconds=LONG))
        task._log_destroy_pending = False  # type: ignore[attr-defined] # we leave it pending on purpose
    gone.run_until_complete(asyncio.sleep(0))
    gone.close()
    release.set()
    assert asyncio.run(threads.run(same, 1, seconds=LONG)) == 1


def test_many_loops_share_the_places() -> None:
    """Calls from four loops in four threads at once all come through two places."""
    threads = Threads(most_running=2)
    answers: list[list[int]] = []

    async def calls() -> list[int]:
        return await asyncio.gather(*(threads.run(same, number, seconds=LONG) for number in range(50)))

    loops = [threading.Thread(target=lambda: answers.append(asyncio.run(calls()))) for _ in range(4)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join(LONG)
    assert answers == [list(range(50))] * 4


def in_a_process(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)


def test_a_process_ends_while_calls_hang() -> None:
    """The interpreter does not wait at its end for calls that hang forever."""
    ended = in_a_process(
        "import asyncio, threading\n"
        "from stanchion.threads import in_thread\n"
        "try: asyncio.run(in_thread(threading.Event().wait, seconds=0.05))\n"
        "except TimeoutError: print('late')\n"
    )
    assert (ended.stdout, ended.returncode) == ("late\n", 0), ended.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_starts_anew() -> None:
    """A child forked while all places are taken, and the lock is held, has all of its own places."""
    ended = in_a_process(
        "import asyncio, os, threading\n"
        "from stanchion import threads\n"
        "async def main():\n"
        "    hanging = [asyncio.create_task(threads.in_thread(threading.Event().wait, seconds=9)) for _ in range(64)]\n"
        "    await asyncio.sleep(0)\n"
        "    with threads._ours._lock: child = os.fork()\n"
        "    if not child:\n"
        "        asyncio._set_running_loop(None)\n"
        "        os._exit(asyncio.run(threads.in_thread(lambda: 7, seconds=20)))\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)\n"
        "    os._exit(0)\n"
        "asyncio.run(main())\n"
    )
    assert ended.stdout == "7\n", ended.stderr
