# SPDX-License-Identifier: GPL-3.0-or-later
"""retained: who keeps most. The culprits of the stories, sums that are the heap, and sizes that the target agrees with."""
import pytest

from conftest import safepoint
from test_why import stories  # noqa: F401

pytestmark = pytest.mark.graph

SOURCES = ["live", "file"]
# Bytes of all that can't be reached but through an object; it counts by itself what is its alone.
SIZE_OF = "sum(sys.getsizeof(one) for one in %s)"


def retained(target, *words):
    return safepoint("retained", "--json", *words, target).expect(0).result


def rows(target, name, *words):
    return retained(target, "--match", name, *words)["objects"]


@pytest.mark.parametrize("source", SOURCES)
def test_culprits(stories, source):  # noqa: F811
    """What is kept, by whom: with its name, and to the byte."""
    where = stories.where(source)
    cache = rows(where, "__main__.Cache")
    assert [row["path"] for row in cache] == ["__main__.CACHE"] and cache[0]["address"] == stories.ask("id(CACHE)")
    users = rows(where, "__main__.User", "-n", "1000")
    assert len(users) == 50 and sum(row["retained"] for row in users) < cache[0]["retained"]
    orders = stories.ask(SIZE_OF % "CACHE._memo['u:9'].orders")
    one = [row for row in users if row["address"] == stories.ask("id(CACHE._memo['u:9'])")][0]
    assert one["retained"] >= orders + stories.ask("sys.getsizeof(CACHE._memo['u:9'].orders)") and one["bytes"] < one["retained"]
    shared = [row for row in users if row["address"] == stories.ask("id(CACHE._memo['u:7'])")][0]
    assert one["retained"] - shared["retained"] == rows(where, "__main__.Order")[0]["retained"]  # the one that another list holds too
    slotted = rows(where, "__main__.Slotted")[0]
    assert slotted["path"] == "__main__.SLOTTED"
    assert slotted["retained"] >= stories.ask("sys.getsizeof(SLOTTED) + sys.getsizeof(SLOTTED.payload) + " + SIZE_OF % "SLOTTED.payload")
    assert rows(where, "collections.deque")[0]["retained"] > stories.ask(SIZE_OF % "RECENT")
    assert rows(where, "__main__.Worker")[0]["path"].startswith("local self of ")


@pytest.mark.parametrize("source", SOURCES)
def test_biggest(stories, source):  # noqa: F811
    where = stories.where(source)
    result = retained(where)
    sizes = [row["retained"] for row in result["objects"]]
    assert len(sizes) == 30 and sizes == sorted(sizes, reverse=True)
    assert all(0 < row["bytes"] <= row["retained"] <= result["bytes"] for row in result["objects"])
    least = retained(where, "--min", str(sizes[9]), "-n", "1000")["objects"]
    assert len(least) >= 10 and least[-1]["retained"] >= sizes[9]
    every = retained(where, "-n", "10000000")["objects"]
    assert len(every) == result["count"] and sum(row["bytes"] for row in every) == result["bytes"]


@pytest.mark.parametrize("source", SOURCES)
def test_sums(stories, source):  # noqa: F811
    """The roots hold all of the heap, and each of its bytes once."""
    where = stories.where(source)
    result = retained(where, "--by", "root")
    assert sum(row["retained"] for row in result["roots"]) == result["bytes"]
    by_name = {row["name"]: row["retained"] for row in result["roots"]}
    assert by_name["(unreachable)"] == result["unreachable"] > 0
    threads = [name for name in by_name if name.startswith("frames of ")]
    assert ("frames of thread Worker-3" in threads) == (source == "live") and (source == "live" or "frames of a thread" in threads)
    heap = safepoint("heap", "--json", where).expect(0).result
    if source == "file":
        assert (heap["objects"], heap["bytes"]) == (result["count"], result["bytes"])
    types = {row["name"]: row for row in retained(where, "--by", "type")["types"]}
    assert source == "live" or sum(row["count"] for row in types.values()) == result["count"]
    assert all(row["bytes"] <= row["retained"] <= result["bytes"] for row in types.values())
    assert types["__main__.Link"]["count"] == 3000 and types["__main__.Link"]["retained"] >= 3000 * 48
    cache, user = types["__main__.Cache"]["retained"], types["__main__.User"]["retained"]
    assert cache > user > types["__main__.Order"]["retained"] > 1000 * 40


@pytest.mark.parametrize("source", SOURCES)
def test_garbage(stories, source):  # noqa: F811
    """Cycles that wait for the collector: one of each stands for it."""
    every = rows(stories.where(source), "__main__.Cyclic", "-n", "100")
    assert len(every) == 20 and all(row["path"] is None for row in every)
    assert retained(stories.where(source))["unreachable"] >= sum(row["retained"] for row in every)


@pytest.mark.parametrize("source", SOURCES)
def test_modules(stories, source):  # noqa: F811
    """What a module's names keep, its own and what they lead to."""
    modules = {row["name"]: row["retained"] for row in retained(stories.where(source), "--by", "module")["modules"]}
    cache = rows(stories.where(source), "__main__.Cache")[0]["retained"]
    assert modules["__main__"] > cache and modules["asyncio.events"] > 10000
    assert list(modules.values()) == sorted(modules.values(), reverse=True)


@pytest.mark.parametrize("source", SOURCES)
def test_tree(stories, source):  # noqa: F811
    """Unfolded, what an object keeps is its own, and never more than it."""
    result = retained(stories.where(source), "--depth", "6", "-n", "1000")
    paths = {}

    def walk(listed, kept, depth):
        assert sum(row["retained"] for row in listed) <= kept and depth <= 6
        assert [row["retained"] for row in listed] == sorted((row["retained"] for row in listed), reverse=True)
        for row in listed:
            paths[row["address"]] = (row["path"], depth)
            if row.get("keeps"):
                walk(row["keeps"], row["retained"] - row["bytes"], depth + 1)

    walk(result["objects"], result["bytes"], 1)
    number = stories.ask("id(CACHE._memo)")
    assert paths[number][0] == "__main__.CACHE._memo" and max(depth for _, depth in paths.values()) == 6
    text = safepoint("retained", "-q", stories.where(source), "--depth", "3", "-n", "1000").expect(0).text
    assert "__main__.CACHE" in text and "    " in text


def test_options(stories):  # noqa: F811
    for words in [("--by", "size"), ("--by", "generation"), ("--sort", "count"), ("--depth", "21"), ("--depth", "0"),
                  ("--by", "type", "--depth", "2")]:
        assert safepoint("retained", *words, stories.pid).expect(2).errors, words
    assert safepoint("heap", "--by", "root", stories.pid).expect(2).errors
    text = safepoint("retained", "-q", "--by", "type", "-n", "3", stories.pid).expect(0).text.splitlines()
    assert text[2].split() == ["RETAINED", "SHARE", "SHALLOW", "COUNT", "TYPE"] and len(text) == 6
