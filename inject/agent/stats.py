# SPDX-License-Identifier: GPL-3.0-or-later
#
# The script of `safepoint stats`: what the collector tracks, counted by type.
# Comments are cut off at build. Python 3.8 to 3.15. cli/stats.c reads the lines:
#   n NAME NUMBER
#   g GENERATION THRESHOLD COUNT COLLECTIONS COLLECTED UNCOLLECTABLE     (-1: not in this version)
#   t COUNT BYTES REFS IMMORTAL UNSIZED BUCKETS TYPE
# REFS and BUCKETS leave immortals out. BUCKETS is b:n,... or "-": n objects with refcounts
# from 2 ** (b - 1) + 1 to 2 ** b.
#
# Rules: no lock, no class, no import by importlib (its hooks are the target's), nothing of the
# target's run: of an object only its type, size and refcount are looked at; of a type,
# what type's own descriptors give. A __sizeof__ that isn't C is not called: the next
# one along the type's bases that is, is.

# Names that hold what the target has too are global: what our namespace refers to is known, and taken off.
def stats():
    global sys, gc, getsizeof, getrefcount
    sys = __import__("sys")
    getsizeof, getrefcount = sys.getsizeof, sys.getrefcount
    blocks, had_gc = sys.getallocatedblocks(), "gc" in sys.modules
    if had_gc:
        gc = sys.modules["gc"]
    else:
        imp, spec = sys.modules["_imp"], type(sys)("gc")
        spec.name = "gc"
        gc = imp.create_builtin(spec)
        imp.exec_builtin(gc)
    try:
        counts, thresholds = gc.get_count(), gc.get_threshold()
        # In this order: a collection in between takes off what isn't in the second then.
        young = gc.get_objects(generation=0)
        objects = gc.get_objects()
        own = find_own(objects, young, [counts, thresholds])
        lines = count(objects, own)
        objects = own = None
        numbers = [("allocated_blocks", blocks), ("enabled", gc.isenabled()), ("debug", gc.get_debug()),
                   ("garbage", len(gc.garbage)), ("frozen", gc.get_freeze_count()), ("modules", len(sys.modules) - (not had_gc and "gc" in sys.modules)),
                   ("threads", sys.modules["_thread"]._count() + 1)]
        if hasattr(sys, "getunicodeinternedsize"):
            numbers.append(("interned", sys.getunicodeinternedsize()))
        if hasattr(sys, "gettotalrefcount"):
            numbers.append(("total_refcount", sys.gettotalrefcount()))
        for name, number in numbers:
            lines.append("n %s %d" % (name, number))
        for index, one in enumerate(gc.get_stats()):
            lines.append("g %d %d %d %d %d %d" % (
                index, thresholds[index] if index < len(thresholds) else -1, counts[index] if index < len(counts) else -1,
                one["collections"], one["collected"], one["uncollectable"]))
    finally:
        # 3.8, 3.9: the one module, put into sys.modules. Later: a module of our own, which its functions hold.
        if not had_gc and sys.hexversion >= 0x30a0000:
            gc.__dict__.clear()
        elif not had_gc and sys.modules.get("gc") is gc:
            del sys.modules["gc"]
    lines.append("end\n")
    sys.stdout.write("\n".join(lines))
    sys.stdout.flush()

# The agent's objects and ours, `mine` too: {id: None}; those that they hold: {id: how often}.
def find_own(objects, young, mine):
    own, names, codes = {}, [globals()], []
    frame, function, module = sys._getframe(), type(find_own), type(sys)
    while frame is not None and (frame.f_globals is names[0] or "REQUEST" in frame.f_globals and "agent" in frame.f_globals):
        own[id(frame)] = None
        codes.append(frame.f_code)
        if frame.f_globals is not names[-1]:
            names.append(frame.f_globals)
        frame = frame.f_back
    frame = None
    mine += names
    if type(sys.argv) is list:
        mine.append(sys.argv)
    for stream in sys.stdout, sys.stderr:
        if type(stream) is module:
            mine += [stream, stream.__dict__, stream.buffer, stream.buffer.__dict__]
    stream = None
    request = names[-1].get("REQUEST")
    for one in objects:
        kind = type(one)
        if kind is function:
            if one.__globals__ is names[0] or one.__globals__ is names[-1]:
                mine.append(one)
                codes.append(one.__code__)
                if one.__closure__ is not None:
                    mine.append(one.__closure__)
                    mine += one.__closure__
        # Up to 3.11 the compiler keeps a list of the constants of what runs.
        elif kind is list and len(one) > 100 and type(one[0]) in (str, bytes) and one[0] in ("CHANNEL", b"CHANNEL"):
            mine += [one for item in one if item is request][:1]
    one = None
    for cell in mine[:]:
        if type(cell).__name__ == "cell":
            mine += [held for held in gc.get_referents(cell) if type(held) in (list, dict, tuple)]
    cell = None
    mine += [held for table in names for held in table.values() if type(held) is tuple]
    mine += find_tuples(codes, young)
    del young[:]
    mine.append(young)
    whole = {}
    for one in mine:
        whole[id(one)] = one
    for one in whole:
        own[one] = None
    for one in gc.get_referents(*whole.values()):
        if own.get(id(one), 0) is not None:
            own[id(one)] = own.get(id(one), 0) + 1
    # The call that runs us, and the map() over all.
    for one in exec, getrefcount:
        own[id(one)] = own.get(id(one), 0) + 1
    return own

# The tuples (and slices) of code, of the code inside of it, and inside of tuples.
def find_tuples(codes, young):
    found, wanted, seen = [], {}, set()
    kinds = type(()), type(slice(0))
    for code in codes:
        if id(code) in seen:
            continue
        seen.add(id(code))
        mine = [code.co_consts, code.co_names]
        if sys.hexversion < 0x30b0000:
            mine += [code.co_varnames, code.co_freevars, code.co_cellvars]
        else: # one tuple of all, which isn't shown
            cells = tuple(name for name in code.co_cellvars if name not in code.co_varnames)
            wanted.setdefault(code.co_varnames + cells + code.co_freevars, set()).add(code.co_filename)
        for one in mine:
            found.append(one)
            mine += [inner for inner in one if type(inner) is kinds[0]] if type(one) is kinds[0] else []
            if one is code.co_consts:
                codes += [inner for inner in one if type(inner) is type(code)]
                found += [inner for inner in one if type(inner) is kinds[1]]
    for one in found:
        # Where it is equal to another of them it is the same object.
        if type(one) is kinds[0] and has_names(one):
            wanted.pop(one, None)
    # Those of names that a collection came by aren't tracked any more.
    for one in young if wanted else ():
        if type(one) is kinds[0] and has_names(one) and wanted.get(one):
            wanted[one].pop()
            found.append(one)
    return found

def has_names(one):
    for name in one:
        if type(name) is not str:
            return False
    return len(one) > 0

# A type's name, without asking its metaclass.
def name_type(kind):
    name, module = type.__dict__["__qualname__"].__get__(kind), "?"
    try:
        module = type.__dict__["__module__"].__get__(kind)
    except AttributeError:
        pass
    name, module = str.__str__(name), module if type(module) is str else "?"
    name = name if module == "builtins" else module + "." + name
    return name.replace("\n", "\\n").replace("\0", "\\0")[:1000]

# None where sys.getsizeof() may be called on a type's objects; else the __sizeof__ to
# call, and the size of what is before the object.
def find_sizer(kind, head):
    overridden = False
    for base in type.__dict__["__mro__"].__get__(kind):
        names = type.__dict__["__dict__"].__get__(base)
        if "__sizeof__" in names:
            if type(names["__sizeof__"]) is type(list.__sizeof__):
                break
            overridden = True
    if not overridden:
        return None
    # A managed dictionary or weak reference: two words before the collector's (3.12 and later).
    managed = sys.hexversion >= 0x30c0000 and type.__dict__["__flags__"].__get__(kind) & 24
    return names["__sizeof__"], head + (16 if managed else 0)

def size_one(one, sizer):
    try:
        return sizer[0](one) + sizer[1] if sizer else getsizeof(one)
    except Exception:
        return None

def count(objects, own):
    # What looking adds to a refcount: the list of all, a piece of it, the call. Measured, it differs by version.
    probe = [[]]
    piece = probe[0:1]
    added = list(map(getrefcount, piece))[0]
    head = getsizeof(piece) - list.__sizeof__(piece)
    immortal = 1 << 30 if sys.hexversion >= 0x30c0000 else 1 << 62
    known, names, odd, has_own = {}, [], {}, own.keys().isdisjoint
    sums, sizes, immortals, unsized, histogram = [], [], [], [], {}
    for start in range(0, len(objects), 4096):
        piece = objects[start:start + 4096]
        refs, ids = list(map(getrefcount, piece)), list(map(id, piece))
        if not has_own(ids):
            for at in range(len(ids) - 1, -1, -1):
                held = own.get(ids[at], 0)
                if held is None:
                    del piece[at], refs[at]
                else:
                    refs[at] -= held
        kinds = list(map(id, map(type, piece)))
        for kind in set(kinds).difference(known):
            one = type(piece[kinds.index(kind)])
            known[kind] = len(names)
            names.append(name_type(one))
            sizer = find_sizer(one, head)
            if sizer:
                odd[kind] = sizer
            sums.append(0)
            sizes.append(0)
            immortals.append(0)
            unsized.append(0)
        one = None
        try:
            if not odd.keys().isdisjoint(kinds):
                raise TypeError
            bytes_of = list(map(getsizeof, piece))
        except Exception:
            bytes_of = [size_one(piece[at], odd.get(kinds[at])) for at in range(len(piece))]
            for at, size in enumerate(bytes_of):
                if size is None:
                    unsized[known[kinds[at]]] += 1
                    bytes_of[at] = 0
        for index, size, ref in zip(map(known.__getitem__, kinds), bytes_of, refs):
            sizes[index] += size
            ref -= added
            if ref < immortal:
                sums[index] += ref
                index = index << 7 | (ref - 1).bit_length() if ref > 1 else index << 7
                histogram[index] = histogram.get(index, 0) + 1
            else:
                immortals[index] += 1
    del objects, piece, probe
    counts, buckets = immortals[:], [[] for index in names]
    for index in sorted(histogram):
        counts[index >> 7] += histogram[index]
        buckets[index >> 7].append("%d:%d" % (index & 127, histogram[index]))
    return ["t %d %d %d %d %d %s %s" % (counts[index], sizes[index], sums[index], immortals[index], unsized[index],
                                        ",".join(buckets[index]) or "-", names[index]) for index in range(len(names)) if counts[index]]

try:
    stats()
finally:
    globals().clear()
