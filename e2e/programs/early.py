# Refuses the first attempt at a request without reading its body, as servers do that look
# at the token first, and answers the second one with the body's SHA-256. Under gunicorn
# it is an application (early:application), by itself Python's own server: early.py PORT
import hashlib
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def answer(request_id, body, length):
    try:  # the processes of a server have the directory in common
        os.close(os.open(os.path.join(os.environ["SEEN"], request_id), os.O_CREAT | os.O_EXCL))
        return 401, b""
    except FileExistsError:
        digest = hashlib.sha256()
        while length > 0 and (part := body.read(min(length, 1 << 16))):
            digest.update(part)
            length -= len(part)
        return 200, digest.hexdigest().encode()


def application(environ, start_response):
    status, text = answer(environ["HTTP_X_REQUEST_ID"], environ["wsgi.input"], int(environ["CONTENT_LENGTH"]))
    start_response(f"{status} .", [("Content-Length", str(len(text)))])
    return [text]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        status, text = answer(self.headers["X-Request-Id"], self.rfile, int(self.headers["Content-Length"]))
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
