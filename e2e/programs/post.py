# Posts a file with Python's own client, which knows of a proxy by its environment, and prints
# the answer and, in a line of its own, its status: post.py URL FILE [NAME VALUE]...

import sys
import urllib.error
import urllib.request

url, file, *header = sys.argv[1:]
with open(file, "rb") as body:
    request = urllib.request.Request(url, data=body.read(), headers=dict(zip(header[::2], header[1::2])), method="POST")
try:
    response = urllib.request.urlopen(request)
except urllib.error.HTTPError as refused:
    response = refused
sys.stdout.write(response.read().decode("latin-1") + "\n" + str(response.status))
