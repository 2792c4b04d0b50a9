# A login server and the API behind it, as many are that speak no OAuth 2.0, on Python's own
# server: login.py PORT PASSWORD. Each user has that password. Where a refresh token is used
# a second time, all of its user's end.
#
#   POST /form        user and password as a form: {"data": {"token", "ttl"}}
#   POST /json        {"user", "password"}: {"token", "refresh", "until"}
#   POST /refresh     {"refresh"}: the same
#   POST /cookie      user and password as a form: the cookie SESSION
#   GET  /challenge   by Basic: {"nonce"}
#   POST /answer      {"user", "nonce"}: the header X-Auth-Token
#   POST /expire      user as a form: that user's tokens are no good any more
#   GET  /count?user= how often what was asked for it
#   *    /api/…       200 with the user, of a Bearer token, the cookie or X-Auth-Token, or 401
import base64
import collections
import hmac
import json
import secrets
import sys
import threading
import time
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

lock = threading.Lock()
tokens, refresh, nonces, used = {}, {}, {}, {}  # and whose they are; used: refresh tokens
counts = collections.defaultdict(collections.Counter)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        url = urlsplit(self.path)
        if url.path.startswith("/api/"):
            return self.api()
        kind = self.headers.get_content_type()
        sent = json.loads(body) if kind == "application/json" else dict(parse_qsl(body.decode()))
        sent.update(parse_qsl(url.query))
        with lock:
            status, answer, header = getattr(self, self.command + url.path.replace("/", "_"))(sent)
        if url.path not in ("/count", "/expire"):
            time.sleep(0.3)  # others come meanwhile
        self.answer(status, json.dumps(answer).encode() if answer is not None else b"", header)

    do_POST = do_GET

    def answer(self, status, body, header=()):
        self.send_response(status)
        for name, value in header:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def api(self):
        cookie = SimpleCookie(self.headers["Cookie"]).get("SESSION")
        token = self.headers["X-Auth-Token"] or (self.headers["Authorization"] or "").removeprefix("Bearer ") or cookie and cookie.value
        with lock:
            user = tokens.get(token)
        self.answer(200 if user else 401, json.dumps({"user": user}).encode())

    def log_in(self, sent):
        good = hmac.compare_digest(sent.get("password", "").encode(), sys.argv[2].encode())
        counts[sent["user"]]["login" if good else "refused"] += 1
        return self.issue(tokens, sent["user"]) if good else None

    def issue(self, of, user):
        token = secrets.token_urlsafe(24)
        of[token] = user
        return token

    def end(self, of, user):
        for token in [t for t, u in of.items() if u == user]:
            del of[token]

    def POST_form(self, sent):
        token = self.log_in(sent)
        return (200, {"data": {"token": token, "ttl": "3600"}}, ()) if token else (401, {"message": "wrong " + str(sent)}, ())

    def POST_json(self, sent):
        token = self.log_in(sent)
        if not token:
            return 403, {"message": "wrong " + str(sent)}, ()
        return self.pair(token, sent["user"])

    def pair(self, token, user):
        return 200, {"token": token, "refresh": self.issue(refresh, user), "until": int(time.time() + 3600) * 1000}, ()

    def POST_refresh(self, sent):
        user = refresh.get(sent["refresh"])
        if not user:
            for_user = used.get(sent["refresh"])
            counts[for_user]["reused"] += 1
            self.end(refresh, for_user)
            return 401, {"message": "no " + sent["refresh"]}, ()
        del refresh[sent["refresh"]]
        used[sent["refresh"]] = user
        counts[user]["refresh"] += 1
        return self.pair(self.issue(tokens, user), user)

    def POST_cookie(self, sent):
        token = self.log_in(sent)
        return (200, None, [("Set-Cookie", "lang=en"), ("Set-Cookie", f"SESSION={token}; Path=/; HttpOnly")]) if token else (401, None, ())

    def GET_challenge(self, sent):
        user, _, password = base64.b64decode((self.headers["Authorization"] or "").removeprefix("Basic ")).decode().partition(":")
        if not hmac.compare_digest(password.encode(), sys.argv[2].encode()):
            counts[user]["refused"] += 1
            return 401, {"message": "wrong " + password}, ()
        return 200, {"nonce": self.issue(nonces, user)}, ()

    def POST_answer(self, sent):
        if nonces.pop(sent["nonce"], None) != sent["user"]:
            return 401, None, ()
        counts[sent["user"]]["login"] += 1
        return 204, None, [("X-Auth-Token", self.issue(tokens, sent["user"]))]

    def POST_expire(self, sent):
        self.end(tokens, sent["user"])
        return 200, None, ()

    def GET_count(self, sent):
        return 200, counts[sent["user"]], ()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer.request_queue_size = 2048
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
