from __future__ import annotations

import pytest

from flowcore import BaseAsyncOp, to_mermaid


class OneOp(BaseAsyncOp):
    text: str = ""

    async def async_execute(self) -> None:
        pass


class TwoOp(OneOp): ...


def test_a_single_op_is_a_single_node() -> None:
    assert to_mermaid(OneOp()) == 'flowchart TD\n    op0["OneOp"]\n'


def test_parallel_ops_are_forked_and_joined() -> None:
    assert to_mermaid(OneOp() >> (TwoOp() | TwoOp()) >> OneOp()) == (
        "flowchart TD\n"
        '    op0_0["OneOp"]\n'
        '    op0_1_0["TwoOp"]\n'
        '    op0_1_1["TwoOp"]\n'
        "    op0_0 --> op0_1_0\n"
        "    op0_0 --> op0_1_1\n"
        '    op0_2["OneOp"]\n'
        "    op0_1_0 --> op0_2\n"
        "    op0_1_1 --> op0_2\n"
    )


def test_two_groups_of_parallel_ops_meet_in_one_point() -> None:
    lines = to_mermaid((OneOp() | OneOp()) >> (TwoOp() | TwoOp())).splitlines()

    assert '    joint0((" "))' in lines
    assert sum("-->" in line for line in lines) == 4


def test_sub_ops_hang_on_dotted_lines_with_their_names() -> None:
    lines = to_mermaid(OneOp() << {"find it": TwoOp(), "two_op": TwoOp()}).splitlines()

    assert '    op0 -.->|"find it"| op0_0' in lines
    assert "    op0 -.-> op0_1" in lines


@pytest.mark.parametrize("text", ['"', "<b>", "`", "#", "&", "\n", "end", "\x00", "\ud800", "-->"])
def test_no_text_leaves_its_node(text: str) -> None:
    node = to_mermaid(OneOp(text=text)).splitlines()

    assert len(node) == 2
    inside = node[1].removeprefix('    op0["OneOp<br/><small>').removesuffix('</small>"]')
    assert not set('"<>`&\n') & set(inside)


def test_several_flows_are_subgraphs_with_ids_of_their_own() -> None:
    text = to_mermaid({"a": OneOp(), "b": TwoOp()})

    assert '    subgraph flow0["a"]\n    flow0_op0["OneOp"]\n    end\n' in text
    assert 'flow1_op0["TwoOp"]' in text
