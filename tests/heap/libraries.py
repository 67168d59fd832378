# SPDX-License-Identifier: GPL-3.0-or-later
"""A heap of real libraries: whatever of them can be imported, and records of many kinds. Then the oracle speaks.

usage: python libraries.py ORACLE-DIRECTORY OUTPUT SITE COUNT
"""
import sys

sys.path.insert(0, sys.argv[1])
sys.path.append(sys.argv[3])
import argparse, collections, datetime, decimal, email, gc, http.client, importlib, json, logging, random, uuid  # noqa: E401
import unittest, urllib.request, xml.dom.minidom, xml.etree.ElementTree  # noqa: E401

gc.disable()
kept, loaded = [], []
for name in ("numpy", "django", "django.db.models", "django.template", "django.forms", "jinja2", "sqlalchemy", "sqlalchemy.orm",
             "yaml", "asyncio", "concurrent.futures", "multiprocessing", "ctypes", "dataclasses", "tkinter", "pydoc", "doctest"):
    try:
        importlib.import_module(name)
        loaded.append(name)
    except Exception as error:
        print("no", name, repr(error)[:200], file=sys.stderr)


class Order:
    def __init__(self, number):
        self.number = number
        self.lines = [(number, "item %d" % i, i * 1.5) for i in range(3)]
        self.tags = {"new", "tag%d" % (number % 100)}
        self.meta = {"when": datetime.date.fromordinal(700000 + number % 3000), "price": decimal.Decimal(number) / 7}


class Node:
    __slots__ = ("left", "right", "value")

    def __init__(self, value):
        self.left = self.right = None
        self.value = value


def tree(depth):
    node = Node(depth)
    if depth:
        node.left, node.right = tree(depth - 1), tree(depth - 1)
    return node


count = int(sys.argv[4])
kept.append([Order(i) for i in range(count // 20)])
kept.append(tree(max(1, (count // 10).bit_length() - 1)))
kept.append(json.loads(json.dumps([{"id": i, "name": "n%d" % i, "values": [i, i + 0.5, None]} for i in range(count // 40)])))
kept.append(collections.deque(bytes(i % 300) for i in range(count // 20)))
kept.append({uuid.UUID(int=i): frozenset([i, str(i)]) for i in range(count // 200)})
if "numpy" in loaded:
    import numpy

    kept.append([numpy.arange(i % 50) for i in range(count // 100)])
    kept.append([numpy.zeros((3, 4))[1:], numpy.array([[1], {}], dtype=object), numpy.float64(1.5), numpy.dtype([("a", "i4")])])
if "jinja2" in loaded:
    import jinja2

    kept.append(jinja2.Environment().from_string("{% for a in b %}{{ a.c }}{% endfor %}"))
if "sqlalchemy" in loaded:
    import sqlalchemy

    metadata = sqlalchemy.MetaData()
    kept.append([sqlalchemy.Table("t%d" % i, metadata, sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True)) for i in range(20)])
if "django" in loaded:
    import django.conf

    django.conf.settings.configure(INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"])
    try:
        django.setup()
        from django.contrib.auth.models import User

        kept.append([User(username="u%d" % i) for i in range(200)])
    except Exception as error:
        print("no django models", repr(error)[:200], file=sys.stderr)
random.seed(1)
holes = [object() for _unused in range(count // 10)]
for i in random.sample(range(len(holes)), len(holes) // 2):
    holes[i] = None
import oracle  # noqa: E402

oracle.dump(sys.argv[2])
suspects, live, dead = oracle.judge(sys.argv[2] + ".suspects")
verdict = json.dumps({"suspects": suspects, "live": live, "dead": dead, "loaded": loaded})
with open(sys.argv[2] + ".verdict", "w") as file:
    file.write(verdict)
