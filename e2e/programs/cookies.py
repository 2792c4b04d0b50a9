# Asks for a URL in the name of each tenant in turn, with one cookie jar, and prints the
# answers: python3 cookies.py URL TENANT...
import sys
import urllib.request

url, *tenants = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(), urllib.request.ProxyHandler({}))
for tenant in tenants:
    with opener.open(urllib.request.Request(url, headers={"X-Tenant-ID": tenant})) as response:
        print(response.read().decode())
