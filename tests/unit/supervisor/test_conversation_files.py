"""Files of saved slots: what is kept, in which order, and what ends them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.config.conversations import ConversationLimits
from app.supervisor.conversation_files import ConversationFiles, PlanFolder, RestoreVerdict, slot_name, tokens_in
from app.supervisor.conversation_owner import Owner
from app.supervisor.slot_format import SlotHead

DAY_S = 24 * 3600
NOW_S = 1_800_000_000.0
WHEN = int(NOW_S * 1000)


def content(tokens: Sequence[int], *, wrapped: bool = True, more: int = 100) -> bytes:
    """As llama-server writes it, and `more` bytes of cache."""
    words = [0xFFFFFFFF, 1, len(tokens), *tokens, 0] if wrapped else list(tokens)
    return struct.pack(f"<3I{len(words)}I", 0x67677371, 4, len(words), *words) + bytes(more)


def put(folder: PlanFolder, tokens: Sequence[int], *, when: int = WHEN, rank: int = 0, more: int = 100) -> Path:
    data = content(tokens, more=more)
    path = folder.path / slot_name(when, rank, len(tokens), len(data))
    path.write_bytes(data)
    return path


@pytest.fixture
def files(tmp_path: Path) -> ConversationFiles:
    return ConversationFiles(tmp_path)


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_tokens_stand_at_the_head(tmp_path: Path, wrapped: bool) -> None:
    """In both forms that llama-server has had."""
    path = tmp_path / "x"
    path.write_bytes(content([5, 6, 7], wrapped=wrapped))
    assert tokens_in(path) == [5, 6, 7]


@pytest.mark.parametrize("data", [b"", b"short", b"\0" * 64, content([5, 6, 7], more=0)[:20], content([1 << 31])])
def test_a_file_that_tells_no_tokens(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    assert tokens_in(path) == []
    assert tokens_in(tmp_path / "missing") == []


def with_medium(tokens: Sequence[int], digest: int) -> bytes:
    """A conversation with an image at the end, as b11434 writes it."""
    words = [0xFFFFFFFF, 1, len(tokens) + 2, *tokens, 0xFFFFFFFF, 0xFFFFFFFF, 1, len(tokens), digest]
    return struct.pack(f"<3I{len(words)}I", 0x67677371, 4, len(words), *words) + bytes(100)


def test_the_text_before_an_image_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(with_medium([5, 6, 7], 77))
    assert tokens_in(path) == [5, 6, 7] and SlotHead.of(path).has_media
    path.write_bytes(content([5, 6, 7]))
    assert not SlotHead.of(path).has_media


def test_another_image_is_another_conversation(files: ConversationFiles) -> None:
    """The same words around it are not enough; nor does an image continue a text."""
    folder, words = files.folder("m", "a" * 64), list(range(40))
    paths = []
    for age, data in enumerate((with_medium(words, 1), with_medium(words, 2), with_medium(words, 2), content(words))):
        paths.append(folder.path / slot_name(WHEN - age, 0, len(words), len(data)))
        paths[-1].write_bytes(data)
    folder.keep_only(9)
    assert [path.exists() for path in paths] == [True, True, False, False]


def test_nobody_else_may_look(files: ConversationFiles) -> None:
    """Whatever was there before."""
    files.root.mkdir(mode=0o755)
    folder = files.folder("org/m", "a" * 64)
    modes = [path.stat().st_mode & 0o777 for path in (folder.path, folder.path.parent, files.root)]
    assert modes == [0o700] * 3


def test_the_most_recent_come_first(files: ConversationFiles) -> None:
    folder = files.folder("m", "a" * 64)
    old, second, first = (
        put(folder, [1], when=WHEN - 1),
        put(folder, [2], rank=1),
        put(folder, [3], rank=0),
    )
    (folder.path / "notes.txt").write_text("no slot")
    assert [slot.path for slot in folder.slots()] == [first, second, old]
    assert all(slot.whole for slot in folder.slots())
    first.write_bytes(first.read_bytes()[:-1])
    assert not folder.slots()[0].whole


def test_another_plan_of_a_model_ends_the_files_of_the_last(files: ConversationFiles) -> None:
    before = put(files.folder("m", "a" * 64), [1])
    of_another = put(files.folder("other", "a" * 64), [1])
    files.folder("m", "b" * 64)
    assert not before.exists() and of_another.exists()


def test_a_removed_model_leaves_nothing(files: ConversationFiles) -> None:
    gone, stays = put(files.folder("m", "a" * 64), [1]), put(files.folder("m:plain", "a" * 64), [1])
    files.forget_all_but(["m:plain"])
    assert not gone.exists() and not gone.parent.exists() and stays.exists()


def test_what_is_older_than_keep_goes(files: ConversationFiles) -> None:
    """To the second, by the clock that is given."""
    folder = files.folder("m", "a" * 64)
    path = put(folder, [1])
    files.expire(ConversationLimits(), NOW_S + DAY_S)
    assert path.exists()
    files.expire(ConversationLimits(), NOW_S + DAY_S + 1)
    assert not path.exists()


def test_the_oldest_go_where_there_is_too_much(files: ConversationFiles) -> None:
    """Of all models together."""
    newest = put(files.folder("m", "a" * 64), [1], more=4000)
    older = put(files.folder("other", "a" * 64), [2], when=WHEN - 5, more=4000)
    files.expire(ConversationLimits(disk=5000), NOW_S)
    assert newest.exists() and not older.exists()


def test_a_file_that_is_too_large_ends_no_older_one_that_fits(files: ConversationFiles) -> None:
    folder = files.folder("m", "a" * 64)
    large, small = put(folder, [1], more=9000), put(folder, [2], when=WHEN - 5, more=10)
    files.expire(ConversationLimits(disk=5000), NOW_S)
    assert small.exists() and not large.exists()


def test_no_more_than_a_tenth_of_what_is_free(files: ConversationFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the files take themselves counts as free."""
    folder = files.folder("m", "a" * 64)
    path = put(folder, [1], more=1000)

    class Usage:
        free = 10_000 - path.stat().st_size

    monkeypatch.setattr("app.supervisor.conversation_files.shutil.disk_usage", lambda _: Usage)
    assert files.room(ConversationLimits()) == 1000
    files.expire(ConversationLimits(), NOW_S)
    assert not path.exists()


def test_off_ends_all(files: ConversationFiles) -> None:
    put(files.folder("m", "a" * 64), [1])
    files.expire(ConversationLimits.model_validate("off"), NOW_S)
    assert not files.root.exists()


def test_what_a_kill_left_half_written_is_removed(files: ConversationFiles) -> None:
    part = files.folder("m", "a" * 64).path / "1-0000.part"
    part.write_bytes(b"half")
    assert files.folder("m", "a" * 64).slots() == []
    assert not part.exists()


@pytest.fixture
def theirs(tmp_path: Path) -> ConversationFiles:
    """Those of a gateway with other settings and the same state_dir."""
    return ConversationFiles(tmp_path, tmp_path / "theirs.yaml")


def test_another_gateways_files_stay(files: ConversationFiles, theirs: ConversationFiles) -> None:
    """While it runs, whatever this one's models are, and whether it keeps any."""
    path = put(theirs.folder("m", "a" * 64), [1], more=1000)
    files.folder("m", "b" * 64)
    files.forget_all_but(["x"])
    files.forget("m")
    files.expire(ConversationLimits.model_validate("off"), NOW_S)
    files.expire(ConversationLimits(disk=10), NOW_S)
    assert path.exists() and files.size() == 0 and theirs.size() == path.stat().st_size


def test_another_gateways_files_end_with_their_own_keep(files: ConversationFiles, theirs: ConversationFiles) -> None:
    """It may never start again."""
    path = put(theirs.folder("m", "a" * 64, keep=2 * DAY_S), [1])
    files.expire(ConversationLimits(), NOW_S + 2 * DAY_S)
    assert path.exists()
    files.expire(ConversationLimits(), NOW_S + 2 * DAY_S + 1)
    assert not path.exists()


def test_what_a_dead_gateway_has_left(files: ConversationFiles, theirs: ConversationFiles) -> None:
    """Half a file, and the files of a plan that is no more; the same plan's go on."""
    plan = theirs.folder("m", "a" * 64)
    path, part = put(plan, [1]), plan.path / "1-0000.part"
    part.write_bytes(b"half")
    files.remove_parts()
    assert part.exists()
    Owner("theirs", "999999999:1000.00").write(plan.path)
    files.remove_parts()
    assert not part.exists() and path.exists()
    assert [slot.path for slot in files.folder("m", "a" * 64).slots()] == [path] and files.size() > 0
    Owner("theirs", "999999999:1000.00").write(plan.path)
    files.folder("m", "b" * 64)
    assert not path.exists()


def test_all_gateways_together_leave_nine_tenths_free(
    files: ConversationFiles, theirs: ConversationFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(theirs.folder("m", "a" * 64), [1], more=300)

    class Usage:
        free = 10_000 - path.stat().st_size

    monkeypatch.setattr("app.supervisor.conversation_files.shutil.disk_usage", lambda _: Usage)
    assert files.room(ConversationLimits()) == 1000 - path.stat().st_size


def test_what_a_later_one_goes_on_from_is_not_kept_beside_it(files: ConversationFiles) -> None:
    """Nor what is beyond the slots that there are; a conversation of its own stays."""
    folder = files.folder("m", "a" * 64)
    shared = list(range(100))
    begun = put(folder, shared, when=WHEN - 2)
    of_its_own = put(folder, [*range(50), *range(500, 600)], when=WHEN - 1)
    gone_on = put(folder, [*shared[:95], *range(200, 300)])
    folder.keep_only(3)
    assert gone_on.exists() and of_its_own.exists() and not begun.exists()
    folder.keep_only(1)
    assert gone_on.exists() and not of_its_own.exists()


def test_a_verdict_stays_with_its_plan(files: ConversationFiles) -> None:
    """Of a plan whose restores have no effect nothing else does."""
    folder = files.folder("m", "a" * 64)
    assert folder.verdict is None
    path = put(folder, [1])
    folder.judge(RestoreVerdict(works=True))
    assert path.exists() and folder.verdict == RestoreVerdict(works=True)
    folder.judge(RestoreVerdict(works=False, reason="no use"))
    assert not path.exists() and files.folder("m", "a" * 64).verdict == RestoreVerdict(works=False, reason="no use")
    assert files.folder("m", "b" * 64).verdict is None
