# SPDX-License-Identifier: GPL-3.0-or-later
"""export: what other programs get is what is in the heap; read here by parsers that know nothing of how it was written."""
import collections
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import time

import pytest

from conftest import PATIENCE, Running, pythons, safepoint, target_running
from test_core import GCORE, gcore
from test_freeze import children
from test_heap import MAKE
from test_snapshot import SECRETS, Snapshot, snapshot

pytestmark = pytest.mark.graph

EXPORT = os.path.join(pythons.TOP, "tests", "export")
NODE_FIELDS = ["type", "name", "id", "self_size", "edge_count", "trace_node_id", "detachedness"]
SINGLE = ["(modules)", "(builtins)", "(interpreter)", "(interned strings)", "(static variables)", "(static objects)", "(unreachable)"]
SYNTHETIC = re.compile(r"\((thread \d+|frame.*)\)")
# The kinds of docs/snapshot.md, as lines of JSON name them.
KINDS = ["type", "field", "slot", "word", "index", "element", "key", "value", "attribute", "local", "stack", "state"]
ROOTS = ["frame", "modules", "builtins", "interpreter", "thread", "interned", "static", "object"]
Node = collections.namedtuple("Node", "type name id size edges")


def export(target, path, *words):
    """Of a target or of a snapshot file; the answer's result."""
    if not isinstance(target, str):
        target = target.until_blocked()
    result = safepoint("export", "--json", "-o", path, *words, target).expect(0).result
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600 and result["file_bytes"] == os.stat(path).st_size
    assert not os.path.exists(path + ".part")
    return result


class Heapsnapshot:
    """What the format says must be so is so, or this fails."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        # Chrome's reader takes them in this order, and looks for the words.
        order = [text.index('"%s":' % word) for word in ("snapshot", "nodes", "edges", "trace_function_infos", "trace_tree", "samples", "locations", "strings")]
        assert order == sorted(order)
        self.raw = raw = json.loads(text)
        meta = raw["snapshot"]["meta"]
        assert meta["node_fields"] == NODE_FIELDS and meta["edge_fields"] == ["type", "name_or_index", "to_node"]
        self.node_types, self.edge_types = meta["node_types"][0], meta["edge_types"][0]
        assert all(raw[name] == [] for name in ("trace_function_infos", "trace_tree", "samples", "locations"))
        strings, numbers, width = raw["strings"], raw["nodes"], len(NODE_FIELDS)
        assert all(isinstance(text, str) for text in strings)
        assert all(type(number) is int and 0 <= number < 1 << 32 for number in numbers)
        assert len(numbers) == raw["snapshot"]["node_count"] * width
        self.nodes = [Node(self.node_types[numbers[at]], strings[numbers[at + 1]], *numbers[at + 2:at + 5]) for at in range(0, len(numbers), width)]
        assert all(numbers[at + 5:at + 7] == [0, 0] for at in range(0, len(numbers), width))
        assert len({node.id for node in self.nodes}) == len(self.nodes)
        self.read_edges(raw["edges"], strings, width)
        self.objects = 1 + sum(node.type == "synthetic" for node in self.nodes[1:])
        assert all(node.type != "synthetic" for node in self.nodes[self.objects:])
        self.check_groups()

    def read_edges(self, numbers, strings, width):
        assert len(numbers) == self.raw["snapshot"]["edge_count"] * 3 == sum(node.edges for node in self.nodes) * 3
        at, self.edges = 0, []
        for node in self.nodes:
            mine = []
            for _ in range(node.edges):
                kind, name, target = self.edge_types[numbers[at]], numbers[at + 1], numbers[at + 2]
                assert target % width == 0 and target // width < len(self.nodes)
                assert kind in ("context", "element", "property", "internal", "weak")
                mine.append((kind, name if kind == "element" else strings[name], target // width))
                at += 3
            self.edges.append(mine)

    def check_groups(self):
        """A tree of them: the root, then what it holds; frames within threads."""
        assert self.nodes[0][:3] == ("synthetic", "", 1)
        names = [node.name for node in self.nodes[1:self.objects]]
        assert names[:len(SINGLE)] == SINGLE and all(SYNTHETIC.fullmatch(name) for name in names[len(SINGLE):])
        assert all(node.size == 0 for node in self.nodes[:self.objects])
        holders = collections.Counter()
        for number in range(self.objects):
            holders.update(target for _, _, target in self.edges[number] if target < self.objects)
        assert set(holders) == set(range(1, self.objects)) and set(holders.values()) == {1}
        assert [edge[:2] for edge in self.edges[0]] == [("element", number) for number in range(len(self.edges[0]))]
        for _, _, target in self.edges[0]:
            frames = [to for _, _, to in self.edges[target] if to < self.objects]
            assert not frames or self.nodes[target].name.startswith("(thread ")
            assert all(self.nodes[frame].name.startswith("(frame") for frame in frames)

    def without(self, removed):
        """The bytes that the root reaches when a node is not there."""
        seen = bytearray(len(self.nodes))
        if removed is not None:
            seen[removed] = 1
        seen[0], stack, reached = 1, [0], 0
        while stack:
            number = stack.pop()
            reached += self.nodes[number].size
            for kind, _, target in self.edges[number]:
                if not seen[target] and kind != "weak":
                    seen[target] = 1
                    stack.append(target)
        return reached

    def find(self, type, edges):
        """Of objects of a type, those that have these edges: name -> type of the target."""
        return [number for number in range(self.objects, len(self.nodes)) if self.nodes[number].name == type and
                edges.items() <= {name: self.nodes[target].name for _, name, target in self.edges[number]}.items()]


# ---------------------------------------------------------------- .heapsnapshot


def check_like(heap, file):
    """Every node and every reference of a snapshot, in its order, with its name."""
    known = {"str": "string", "int": "number", "float": "number", "complex": "number", "bool": "number", "function": "closure",
             "builtin_function_or_method": "closure", "method": "closure", "code": "code"}
    objects = heap.nodes[heap.objects:]
    assert [(node.name, node.size) for node in objects] == [(file.types[node[1]], node[2]) for node in file.nodes]
    assert all(node.type == known.get(node.name, "object") for node in objects)
    edges = [(heap.objects + number, *edge) for number in range(len(objects)) for edge in heap.edges[heap.objects + number]]
    assert [(edge[0], edge[3]) for edge in edges] == [(heap.objects + edge[0], heap.objects + edge[1]) for edge in file.edges]
    fixed = {"type": ("internal", "__class__"), "key": ("internal", "key"), "field": ("property", None), "slot": ("property", None),
             "attribute": ("property", None), "value": ("property", None), "local": ("context", None), "index": ("element", None),
             "element": ("element", None), "word": ("internal", None), "stack": ("internal", None), "state": ("internal", None)}
    weak = 0
    for (_, type, name, _), (_, _, kind, counted, number, text) in zip(edges, file.edges):
        wanted, said = fixed[KINDS[kind]]
        said = text or said
        if KINDS[kind] == "value" and not text:
            wanted, said = "element", name  # its place, which the snapshot doesn't say
        if type == "weak":
            weak += 1
        else:
            assert type == wanted and counted
        if said is not None:
            assert str(name) == str(said)
        else:
            assert re.fullmatch(r"(|\+|state\+|stack |local |attribute )%d" % number, str(name)), (name, number)
    return weak


def test_heapsnapshot(idle, tmp_path):
    """Of a file it has what the file has; of the process the same objects under the same ids."""
    idle.do(MAKE + "HEAP_INNER[3].a = HEAP_KNOWN\n")
    paths = [os.path.join(tmp_path, name) for name in ("heap.sps", "file", "live")]
    snapshot(idle, paths[0])
    results = [export(paths[0], paths[1], "--format", "heapsnapshot"), export(idle, paths[2], "--format", "heapsnapshot")]
    heaps, file = [Heapsnapshot(path) for path in paths[1:]], Snapshot(paths[0])
    weak = check_like(heaps[0], file)
    assert 0 < weak < len(file.edges) / 2
    for heap, result, live in zip(heaps, results, (False, True)):
        assert result["objects"] == len(heap.nodes) - heap.objects and result["format"] == "heapsnapshot"
        assert result["edges"] == sum(map(len, heap.edges[heap.objects:])) and result["values"] == 0
        assert result["bytes"] == sum(node.size for node in heap.nodes) == heap.without(None)
        check_known(heap, idle, live)
    ids = [{node.id for node in heap.nodes if node.name.startswith("__main__.")} for heap in heaps]
    assert ids[0] == ids[1] and len(ids[0]) > 1234 + 777
    idle.do("del HEAP_INNER[3].a")


def check_known(heap, target, live):
    names = collections.Counter(node.name for node in heap.nodes)
    assert (names["__main__.Known"], names["__main__.Outer.Inner"]) == (1234, 777)
    module, = heap.find("dict", {"'HEAP_KNOWN'": "list", "'HEAP_INNER'": "list"})
    kept, = [to for kind, name, to in heap.edges[module] if (kind, name) == ("property", "'HEAP_KNOWN'")]
    items = [(name, heap.nodes[to].name) for kind, name, to in heap.edges[kept] if kind == "element"]
    assert items == [(number, "__main__.Known") for number in range(1234)]
    inner, = heap.find("__main__.Outer.Inner", {"a": "list"})
    assert ("property", "a", kept) in heap.edges[inner]
    # An id is the address: 15 bits of the MiB, unless another has them, and what is in it by 8 bytes.
    address = target.ask("id(HEAP_KNOWN)")
    assert heap.nodes[kept].id & 0x1ffff == address % (1 << 20) >> 3
    frames = [heap.nodes[number].name for number in range(heap.objects) if heap.nodes[number].name.startswith("(frame")]
    if live:  # the innermost, which reads the next question
        assert re.fullmatch(r"\(frame \w+, .*target\.py:\d+\)", frames[0]), frames
    assert frames and "(thread 1)" in [node.name for node in heap.nodes[:heap.objects]]


THREADS = """
import threading
STOP = threading.Event()
for _ in range(3): threading.Thread(target=STOP.wait).start()
"""


def test_threads(idle, tmp_path):
    """The frames of each thread are in a group of its own."""
    path = os.path.join(tmp_path, "heap")
    idle.do(THREADS)
    export(idle, path, "--format", "heapsnapshot")
    idle.do("STOP.set(); [one.join() for one in threading.enumerate() if one is not threading.current_thread()]")
    heap = Heapsnapshot(path)
    threads = [number for number in range(heap.objects) if heap.nodes[number].name.startswith("(thread ")]
    frames = [[heap.nodes[to].name.split(",")[0] for _, _, to in heap.edges[number] if to < heap.objects] for number in threads]
    waiting = [names for names in frames if any(name in ("(frame Thread.run", "(frame run") for name in names)]
    assert len(frames) == 4 and len(waiting) == 3 and waiting[0] == waiting[1] == waiting[2], frames


# ---------------------------------------------------------------- lines of JSON


def lines(path):
    """By kind."""
    found = collections.defaultdict(list)
    with open(path, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            found[row.pop("kind")].append(row)
    assert len(found["heap"]) == 1 and set(found) <= {"heap", "type", "object", "reference", "root"}
    return found


def check_lines(found, file):
    by_address = {row["address"]: number for number, row in enumerate(found["object"])}
    assert len(by_address) == len(file.nodes)
    names = {row["type"]: row["module"] for row in found["type"]}
    for row, node in zip(found["object"], file.nodes):
        immortal = row.get("immortal", False)
        assert (row["address"], row["type"], row["size"], immortal, row["tracked"], row.get("generation", 7)) == (
            node[0], file.types[node[1]], node[2], bool(node[4]), bool(node[5]), node[6])
        assert ("refcount" in row) is not immortal and row.get("refcount", node[3]) == node[3] and row["type"] in names
        assert row["retained"] >= row["size"]
    assert sum(row["retained"] for row in found["object"] if "dominator" not in row) == sum(node[2] for node in file.nodes)
    for row, edge in zip(found["reference"], file.edges):
        assert (by_address[row["from"]], by_address[row["to"]], KINDS.index(row["edge"]), row.get("counted", True), row.get("name", "")) == (
            edge[0], edge[1], edge[2], bool(edge[3]), edge[5])
        if row["edge"] == "value":
            assert by_address.get(row.get("key"), -1) + 1 == edge[4]
        elif "number" in row:
            assert row["number"] == edge[4]
    for row, root in zip(found["root"], file.roots):
        assert (ROOTS.index(row["root"]), by_address[row["to"]], row["holder"], row["number"], row.get("name", "")) == (
            root[0], root[1], root[3], root[4], root[5])


def test_jsonl(idle, tmp_path):
    idle.do(MAKE)
    paths = [os.path.join(tmp_path, name) for name in ("heap.sps", "file", "live")]
    snapshot(idle, paths[0])
    export(paths[0], paths[1], "--format", "jsonl")
    result = export(idle, paths[2], "--format", "jsonl")
    of_file, live = lines(paths[1]), lines(paths[2])
    check_lines(of_file, Snapshot(paths[0]))
    for found in (of_file, live):
        heap = found["heap"][0]
        assert heap["v"] == 1 and heap["pid"] == idle.pid and heap["python"].startswith(idle.python.number) and heap["values"] is False
        assert [heap[name] for name in ("objects", "references", "roots")] == [len(found[name]) for name in ("object", "reference", "root")]
        assert collections.Counter(row["type"] for row in found["object"])["__main__.Known"] == 1234
    assert [result[name] for name in ("objects", "edges", "roots")] == [len(live[name]) for name in ("object", "reference", "root")]


def test_core(some_python, tmp_path):
    """Of a core file it is the same as of the process."""
    if not GCORE:
        pytest.skip("no gcore on this machine")
    paths = [os.path.join(tmp_path, name) for name in ("heap", "lines")]
    with target_running(some_python, "idle") as target:
        target.do(MAKE + "HEAP_INNER[3].a = HEAP_KNOWN\n")
        core = gcore(target.until_blocked(), str(tmp_path))
        export(core, paths[0], "--format", "heapsnapshot")
        export(core, paths[1], "--format", "jsonl")
        heap = Heapsnapshot(paths[0])
        check_known(heap, target, True)
    found = lines(paths[1])
    assert found["heap"][0]["method"] == "core" and [row["size"] for row in found["object"]] == [node.size for node in heap.nodes[heap.objects:]]


# ---------------------------------------------------------------- who retains what


def both(target, directory):
    """One heap in both formats."""
    paths = [os.path.join(directory, name) for name in ("heap.sps", "heap.heapsnapshot", "heap.jsonl")]
    snapshot(target, paths[0])
    export(paths[0], paths[1], "--format", "heapsnapshot")
    export(paths[0], paths[2], "--format", "jsonl")
    return paths[1], Heapsnapshot(paths[1]), lines(paths[2])["object"]


SHAPES = """
class Holder: pass
SHAPE_CHAIN = Holder()
SHAPE_CHAIN.next = Holder()
SHAPE_CHAIN.next.next = Holder()
SHAPE_CHAIN.next.next.data = ["x%d" % i for i in range(2000)]
SHAPE_SHARED = (SHAPE_CHAIN.next.next, Holder())
SHAPE_SHARED[1].mine = [Holder() for _ in range(100)]
def shape():
    kept = []
    kept.append(kept)
    kept.append(bytes(5000))
gc.disable()
shape()
"""


def test_retained(idle, tmp_path):
    """By definition: what the root doesn't reach any more when the object isn't there."""
    idle.do(SHAPES)
    _, heap, objects = both(idle, tmp_path)
    total, sizes = heap.without(None), [row["retained"] for row in objects]
    largest = sorted(range(len(sizes)), key=lambda number: -sizes[number])[:8]
    for number in largest + random.Random(17).sample(range(len(sizes)), 8):
        assert total - heap.without(heap.objects + number) == sizes[number], heap.nodes[heap.objects + number]
    garbage = [to for _, _, to in heap.edges[1 + SINGLE.index("(unreachable)")] if heap.nodes[to].name == "list"]
    assert any(sizes[number - heap.objects] > 5000 for number in garbage)
    idle.do("gc.enable(); gc.collect()")


def modules(name, packages):
    """build/NAME/node_modules with these packages, made once; or the test is skipped with the reason."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("no npm on this machine")
    directory = os.path.join(pythons.TOP, "build", name)
    made = os.path.join(directory, "made-" + "-".join(packages).replace("/", "-"))
    if not os.path.exists(made):
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        done = subprocess.run(["npm", "install", "--prefix", directory, "--ignore-scripts", "--no-audit", "--no-fund", *packages],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=dict(os.environ, PUPPETEER_SKIP_DOWNLOAD="1"))
        if done.returncode:
            pytest.skip("npm install: " + (done.stdout.strip().splitlines() or ["it failed"])[-1])
        open(made, "w").close()
    return os.path.join(directory, "node_modules")


def test_memlab(some_python, tmp_path):
    """memlab opens it, and what it says every node retains is what we say."""
    installed = modules("memlab", ["@memlab/core@2.0.5"])
    with target_running(some_python, "idle") as target:
        target.do(MAKE + SHAPES)
        path, heap, objects = both(target, tmp_path)
        target.do("gc.enable(); gc.collect()")
    answer = os.path.join(tmp_path, "answer")
    subprocess.run(["node", os.path.join(EXPORT, "memlab.js"), installed, path, answer], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(answer) as file:
        theirs = [json.loads(line) for line in file]
    assert [(row[0], row[3], row[4]) for row in theirs] == [(node.id, node.type, node.name) for node in heap.nodes]
    assert theirs[0][2] == sum(node.size for node in heap.nodes)
    assert [row[2] for row in theirs[heap.objects:]] == [row["retained"] for row in objects]
    address = {node.id: row["address"] for node, row in zip(heap.nodes[heap.objects:], objects)}
    assert [address.get(row[1]) for row in theirs[heap.objects:]] == [row.get("dominator") for row in objects]


def test_devtools(some_python, tmp_path):
    """Chrome's own reader opens it, finds the same sizes, complains of nothing, and knows an object again in a later file."""
    installed = modules("devtools", ["chrome-devtools-frontend@1.0.1705227", "esbuild@0.25.12"])
    later, answer = os.path.join(tmp_path, "later"), os.path.join(tmp_path, "answer")
    with target_running(some_python, "idle") as target:
        target.do(MAKE + SHAPES)
        path, heap, objects = both(target, tmp_path)
        target.do("gc.enable()\nclass Fresh: pass\nHEAP_FRESH = [Fresh() for _ in range(50)]\ndel HEAP_TEXT[:5]")
        export(target, later, "--format", "heapsnapshot")
    subprocess.run(["node", os.path.join(EXPORT, "devtools.mjs"), installed, answer, path, later], check=True)
    with open(answer) as file:
        theirs = json.load(file)
    assert theirs["said"] == [] and theirs["total"] == sum(node.size for node in heap.nodes)
    assert [row[0] for row in theirs["nodes"]] == [node.id for node in heap.nodes]
    assert [row[1] for row in theirs["nodes"][heap.objects:]] == [row["retained"] for row in objects]
    assert max(row[2] for row in theirs["nodes"]) < 10000  # all are reached
    classes = {name: (count, size) for name, count, size in theirs["classes"]}
    known = [node for node in heap.nodes if node.name == "__main__.Known"]
    assert classes["__main__.Known"] == (1234, sum(node.size for node in known))
    diff = {name: (added, removed) for name, added, removed in theirs["diff"]}
    assert diff["__main__.Fresh"] == (50, 0) and diff["__main__.Text"] == (0, 5) and "__main__.Known" not in diff


# ---------------------------------------------------------------- what is told


def test_values(sample_python, tmp_path):
    """What strings and numbers are, and the keys of dicts, only when it is asked for; of a file that has them too."""
    with target_running(sample_python, "idle") as target:
        target.do(MAKE + SECRETS)
        full, plain = os.path.join(tmp_path, "full.sps"), os.path.join(tmp_path, "plain.sps")
        snapshot(target, full, "--values")
        snapshot(target, plain)
        answer = safepoint("export", plain, "--format", "jsonl", "--values", "-o", os.path.join(tmp_path, "x")).expect(2)
        assert "--values" in answer.errors
        for source in (target, full):
            for form in ("heapsnapshot", "jsonl"):
                check_values(source, os.path.join(tmp_path, "out"), form)


def check_values(source, path, form):
    assert export(source, path, "--format", form)["values"] == 0
    with open(path, "rb") as file:
        data = file.read()
    assert b"told" not in data and b"12345678901234" not in data and b"HEAP_SECRETS" in data and b"tags" not in data
    assert export(source, path, "--format", form, "--values")["values"] > 1000
    with open(path, "rb") as file:
        assert b"'a secret told'" in file.read()
    if form == "heapsnapshot":
        heap = Heapsnapshot(path)
        names = {(node.type, node.name) for node in heap.nodes}
        assert {("string", "a secret told"), ("number", "12345678901234"), ("number", "-17"), ("number", "2.5")} <= names
        assert ("string", "\u20ac \U0001f600 \n") in names and ("object", "bytes") in names
        assert heap.find("dict", {"'a secret told'": "1"})
    else:
        values = {row.get("value", row.get("value_hex")) for row in lines(path)["object"]}
        assert {"a secret told", "12345678901234", "-17", hex(10 ** 40 + 7), "2.5", "\u20ac \U0001f600 \n", b"bytes \x00\xff".hex()} <= values


# ---------------------------------------------------------------- pictures


def test_dot(sample_python, tmp_path):
    path = os.path.join(tmp_path, "heap.dot")
    with target_running(sample_python, "idle") as target:
        target.do(MAKE)
        kept = target.ask("id(HEAP_KNOWN)")
        one = safepoint("export", target.until_blocked(), "--format", "dot", "--of", hex(target.ask("id(HEAP_KNOWN[7])")), "--depth", "1", "-o", "-").expect(0)
        shown = re.findall(r'^    n(\d+) \[label="([^\\]+)\\n0x([0-9a-f]+)\\n[^"]*"(.*)\];$', one.text, re.M)
        numbers = {int(address, 16): number for number, _, address, _ in shown}
        assert kept in numbers and len([row for row in shown if "bold" in row[3]]) == 1
        own = numbers[target.ask("id(HEAP_KNOWN[7])")]
        assert "    n%s -> n%s [label=\"[7]\"];" % (numbers[kept], own) in one.text.splitlines()
        assert re.search(r'n%s -> n\d+ \[label="\.(value|__dict__)"' % own, one.text)
        assert len(shown) < 12
        many = export(target, path, "--format", "dot", "--of", "__main__.Known", "--depth", "9")
        assert 8 < many["objects"] <= 200
        assert "no " in safepoint("export", target.pid, "--format", "dot", "--of", "no.such.Type", "-o", path).expect(2).errors
        safepoint("export", target.pid, "--format", "dot", "-o", path).expect(2)
    if shutil.which("dot"):
        drawn = subprocess.run(["dot", "-Tplain", path], stdout=subprocess.PIPE, check=True).stdout.decode()
        assert sum(line.startswith("edge ") for line in drawn.splitlines()) == many["edges"] + many["roots"]


# ---------------------------------------------------------------- the file


def test_where_it_goes(some_python, tmp_path):
    with target_running(some_python, "idle") as target:
        check_where_it_goes(target, tmp_path)


def check_where_it_goes(target, tmp_path):
    path = os.path.join(tmp_path, "heap")
    assert "--format" in safepoint("export", target.pid, "-o", path).expect(2).errors
    assert "-o" in safepoint("export", target.pid, "--format", "jsonl").expect(2).errors
    for words in (["-o", "-", "--json"], ["-o", path, "--of", "dict"], ["-o", path, "--depth", "3"], ["-o", str(tmp_path)], ["-o", "/dev/null"],
                  ["-o", os.path.join(tmp_path, "none", "heap")]):
        safepoint("export", target.pid, "--format", "jsonl", *words).expect(2)
    safepoint("export", target.pid, "--format", "xml", "-o", path).expect(2)
    safepoint("heap", target.pid, "--format", "jsonl").expect(2)
    safepoint("export", 1 << 22, "--format", "jsonl", "-o", path).expect(3)
    assert os.listdir(tmp_path) == []
    target.until_blocked()
    answer = safepoint("export", target.pid, "--format", "heapsnapshot", "-o", "-").expect(0)
    with open(path, "wb") as file:
        file.write(answer.out)
    Heapsnapshot(path)
    with open("/dev/full", "wb") as full, Running(["export", target.pid, "--format", "heapsnapshot", "-o", "-"], stdout=full) as running:
        answer = running.finish()
        assert answer.status == 5 and "can't write" in answer.errors
    with open(path, "w") as file:
        file.write("stays")
    full = "ulimit -f 8; trap '' XFSZ; exec \"$@\""  # no file of more than 8 blocks
    answer = safepoint("export", target.pid, "--format", "jsonl", "-o", path, under=["sh", "-c", full, "sh"])
    assert answer.status == 5 and "can't write" in answer.errors
    assert os.listdir(tmp_path) == ["heap"] and open(path).read() == "stays"


def test_interrupted(some_python, tmp_path):
    """Whenever it is: no file, or the whole file."""
    path, statuses = os.path.join(tmp_path, "heap"), set()
    with target_running(some_python, "idle") as target:
        target.do("HEAP = [[str(number)] for number in range(200000)]")
        target.until_blocked()
        took = safepoint("export", target.pid, "--format", "heapsnapshot", "-o", path).expect(0).seconds
        os.unlink(path)
        for part in range(8):
            with Running(["export", target.pid, "--format", "heapsnapshot", "-o", path]) as running:
                time.sleep(took * part / 8)
                os.kill(running.pid, signal.SIGINT)
                status = running.popen.wait(PATIENCE)
            statuses.add(status)
            assert os.listdir(tmp_path) == (["heap"] if status == 0 else []), status
            if status == 0:
                Heapsnapshot(path)
                os.unlink(path)
            assert children(target.pid) == [] and target.tracer() == 0
    assert 130 in statuses and statuses <= {0, 130, -signal.SIGINT}
