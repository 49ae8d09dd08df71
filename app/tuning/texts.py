"""The built-in prompts: four kinds of eight, all written for this purpose. Pure data.

The prompts of one block are neighbours and share no text: each kind has its first four texts with the first task, then
the same texts with the second.
"""

from __future__ import annotations

from app.tuning.prompts import Prompt, Prompts, chat

_CODE = (
    """\
def total(orders):
    result = 0
    for order in orders:
        if order["paid"]:
            result = result + order["price"] * order["count"]
    return result


def largest(orders):
    best = None
    for order in orders:
        if best is None or order["price"] > best["price"]:
            best = order
    return best
""",
    """\
class Shelf:
    def __init__(self, width):
        self.width = width
        self.books = []

    def free(self):
        return self.width - sum(book.thickness for book in self.books)

    def add(self, book):
        if book.thickness > self.free():
            return False
        self.books.append(book)
        return True
""",
    """\
function parseLine(line) {
  const parts = line.split(";");
  if (parts.length < 3) {
    return null;
  }
  return { station: parts[0], hour: Number(parts[1]), degrees: Number(parts[2]) };
}

function warmest(lines) {
  const rows = lines.map(parseLine).filter((row) => row !== null);
  return rows.reduce((a, b) => (a.degrees > b.degrees ? a : b));
}
""",
    """\
import time


def retry(action, tries, pause):
    for attempt in range(tries):
        try:
            return action()
        except OSError as error:
            print("attempt", attempt, "failed:", error)
            time.sleep(pause)
    return None
""",
)
_CODE_TASKS = (
    "Add a short comment above each function or method and change nothing else. Answer with the whole code.",
    "Give every function or method a clearer name and keep the rest as it is. Answer with the whole code.",
)

_CHAT = (
    "My tomato plants have yellow leaves at the bottom. What could be the reason, and what should I try first?",
    "I have two days in a small harbour town in spring and no car. How would you spend them?",
    "Explain to a twelve-year-old why the sky is dark at night although there are so many stars.",
    "I must tell a colleague that his report is too long without hurting him. What could I say?",
    "Which is better for a beginner, a wooden or an inflatable rowing boat, and why?",
    "Tell me a short story about a clockmaker who repairs a clock that runs backwards.",
    "What are the advantages and the drawbacks of working at night and sleeping by day?",
    "How does a lock between two canals work? Describe it step by step.",
)

_TEXTS = (
    "The old mill at the river was closed when the railway came, because flour from the city cost less than the grain "
    "that was ground here. For thirty years nobody used it. Then a carpenter bought the building, repaired the wheel "
    "and put a small generator where the stones had been. Today it lights eleven houses and the school, and in wet "
    "winters the village sells what is left over. The carpenter says that the hardest part was not the wheel but the "
    "papers: it took him four months to build and two years to be allowed to switch it on.",
    "The library changed its rules in March. Members may now borrow twelve items instead of eight, and keep them for "
    "four weeks. Films and games stay at one week, since the waiting lists are long. Fees for late returns are gone, "
    "but whoever is more than sixty days late pays for a new copy. In the first half year the number of loans rose by "
    "a fifth and the number of lost books stayed as it was. The staff spends less time at the counter and has opened a "
    "workshop for repairing covers on Thursdays.",
    "Bees find their way home over several kilometres. On its first flights a young bee turns around after leaving the "
    "hive and looks back at it, in wider and wider arcs. It learns the colours and edges near the entrance, then the "
    "line of trees behind it, and last the position of the sun. When a hive is moved by two metres during the day, the "
    "bees return to the old place and search. When it is moved by five kilometres at night, they notice in the morning "
    "that nothing is familiar and learn everything anew.",
    "The ferry company tested three kinds of paint on its hulls. The first was cheap and lost its smoothness after one "
    "season. The second held for three years but had to be applied in a heated hall, which only one shipyard has. The "
    "third cost twice as much as the others, and ships that wore it burned six percent less fuel. After two years the "
    "company painted all nine ships with the third kind. It expects to have the money back by the end of the fourth "
    "year, or sooner if fuel becomes dearer.",
)
_SUMMARIES = (
    "Summarise this text in three sentences.",
    "List the most important facts of this text as short bullet points.",
)

_DATA = (
    '{"name": "north gate", "open": true, "visitors": [120, 98, 143], "guard": {"id": 7, "shift": "early"}}\n'
    '{"name": "south gate", "open": false, "visitors": [0, 0, 12], "guard": {"id": 9, "shift": "late"}}\n'
    '{"name": "river gate", "open": true, "visitors": [64, 71, 59], "guard": {"id": 4, "shift": "early"}}',
    "| day | bread | rolls | cakes |\n|---|---|---|---|\n| Monday | 140 | 410 | 22 |\n| Tuesday | 133 | 388 | 19 |\n"
    "| Wednesday | 151 | 402 | 25 |\n| Thursday | 149 | 395 | 31 |\n| Friday | 178 | 520 | 47 |",
    "1. Close the upper valve.\n2. Wait until the gauge shows less than two bar.\n3. Loosen the four screws crosswise."
    "\n4. Lift the lid and set it aside.\n5. Take out the filter and rinse it with cold water.\n6. Put the filter back."
    "\n7. Tighten the four screws crosswise.\n8. Open the upper valve slowly.",
    "host = pump-03.example\nport = 5020\nunit = 12\ninterval_seconds = 15\nregisters = 40001, 40003, 40007\n"
    "scale = 0.1\nalarm_above = 82.5\nalarm_below = 4.0\nnotify = shift@example.org",
)
_COPIES = (
    "Repeat the following text exactly, without any comment.",
    "Write the following text twice, one copy after the other, without any comment.",
)


def _each(tasks: tuple[str, ...], texts: tuple[str, ...]) -> tuple[Prompt, ...]:
    return tuple(chat(f"{task}\n\n{text}") for task in tasks for text in texts)


BUILT_IN: Prompts = {
    "code edit": _each(_CODE_TASKS, _CODE),
    "chat": tuple(chat(text) for text in _CHAT),
    "summary": _each(_SUMMARIES, _TEXTS),
    "repeat": _each(_COPIES, _DATA),
}
