# SPDX-License-Identifier: GPL-3.0-or-later
"""why and refs: of memory that is held in each of the ways that people ask about, the first answer names the culprit."""
import os
import re

import pytest

from conftest import TARGETS, safepoint, until_it_waits
from programs import Program

pytestmark = pytest.mark.graph

STORIES = {
    "Order": r"^__main__\.CACHE\._memo\['u:\d+'\]\.orders\[\d+\]$",
    "InClosure": r"^__main__\.HANDLER\.__closure__\[0\]\.cell_contents\[\d+\]$",
    "InFrame": r"^__main__\.FRAME_HOLDER\.show\.__closure__\[0\]\.cell_contents\.f_locals\['payload'\]\[\d+\]$",
    "InTraceback": r"^__main__\.ERROR\.__traceback__\.tb_next\.tb_frame\.f_locals\['request'\]\[\d+\]$",
    "InThreadLocal": r"^__main__\.LOCAL\.buffers\[\d+\]$",
    "Queued": r"\['(backlog|queue)'\]\._queue\[\d+\]$",
    "Setting": r"^__main__\.Config\.registry\[\d+\]$",
    "InSlot": r"^__main__\.SLOTTED\.payload\[\d+\]$",
    "Recent": r"^__main__\.RECENT\[\d+\]$",
    "Fetched": r"^__main__\.fetch\.<(cached result|cache)>",
    "FetchedForEver": r"^__main__\.fetch_for_ever\.<cache>\[\d+\]$",
    "InGlobal": r"^__main__\.GLOBAL\[\d+\]$",
    "Row": r"^rows\[\d+\]$",
    "Yielded": r"^__main__\.PRODUCER\.gi_frame\.f_locals\['held'\]\[\d+\]$",
    "Owner": r"^__main__\.CALLBACK\.__self__$",
    "Element": r"^__main__\.SEEN\.<element>$",
    "AsKey": r"^__main__\.KEYS\.<key>$",
    "Link": r"^__main__\.CHAIN(\.following)*$",
}
COUNTS = {"Order": 1000, "Link": 3000, "Owner": 1, "Queued": 26}
# Keys of dicts that aren't names of something are no part of a file, but for one with values.
UNTOLD = {"Order": r"^__main__\.CACHE\._memo\[<str at 0x[0-9a-f]+>\]\.orders\[\d+\]$",
          "InThreadLocal": r"^__main__\.LOCAL\.__dict__\[<str at 0x[0-9a-f]+>\]\[\d+\]$",
          "FetchedForEver": r"^__main__\.fetch_for_ever\.<cache>\[<int at 0x[0-9a-f]+>\]$"}
WAITS = "never.wait()  # here it stands"


class Stories(Program):
    """targets/stories.py, and snapshots of it."""

    def __init__(self, python, directory):
        super().__init__(python, "stories")
        assert self.hear() == "ready"
        until_it_waits(self.pid)
        self.files = {}
        for name, words in [("file", []), ("values", ["--values"])]:
            self.files[name] = os.path.join(directory, name)
            safepoint("snapshot", "-o", self.files[name], *words, self.pid).expect(0)

    def ask(self, expression):
        self.say(expression.encode() + b"\n")
        answer = self.hear()
        assert "error" not in answer, "%s: %s" % (expression, answer["error"])
        return answer["ok"]

    def where(self, source):
        return self.pid if source == "live" else self.files[source]


@pytest.fixture(scope="module")
def stories(python, tmp_path_factory):
    with Stories(python, tmp_path_factory.mktemp("stories")) as target:
        yield target
        assert target.alive()


def why(target, what, *words):
    return safepoint("why", "--json", *words, target, what).expect(0).result


@pytest.mark.parametrize("source", ["live", "file", "values"])
def test_stories(stories, source):
    wrong = []
    for name, pattern in STORIES.items():
        result = why(stories.where(source), "__main__." + name)
        expression = result["paths"][0]["expression"] if result["paths"] else result["verdict"]
        if source == "file":
            pattern = UNTOLD.get(name, pattern)
        if not re.search(pattern, expression):
            wrong.append((name, expression))
        if result["object"]["type"] != "__main__." + name or result["verdict"] != "held":
            wrong.append((name, result["object"], result["verdict"]))
        if result["objects"] != COUNTS.get(name, 20) or result["alike"] < result["objects"] - 1:
            wrong.append((name, result["objects"], result["alike"]))
    assert not wrong, wrong


@pytest.mark.parametrize("source", ["live", "file", "values"])
def test_frame(stories, source):
    """A variable of a function that runs in another thread: which one, where, and in which thread."""
    path = why(stories.where(source), "Row")["paths"][0]
    with open(os.path.join(TARGETS, "stories.py")) as file:
        line = [number for number, text in enumerate(file, 1) if WAITS in text][0]
    assert path["root"] == "frame"
    if source == "file":
        assert (path["function"], path["file"], path["line"], path["thread"]) == ("__main__.Worker.run", None, 0, None)
        assert path["text"] == path["expression"].join(["local ", " of __main__.Worker.run"])
        return
    assert (path["function"], path["thread"]) == ("Worker.run", "Worker-3")
    assert path["file"].endswith("/stories.py") and path["line"] == (line if source == "live" else 0)
    text = safepoint("why", "-q", stories.where(source), "Row").expect(0).text
    assert "\nlocal rows[" in text and "] of Worker.run (" in text
    assert ("stories.py:%d, thread Worker-3)\n" if source == "live" else "stories.py, thread Worker-3)\n%.0s") % line in text


@pytest.mark.parametrize("source", ["live", "values"])
def test_steps(stories, source):
    """What the expression leaves open: which coroutine, which function's frame, which variable of a closure."""
    for name, expected in [("InClosure", {"make_handler.<locals>.handle", "rows"}), ("Queued", {"consume_nothing"}),
                           ("Yielded", {"produce_some"}), ("InFrame", {"frame", "make_kept_frame"}), ("InTraceback", {"fail"})]:
        steps = why(stories.where(source), "__main__." + name)["paths"][0]["steps"]
        assert expected <= {step["of"] for step in steps}, (name, steps)
    text = safepoint("why", stories.where(source), "__main__.InClosure").expect(0).text
    assert "cell rows, " in text and "function make_handler.<locals>.handle, " in text


def test_address(stories):
    """An object by its address, in each notation, with the steps that lead to it."""
    number = stories.ask("id(CACHE._memo['u:33'].orders[5])")
    for word in [str(number), hex(number), "0X%X" % number]:
        result = why(stories.pid, word)
        path = result["paths"][0]
        assert path["expression"] == "__main__.CACHE._memo['u:33'].orders[5]", word
        assert (result["object"]["address"], result["objects"], result["object"]["refcount"]) == (number, 1, 1)
    assert [step["name"] for step in path["steps"]] == ["__main__", ".CACHE", "._memo", "['u:33']", ".orders", "[5]"]
    for step, expression in zip(path["steps"], ["sys.modules['__main__']", "CACHE", "CACHE._memo", "CACHE._memo['u:33']"]):
        assert step["address"] == stories.ask("id(%s)" % expression)
    assert path["steps"][-1]["address"] == number and path["steps"][-1]["type"] == "__main__.Order"


@pytest.mark.parametrize("source", ["live", "file"])
def test_several(stories, source):
    """What two hold has two paths, the shorter first; what one holds has one."""
    number = stories.ask("id(ALSO_ORDERS[0])")
    paths = [path["expression"] for path in why(stories.where(source), number, "-n", "5")["paths"]]
    key = "'u:7'" if source == "live" else "<str at %s>" % hex(stories.ask("id(next(k for k in CACHE._memo if k == 'u:7'))"))
    assert paths == ["__main__.ALSO_ORDERS[0]", "__main__.CACHE._memo[%s].orders[0]" % key]
    number = stories.ask("id(CACHE._memo['u:8'].orders[0])")
    assert len(why(stories.where(source), number, "-n", "5")["paths"]) == 1
    assert why(stories.where(source), number, "-n", "1000000")["paths"]


@pytest.mark.parametrize("source", ["live", "file"])
def test_nobody(stories, source):
    """Cyclic garbage, by itself and behind a weak reference; and what C alone holds."""
    for name in ("Cyclic", "WeaklyHeld"):
        result = why(stories.where(source), "__main__." + name)
        assert (result["verdict"], result["paths"], result["unreached"]) == ("garbage", [], 20), name
    assert "cyclic garbage" in safepoint("why", stories.where(source), "Cyclic").expect(0).text
    result = why(stories.where(source), "FromC")
    assert (result["verdict"], result["paths"]) == ("outside", [])
    assert result["holder"]["address"] == result["object"]["address"]
    assert "a reference from C" in safepoint("why", stories.where(source), "FromC").expect(0).text
    behind = why(stories.where(source), "BehindC")
    assert (behind["verdict"], behind["holder"]["type"]) == ("outside", "__main__.FromC")


def test_unknown(stories):
    """What isn't there, or may be several, is refused, and a way out is told."""
    for command in ("why", "refs"):
        for word, part, hint in [("Ordr", "no object's type is called Ordr", "safepoint heap"),
                                 ("0x10", "no object is at 0x10", "id()"), ("order", "order", "__main__.Order"),
                                 (str(stories.ask("id(GLOBAL)") + 8), "is inside of", "id()")]:
            error = safepoint(command, "--json", stories.pid, word).expect(2).error
            assert part in error["message"] and hint in error["hint"], error
    error = safepoint("why", "--json", stories.pid, "0xffffffffffffffffff").expect(2).error
    assert "no object's type" in error["message"]
    assert why(stories.pid, "__main__.In*")["objects"] == 120
    assert safepoint("why", stories.pid).expect(2).errors and safepoint("why", "--by", "type", stories.pid, "x").expect(2)


@pytest.mark.parametrize("source", ["live", "file", "values"])
def test_names_of_a_stranger(stories, source):
    """What a terminal would obey is made visible, wherever it stands."""
    number = stories.ask("id(next(iter(globals()['ev\\x1b]0;il\\x9b'].values()))[0])")
    for words in [("why",), ("refs",)]:
        answer = safepoint(*words, stories.where(source), number).expect(0)
        assert not set(answer.out) & (set(range(32)) - {10}) and "\x9b" not in answer.text, answer.text
        assert "il" in answer.text
    assert why(stories.where(source), number)["verdict"] == "held"
    answer = safepoint("retained", "-n", "400", stories.where(source)).expect(0)
    assert not set(answer.out) & (set(range(32)) - {10}) and "\x9b" not in answer.text


# ------------------------------------------------------------------- refs


def refs(target, what, *words):
    return safepoint("refs", "--json", *words, target, what).expect(0).result


HELD = ["GLOBAL", "GLOBAL[3]", "CACHE", "CACHE._memo", "CACHE._memo['u:7']", "HANDLER", "HANDLER.__closure__", "ERROR", "SLOTTED", "RECENT",
        "fetch", "PRODUCER", "CALLBACK", "SEEN", "KEYS", "Config", "Order", "User.__init__", "User.__init__.__code__", "LOCAL",
        "FRAME_HOLDER.show", "WEAK", "ready", "collections"]


def addresses(side):
    return {row["address"] for row in side["rows"]}


@pytest.mark.parametrize("source", ["live", "file"])
def test_referents(stories, source):
    """All that the collector is told of; and beyond it only what it isn't told of: classes (before 3.9), and strings."""
    for held in HELD if source == "live" else HELD[::4]:
        number = stories.ask("id(%s)" % held)
        out = refs(stories.where(source), number, "--out")["out"]
        if out["grouped"]:
            continue
        theirs = set(stories.ask("[id(one) for one in gc.get_referents(%s)]" % held))
        ours = addresses(out)
        assert theirs <= ours, held
        more = {row["type"] for row in out["rows"] if row["address"] not in theirs}
        assert more <= {"str", "type", "abc.ABCMeta", "bytes", "int", "tuple", "NoneType", "dict", "bool", "code", "object",
                        "builtin_function_or_method"}, (held, more)


@pytest.mark.parametrize("source", ["live", "file"])
def test_referrers(stories, source):
    """All that gc.get_referrers() finds but frames, which are roots; and beyond it only what the collector doesn't track."""
    for held in HELD if source == "live" else HELD[1::4]:
        number = stories.ask("id(%s)" % held)
        side = refs(stories.where(source), number, "--in")["in"]
        if side["grouped"]:
            continue
        theirs = stories.ask("[[id(one), type(one).__name__] for one in gc.get_referrers(%s)]" % held)
        ours = addresses(side)
        missing = [one for one in theirs if one[0] not in ours and one[1] not in ("frame", "coroutine")]
        assert not missing, (held, missing)
        for address in ours - {one[0] for one in theirs}:
            tracked = stories.ask("gc.is_tracked(ctypes.cast(%d, ctypes.py_object).value)" % address)
            assert not tracked, (held, hex(address))


@pytest.mark.parametrize("source", ["live", "file"])
def test_names(stories, source):
    where = stories.where(source)
    one = {row["name"] for row in refs(where, stories.ask("id(CACHE)"), "--out")["out"]["rows"]}
    assert "._memo" in one or ".__dict__" in one
    rows = refs(where, stories.ask("id(GLOBAL)"), "--in")["in"]["rows"]
    assert [(row["name"], row["type"]) for row in rows] == [("['GLOBAL']", "dict")]
    rows = refs(where, stories.ask("id(SLOTTED)"), "--out")["out"]["rows"]
    assert sorted(row["name"] for row in rows) == [".__class__", ".payload"]
    rows = refs(where, stories.ask("id(HANDLER)"), "--out")["out"]["rows"]
    assert {".__code__", ".__globals__", ".__closure__"} <= {row["name"] for row in rows}


@pytest.mark.parametrize("source", ["live", "file"])
def test_many(stories, source):
    """Those of a type, grouped: every one is counted."""
    result = refs(stories.where(source), "__main__.Order")
    assert result["objects"] == 1000 and result["in"]["references"] == 1001
    assert [(row["name"], row["type"], row["count"]) for row in result["in"]["rows"]] == [("[...]", "list", 1001)]
    by_name = {row["name"]: row["count"] for row in result["out"]["rows"]}
    assert by_name[".__class__"] == 1000 and result["out"]["grouped"]
    text = safepoint("refs", stories.where(source), "__main__.Order", "-q").expect(0).text
    assert re.search(r"1,001 +\[\.\.\.\] +list +0x", text) and "1,000 __main__.Order" in text
    text = safepoint("refs", stories.where(source), stories.ask("id(GLOBAL)"), "-q", "--in").expect(0).text
    assert "['GLOBAL']" in text and "references from it" not in text
