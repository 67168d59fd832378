# SPDX-License-Identifier: GPL-3.0-or-later
"""stats: what the target says of itself, compared with what it says to us."""
import json

from conftest import safepoint, target_running


def find(value, *names):
    """The first field of one of these names, wherever it stands."""
    if isinstance(value, dict):
        for name in names:
            if name in value:
                return value[name]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            got = find(item, *names)
            if got is not None:
                return got
    return None


def stats(target):
    return safepoint("stats", "--json", "--timeout", "60s", target.pid).expect(0).result


def by_type(result, name):
    rows = [row for row in result["types"] if row["type"] == name]
    assert len(rows) == 1, [row["type"] for row in result["types"]][:50]
    return rows[0]


def test_count_of_a_type(idle):
    """37 orders, with their module's name, and their bytes."""
    row = by_type(stats(idle), "__main__.Order")
    assert row["count"] == 37
    size = idle.ask("sum(sys.getsizeof(order) for order in orders)")
    assert row["bytes"] == size


def test_counts_follow(idle):
    first = by_type(stats(idle), "__main__.Order")["count"]
    idle.do("extra = [Order(n) for n in range(1000)]")
    second = by_type(stats(idle), "__main__.Order")["count"]
    idle.do("del extra")
    third = by_type(stats(idle), "__main__.Order")["count"]
    assert (first, second, third) == (37, 1037, 37)


def test_refcounts(idle):
    """Each order is held once, by the list. What looking at it adds is taken off."""
    row = by_type(stats(idle), "__main__.Order")
    idle.do("held = [orders[0]] * 10")
    more = by_type(stats(idle), "__main__.Order")
    idle.do("del held")
    assert find(more, "refs", "refcount", "refcount_sum", "refcounts") is not None, more
    name = [name for name in ("refs", "refcount_sum", "refcount") if name in row][0]
    assert row[name] == 37
    assert more[name] == 47


def test_thresholds_and_counts(idle):
    result = stats(idle)
    generations = result["gc"]["generations"]
    thresholds = idle.ask("list(gc.get_threshold())")
    assert [generation["threshold"] for generation in generations][:len(thresholds)] == thresholds
    statistics = idle.ask("gc.get_stats()")
    for ours, theirs in zip(generations, statistics):
        # A collection may have come between the two.
        for name in ("collections", "collected", "uncollectable"):
            assert 0 <= theirs[name] - ours[name] <= (3 if name != "collected" else 10000), (name, ours, theirs)


def test_collections_follow(idle):
    before = stats(idle)["gc"]["generations"][2]["collections"]
    idle.do("gc.collect(); gc.collect()")
    after = stats(idle)["gc"]["generations"][2]["collections"]
    assert after - before >= 2


def test_garbage_and_freeze(python):
    with target_running(python, "idle") as target:
        result = stats(target)
        assert find(result, "garbage") in (0, []) and find(result, "freeze_count", "frozen") == target.ask("gc.get_freeze_count()")
        target.do("gc.garbage.append('kept'); gc.freeze()")
        frozen = target.ask("gc.get_freeze_count()")
        result = stats(target)
        assert find(result, "freeze_count", "frozen") == frozen and frozen > 100
        garbage = find(result, "garbage")
        assert garbage == 1 or (isinstance(garbage, list) and len(garbage) == 1)
        target.do("gc.unfreeze(); gc.garbage.clear()")


def test_total(idle):
    """All that gc.get_objects() gives, but for what the question itself makes."""
    result = stats(idle)
    count = sum(row["count"] for row in result["types"])
    total = find(result, "objects", "tracked", "total")
    total = total if isinstance(total, int) else count
    theirs = idle.ask("len(gc.get_objects())")
    assert abs(total - theirs) < 200, (total, theirs)
    assert count <= total + 1


def test_allocated_blocks(idle):
    result = stats(idle)
    blocks = find(result, "allocated_blocks", "blocks")
    theirs = idle.ask("sys.getallocatedblocks()")
    assert abs(blocks - theirs) < max(5000, theirs // 10), (blocks, theirs)


def test_total_refcount_on_debug_builds(idle):
    result = stats(idle)
    total = find(result, "total_refcount", "gettotalrefcount")
    if idle.python.debug:
        theirs = idle.ask("sys.gettotalrefcount()")
        assert abs(total - theirs) < max(20000, theirs // 5), (total, theirs)
    else:
        assert total is None


def test_table(idle):
    answer = safepoint("stats", idle.pid).expect(0)
    assert "Order" in answer.text or "TYPE" in answer.text.upper()
    assert "\x1b" not in answer.text
    assert max(len(line) for line in answer.text.splitlines()) <= 200


def test_leaves_nothing(idle):
    safepoint("stats", idle.pid).expect(0)
    modules, descriptors = idle.ask("sorted(sys.modules)"), idle.descriptors()
    blocks = min(idle.ask("(gc.collect(), sys.getallocatedblocks())[1]") for _ in range(3))
    for _ in range(10):
        safepoint("stats", idle.pid).expect(0)
    assert idle.ask("sorted(sys.modules)") == modules and idle.descriptors() == descriptors
    assert min(idle.ask("(gc.collect(), sys.getallocatedblocks())[1]") for _ in range(3)) - blocks < 60


def test_runs_no_code_of_the_objects(idle):
    """Objects whose __class__, __sizeof__, __repr__ or metaclass lie or raise don't stop the count, and are not run."""
    idle.do("class Rude:\n"
            "    def __sizeof__(self): LEDGER.append('sizeof'); raise RuntimeError('no')\n"
            "    def __repr__(self): LEDGER.append('repr'); raise RuntimeError('no')\n"
            "    def __hash__(self): LEDGER.append('hash'); raise RuntimeError('no')\n"
            "    def __eq__(self, other): LEDGER.append('eq'); raise RuntimeError('no')\n"
            "    @property\n"
            "    def __class__(self): LEDGER.append('class'); raise RuntimeError('no')\n"
            "class Meta(type):\n"
            "    def __getattribute__(cls, name): LEDGER.append('meta'); raise RuntimeError('no')\n"
            "    def __hash__(cls): LEDGER.append('metahash'); raise RuntimeError('no')\n"
            "    def __eq__(cls, other): LEDGER.append('metaeq'); raise RuntimeError('no')\n"
            "Worse = Meta('Worse', (), {})\n"
            "rude = [Rude() for n in range(5)], [Worse() for n in range(3)]")
    try:
        result = stats(idle)
        assert by_type(result, "__main__.Rude")["count"] == 5
        assert sum(row["count"] for row in result["types"] if row["type"].endswith("Worse")) == 3
        assert idle.ask("LEDGER") == []
    finally:
        idle.do("del rude, Rude, Worse, Meta; LEDGER.clear(); gc.collect()")


def test_busy(busy):
    assert by_type(stats(busy), "__main__.Order")["count"] == 37


def test_json_is_plain(idle):
    json.loads(safepoint("stats", "--json", idle.pid).expect(0).out.decode("utf-8", "strict"))
