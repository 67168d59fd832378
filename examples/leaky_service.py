# SPDX-License-Identifier: GPL-3.0-or-later
"""A small service with a leak: it prices baskets over HTTP, and never forgets a session.

usage: leaky_service.py [PORT_FILE]

Every request makes a Session and files it in SESSIONS under a token that is new each time, so nothing is ever found
there again: the cache only grows. A worker thread is a customer of its own shop, so there is always something going on.
The port is the kernel's choice, printed and written to PORT_FILE. It ends by itself after LIFE seconds.
"""
import http.server
import itertools
import json
import os
import sys
import threading
import time
import urllib.request

LIFE = float(os.environ.get("LIFE", "120"))
SESSIONS = {}  # token -> Session: the leak
TOKENS = itertools.count(1)


class Basket:
    def __init__(self, items):
        self.items = items

    def total(self):
        return sum(price * count for price, count in self.items)


class Session:
    def __init__(self, token, basket):
        self.token = token
        self.basket = basket
        self.began = time.time()


class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        token = "session-%08d" % next(TOKENS)
        basket = Basket([(199 + number, 1 + number % 3) for number in range(5)])
        SESSIONS[token] = Session(token, basket)
        body = json.dumps({"token": token, "total": basket.total()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def customer(url, gone):
    while not gone.is_set():
        with urllib.request.urlopen(url, timeout=10) as answer:
            answer.read()
        gone.wait(0.002)


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    server.daemon_threads = True
    port = server.server_address[1]
    gone = threading.Event()
    threading.Thread(target=customer, args=("http://127.0.0.1:%d/" % port, gone), name="customer", daemon=True).start()
    timer = threading.Timer(LIFE, server.shutdown)
    timer.daemon = True
    timer.start()
    if len(sys.argv) > 1:
        with open(sys.argv[1] + ".new", "w") as file:
            file.write("%d\n" % port)
        os.rename(sys.argv[1] + ".new", sys.argv[1])
    print("leaky_service: PID %d, port %d, for %g s" % (os.getpid(), port, LIFE), flush=True)
    server.serve_forever(poll_interval=0.2)
    gone.set()


if __name__ == "__main__":
    main()
