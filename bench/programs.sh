#!/usr/bin/env bash
# Sees to the programs that the benchmarks run besides those of this repository:
# wrk and h2load make the load, nginx is one of the proxies, taskset shares out the
# processors. What is missing is installed by apt where this user may.
set -euo pipefail

packages=()
command -v wrk >/dev/null || packages+=(wrk)
command -v h2load >/dev/null || packages+=(nghttp2-client)
PATH="$PATH:/usr/sbin" command -v nginx >/dev/null || packages+=(nginx-light)
command -v taskset >/dev/null || packages+=(util-linux)
if [ ${#packages[@]} -eq 0 ]; then
	exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
	echo "missing: ${packages[*]} (names of Debian's packages)" >&2
	exit 1
fi
echo "    installing ${packages[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" >/dev/null
