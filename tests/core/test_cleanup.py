from __future__ import annotations

import anyio

from flowcore.cleanup import Cleanup


async def test_one_that_fails_in_its_cleanup_gives_the_others_no_further_time() -> None:
    cleanup = Cleanup(anyio.CancelScope)
    group, first = object(), ValueError("first")
    cleanup.begin(group, first)
    begun = cleanup.overdue(-1)

    cleanup.begin(group, ValueError("second"))

    assert begun is not None
    assert begun[1] is first
    assert cleanup.overdue(-1) == begun


async def test_a_group_that_has_ended_is_not_overdue() -> None:
    cleanup = Cleanup(anyio.CancelScope)
    group = object()
    cleanup.begin(group, ValueError("first"))

    cleanup.end(group)

    assert cleanup.overdue(-1) is None
