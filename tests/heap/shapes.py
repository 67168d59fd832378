# SPDX-License-Identifier: GPL-3.0-or-later
"""A heap of odd shapes: one of everything that a reader has to get right. Then the oracle speaks.

usage: python shapes.py ORACLE-DIRECTORY OUTPUT [MODULE...]
"""
import sys

sys.path.insert(0, sys.argv[1])
import array, ast, asyncio, collections, contextvars, csv, datetime, decimal, enum, functools, gc, io, itertools, json  # noqa: E401
import operator, re, socket, sqlite3, string, struct, threading, types, typing, uuid, weakref  # noqa: E401
import xml.etree.ElementTree as ElementTree

gc.disable()
kept = []


def keep(value):
    kept.append(value)
    return value


class Plain:
    def __init__(self, a=1, b="two"):
        self.a, self.b = a, b


class Slotted:
    __slots__ = ("x", "y", "__weakref__")

    def __init__(self, x, y):
        self.x, self.y = x, y


class SlottedAndDict(Slotted):
    __slots__ = ("z", "__dict__")


class Empty:
    __slots__ = ()


class IntLike(int):
    pass


class StrLike(str):
    pass


class TupleLike(tuple):
    pass


class BytesLike(bytes):
    pass


class FloatLike(float):
    pass


class ListLike(list):
    __slots__ = ("extra",)


class DictLike(dict):
    pass


class SetLike(set):
    pass


class Meta(type):
    def __new__(mcs, name, bases, namespace):
        return super().__new__(mcs, name, bases, namespace)


class WithMeta(metaclass=Meta):
    attribute = "of the class"


class Property:
    @property
    def value(self):
        "A property."
        return self

    @staticmethod
    def static(a=()):
        return a

    @classmethod
    def klass(cls, *, b=None):
        return b

    @functools.lru_cache(maxsize=16)
    def cached(self):
        return object()


class Color(enum.Enum):
    RED = 1
    GREEN = "g"


Point = collections.namedtuple("Point", "x y")


class list_(list):
    pass


list_.__name__ = "list"


def closure(*args, **kwargs):
    cell, empty = [args], None

    def inner(default=cell, *, keyword=kwargs):
        return cell, empty, default, keyword

    if cell is None:
        empty = 1
    return inner


def generator(a, b):
    local = [a, b]
    for value in (1, 2, 3):
        received = yield local, value
        del received


async def coroutine(a):
    local = {a: a}
    await asyncio.sleep(0)
    return local


async def async_generator(a):
    yield a


def recursion(depth, local):
    if depth:
        return recursion(depth - 1, [local])
    return sys._getframe()


def raises():
    local = object()
    try:
        try:
            raise KeyError("first", local)
        except KeyError as error:
            raise ValueError("second") from error
    except ValueError as error:
        return error


@functools.lru_cache(maxsize=None)
def cached(n):
    return [n] * 3


@functools.singledispatch
def single(value):
    return value


@single.register(int)
def _(value):
    return value + 1


def numbers():
    keep([0, 1, -1, 255, 257, 2**30, -(2**30), 2**31, 2**63, 2**64, 10**100, True, False, 1.5, float("nan"), 2j])
    keep([IntLike(0), IntLike(5), IntLike(2**100), FloatLike(2.5), decimal.Decimal("1.5"), decimal.Decimal(10) ** 60])
    big = IntLike(7)
    big.attribute = ["on an int"]
    keep(big)


def strings():
    keep(["", "a", "ascii" * 50, "\xe9t\xe9", "\u20ac" * 30, "\U0001f600" * 20, b"", b"bytes", bytearray(b"x" * 1000), bytearray()])
    keep([StrLike("sub"), StrLike("\u20acsub"), BytesLike(b"sub"), "x" * 5000, b"y" * 5000, memoryview(b"abc"), "\xe9" * 600])
    text = StrLike("with attributes")
    text.attribute = {1}
    keep(text)
    keep("\xe4" * 10).encode()
    keep("%s" % "\u1234" * 7).encode("utf-8")


def containers():
    keep([[], [1], list(range(1000)), (), (1,), tuple(range(500)), ListLike([1, 2]), TupleLike((1, [2])), list_([3])])
    named = TupleLike((3, 4))
    named.attribute = "on a tuple"
    keep(named)
    keep([{}, {"a": 1}, {1: 2, "b": 3}, {i: str(i) for i in range(2000)}, {str(i): i for i in range(300)}, DictLike(a=1)])
    holes = {i: [i] for i in range(100)}
    for i in range(0, 100, 3):
        del holes[i]
    keep(holes)
    keep([set(), {1, 2}, frozenset(), frozenset("abc"), set(range(1000)), SetLike([1]), frozenset([(1, 2), (3,)])])
    dummies = set(range(50))
    for i in range(25):
        dummies.discard(i)
    keep(dummies)
    keep([{}.keys(), {1: 2}.values(), {3: 4}.items(), iter({5: 6}), iter({7: 8}.values()), iter({9: 9}.items())])
    keep([iter([1]), iter((2,)), iter({3}), iter("text"), iter(range(3)), reversed([4]), iter(lambda: 1, 2), iter(b"abc")])


def collections_():
    deque = collections.deque(range(200), maxlen=180)
    for _unused in range(20):
        deque.popleft()
    keep([deque, collections.deque(), collections.deque([[1]]), iter(deque), collections.deque(range(1000))])
    ordered = collections.OrderedDict((str(i), [i]) for i in range(50))
    del ordered["3"]
    ordered.move_to_end("5")
    ordered.attribute = "on an OrderedDict"
    keep([ordered, collections.OrderedDict(), iter(ordered), ordered.items()])
    default = collections.defaultdict(list)
    default["a"].append(1)
    keep([default, collections.Counter("abracadabra"), collections.ChainMap({}, {"a": 1}), collections.UserDict(a=1)])
    keep([Point(1, [2]), types.SimpleNamespace(a=1, b=[2]), types.MappingProxyType({"m": 1})])


def iterators():
    keep([itertools.chain([1], [2]), itertools.cycle([1, 2]), itertools.repeat([3]), itertools.count(10**20), itertools.islice([1], 5)])
    keep([itertools.product("ab", [1, 2]), itertools.permutations([1, 2, 3]), itertools.combinations([1, 2, 3], 2)])
    keep([itertools.starmap(pow, [(2, 3)]), itertools.takewhile(bool, [1]), itertools.accumulate([1, 2]), itertools.zip_longest([1], [2])])
    tee = itertools.tee(iter(range(100)), 2)
    next(tee[0])
    keep(tee)
    grouped = itertools.groupby("aabb")
    keep(next(grouped))
    keep([grouped, enumerate([1]), enumerate([1], 2**70), zip([1], [2]), map(str, [1]), filter(None, [1]), range(5), range(2**70)])
    keep([slice(1, [2]), functools.partial(pow, 2, mod=5), functools.partialmethod(pow, 1), operator.itemgetter(1, 2)])
    keep([operator.attrgetter("a.b"), operator.methodcaller("m", 1, k=2), functools.cmp_to_key(lambda a, b: 0)(1), Ellipsis, NotImplemented])


def callables():
    keep([closure(1, a=2), closure(), (lambda x=[1]: x), len, [].append, "".join, Plain().__init__, Property.klass, str.upper])
    keep([Property().value, Property.__dict__["value"], Property.__dict__["static"], dict.__dict__["fromkeys"], (1).__add__, int.__add__])
    single(1)
    for i in range(40):
        cached(i)
    prop = keep(Property())
    prop.cached()
    keep(types.MethodType(print, 1))
    keep([super(SlottedAndDict, SlottedAndDict(1, 2)), classmethod(len), staticmethod([].append), property(len, None, None, "doc")])


def instances():
    keep([Plain() for _unused in range(40)])
    for i in range(10):
        odd = keep(Plain())
        setattr(odd, "late%d" % i, [i])
    many = keep(Plain())
    for i in range(100):
        setattr(many, "attribute_%d" % i, i)
    dicted = keep(Plain())
    keep(dicted.__dict__)
    removed = keep(Plain())
    del removed.a
    replaced = keep(Plain())
    replaced.__dict__ = {"new": [1]}
    keep([Slotted(1, [2]), SlottedAndDict(3, [4]), Empty(), WithMeta(), Color.RED, Color, Meta, WithMeta])
    both = keep(SlottedAndDict(5, 6))
    both.z, both.in_dict = {}, []
    keep(object())
    referred = keep(Slotted(7, 8))
    keep([weakref.ref(referred), weakref.ref(referred, lambda _unused: None), weakref.proxy(referred), weakref.WeakValueDictionary({1: referred})])
    keep([weakref.WeakSet([referred]), weakref.WeakKeyDictionary({referred: [1]}), weakref.WeakMethod(many.__init__)])
    freed = [Plain() for _unused in range(50)]
    del freed[::2]
    keep(freed)
    keep(Plain(a=[Plain(b=weakref.ref(many))]))


def frames():
    started = keep(generator(1, [2]))
    next(started)
    keep([generator(3, 4), recursion(5, []), raises(), sys._getframe()])
    finished = keep(generator(1, 2))
    list(finished)
    waiting = keep(coroutine(1))
    waiting.send(None)
    keep(async_generator([1]))
    keep((x for x in [started]))
    sys.last_error = raises()


def modules():
    module = keep(types.ModuleType("made", "doc"))
    module.attribute = [1]
    keep(compile("def f(a, b=1, *, c):\n  return [x + a for x in b]\n", "<compiled>", "exec"))
    keep(ast.parse("a = [b for c in d if e]"))
    keep(re.compile(r"(?P<name>a+)(b|c)*").match("aaab"))
    keep([json.JSONDecoder(), json.JSONEncoder(), string.Template("$a"), struct.Struct("<IQ"), uuid.uuid4(), csv.reader(["a,b"])])
    keep([datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(1), datetime.date(2020, 1, 2), datetime.time(1)])
    keep([io.BytesIO(b"abc" * 100), io.StringIO("text" * 10), array.array("d", [1.0] * 50), array.array("b"), io.TextIOWrapper(io.BytesIO())])
    keep([contextvars.ContextVar("variable", default=[1]), contextvars.copy_context(), typing.List[int], typing.Optional[Plain]])
    connection = keep(sqlite3.connect(":memory:"))
    connection.execute("create table t (a)")
    keep(connection.execute("select 1"))
    keep([socket.socketpair(), threading.local(), threading.Lock(), threading.RLock(), threading.Event(), memoryview(bytearray(9))])
    root = keep(ElementTree.fromstring("<a x='1'><b>text</b><c/></a>"))
    keep(root.find("b"))
    local = threading.local()
    local.value = [1]
    keep(local)
    if sys.version_info >= (3, 9):
        keep([list[int], dict[str, list[int]]])
    if sys.version_info >= (3, 10):
        keep(int | str)


def cycles():
    a, b = Plain(), Plain()
    a.other, b.other = b, a
    own = []
    own.append(own)


for make in (numbers, strings, containers, collections_, iterators, callables, instances, frames, modules, cycles):
    make()
for name in sys.argv[3:]:
    try:
        __import__(name)
    except ImportError as error:
        print("no", error, file=sys.stderr)


def idle(begun, event):
    local = ["of a waiting thread"]
    begun.set()
    event.wait()
    return local


begun, wait = threading.Event(), threading.Event()
thread = threading.Thread(target=idle, args=(begun, wait), daemon=True)
thread.start()
begun.wait()
import oracle  # noqa: E402

oracle.dump(sys.argv[2])
suspects, live, dead = oracle.judge(sys.argv[2] + ".suspects")
verdict = json.dumps({"suspects": suspects, "live": live, "dead": dead})
with open(sys.argv[2] + ".verdict", "w") as file:
    file.write(verdict)
wait.set()
