"""The chart is well-formed and shows every arm, whatever its name."""

from xml.etree import ElementTree

from app.tuning.chart import draw
from tests.support.tuned import arm_record, result

SVG = "{http://www.w3.org/2000/svg}"


def test_every_arm_has_a_bar_and_those_with_an_interval_a_whisker() -> None:
    """Plain decoding is what the others are compared with: it has no whisker, and its own colour."""
    tuned = result(
        arm_record("none", 50), arm_record([{"mode": "draft-simple", "n_max": 8}], 80), arm_record("ngram-mod", 49)
    )
    picture = ElementTree.fromstring(draw(tuned))
    bars = [bar.get("class") for bar in picture.findall(f"{SVG}rect")]
    assert bars == ["card", "plain", "best", "arm"]
    assert len([path for path in picture.findall(f"{SVG}path") if path.get("class") == "whisker"]) == 2
    words = [text.text for text in picture.findall(f"{SVG}text")]
    assert "draft-simple n_max 8" in words and "50.0 tok/s" in words


def test_nothing_is_drawn_outside_of_the_picture() -> None:
    """Not even the interval of a run that was too short to say anything."""
    tuned = result(arm_record("none", 50, 2), arm_record("ngram-mod", 60, 2, wobble=3.0), rounds=2)
    picture = ElementTree.fromstring(draw(tuned))
    width = float(picture.get("width", 0))
    for path in picture.findall(f"{SVG}path"):
        begin, end = path.get("d", "").split("M")[1].split("H")
        assert 0 < float(begin.split()[0]) <= float(end) < width


def test_names_are_escaped() -> None:
    """An alias is whatever clients send."""
    tuned = result(arm_record("none", 50), alias='a<b>&"c"\x01')
    assert 'a<b>&"c"' in "".join(ElementTree.fromstring(draw(tuned)).itertext())


def test_a_run_without_a_block_says_so() -> None:
    """Ctrl-C before the first answer."""
    tuned = result(arm_record("none", 50, 0), rounds=0)
    assert "No block was measured." in "".join(ElementTree.fromstring(draw(tuned)).itertext())
