from __future__ import annotations

from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from flowcore import BaseAsyncOp, Op, ParallelOp, SequentialOp, to_svg
from flowcore.layout import Box, drawing_of
from flowcore.lettering import text_width, wrap
from flowcore.op_tree import places
from flowcore.shape import shape_of

SVG = "{http://www.w3.org/2000/svg}"


class TextOp(BaseAsyncOp):
    text: object = ""
    more: object = None

    async def async_execute(self) -> None:
        pass


class ANameThatIsMuchTooLongForAnyBoxSoThatItHasToBeWrittenInSeveralLinesOrCutOp(TextOp): ...


class 检索知识库Op(TextOp): ...  # noqa: N801, PLC2401


def joined(ops: st.SearchStrategy[Op]) -> st.SearchStrategy[Op]:
    names = st.text(max_size=20)
    return (
        st.lists(ops, min_size=2, max_size=5).map(SequentialOp)
        | st.lists(ops, min_size=2, max_size=5).map(ParallelOp)
        | st.builds(lambda op, subs: op << subs, leaves(), st.dictionaries(names, ops, max_size=4))
    )


def leaves() -> st.SearchStrategy[Op]:
    kinds = st.sampled_from([TextOp, *TextOp.__subclasses__()])
    values = st.text() | st.integers() | st.lists(st.text(), max_size=3)
    return st.builds(lambda kind, text, more: kind(text=text, more=more), kinds, values, values)


TREES = st.recursive(leaves(), joined, max_leaves=20)


def parsed(op: Op, **options: bool) -> ET.Element:
    return ET.fromstring(to_svg(op, title="a <flow> & more", **options))


def overlap(a: Box, b: Box) -> bool:
    beside = a.x + a.width <= b.x or b.x + b.width <= a.x
    return not (beside or a.y + a.height <= b.y or b.y + b.height <= a.y)


@given(TREES)
def test_any_tree_is_drawn_with_each_of_its_ops_in_a_place_of_its_own(op: Op) -> None:
    root = parsed(op, styled=True)

    drawn = [str(each.get("data-op")) for each in root.iter(f"{SVG}g") if each.get("class") == "op"]
    ops = [place for place, each in places(op) if isinstance(each, TextOp)]
    assert sorted(drawn) == sorted(ops)
    drawing = drawing_of(shape_of(op))
    for index, box in enumerate(drawing.boxes):
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= drawing.width
        assert box.y + box.height <= drawing.height
        assert not any(overlap(box, other) for other in drawing.boxes[:index])


@given(TREES)
def test_no_line_crosses_a_box(op: Op) -> None:
    drawing = drawing_of(shape_of(op))

    for line in drawing.lines:
        for (ax, ay), (bx, by) in zip(line.points, line.points[1:], strict=False):
            for box in drawing.boxes:
                left, right = sorted((ax, bx))
                top, bottom = sorted((ay, by))
                inside = (
                    right > box.x + 0.01
                    and left < box.x + box.width - 0.01
                    and bottom > box.y + 0.01
                    and top < box.y + box.height - 0.01
                )
                assert not inside, (line, box)


@given(TREES)
def test_every_line_of_text_fits_into_its_box(op: Op) -> None:
    for box in drawing_of(shape_of(op)).boxes:
        for lines, size in ((box.label, 11.0), (box.title, 14.0), (box.notes, 11.0)):
            assert all(text_width(line, size) <= box.width for line in lines)


def test_a_drawing_is_the_same_every_time() -> None:
    def flow() -> Op:
        return TextOp(text="x") >> ((TextOp() << {"a": TextOp()}) | 检索知识库Op(text="你好"))

    assert to_svg(flow()) == to_svg(flow())


def test_a_drawing_says_in_words_what_it_shows() -> None:
    root = parsed(TextOp() >> (TextOp() | 检索知识库Op()))

    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == "a <flow> & more"
    words = "TextOp, then at the same time (TextOp; 检索知识库Op)"
    assert root.findtext(f"{SVG}desc") == words


def test_a_page_with_a_strict_policy_can_hold_a_drawing() -> None:
    text = to_svg(TextOp(text="<script>alert(1)</script>") >> (TextOp() << {"onload=": TextOp()}))

    root = ET.fromstring(text)
    names = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert names <= {"svg", "title", "desc", "g", "rect", "text", "path", "circle"}
    attributes = {name for element in root.iter() for name in element.attrib}
    assert "style" not in attributes
    assert not any(name.startswith("on") or name.endswith("href") for name in attributes)


def test_several_flows_stand_below_each_other_with_their_names() -> None:
    root = ET.fromstring(to_svg({"one": TextOp() >> TextOp(), "a&b": TextOp()}, title="both"))

    named = [group for group in root.iter(f"{SVG}g") if group.get("class") == "named"]
    assert [group.get("data-flow") for group in named] == ["one", "a&b"]
    assert [group.findtext(f"{SVG}text") for group in named] == ["one", "a&b"]
    assert [len(group.findall(f".//{SVG}rect")) for group in named] == [2, 1]
    tops = [float(str(group.get("transform")).split()[1].rstrip(")")) for group in named]
    assert tops[1] > tops[0] + 100
    assert float(str(root.get("height"))) > tops[1] + 80
    assert root.findtext(f"{SVG}desc") == "one: TextOp, then TextOp. a&b: TextOp."


def test_no_flow_is_an_empty_drawing() -> None:
    assert ET.fromstring(to_svg({})).get("height") == "16"


def test_a_text_in_a_drawing_cannot_steer_a_terminal() -> None:
    text = to_svg(TextOp(name="\x1b[2J\x9b31m\u202e\ud800\u3000x"))

    assert not set("\x1b\x9b\u202e\ud800") & set(text)
    ET.fromstring(text)


def test_a_file_of_its_own_has_colours_for_light_and_dark() -> None:
    assert "prefers-color-scheme: dark" in to_svg(TextOp(), styled=True)
    assert "<style>" not in to_svg(TextOp())


def test_a_long_name_is_wrapped_between_its_words() -> None:
    assert wrap("RetrieveDocumentsAndRankThemOp", 14, 3) == ["RetrieveDocumentsAnd", "RankThemOp"]


def test_what_does_not_fit_is_cut() -> None:
    lines = wrap("字" * 100, 11, 3)

    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert wrap("", 11, 3) == []


def test_wide_characters_count_as_wide_and_marks_as_nothing() -> None:
    assert text_width("汉字", 11) == 22
    assert text_width("e\u0301", 11) == text_width("e", 11)
