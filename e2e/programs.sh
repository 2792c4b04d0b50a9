#!/bin/sh
# Makes sure that there are the programs that the end-to-end tests start and that Go
# does not build: Node.js with npm, Chromium, and other people's clients, caches and
# servers. What is missing is installed with apt-get, where there is one.
set -eu
PATH="$PATH:/usr/sbin"

# The SDK needs it, and Debian 12 has it.
oldest_node=18

has_node() {
	command -v node >/dev/null && command -v npm >/dev/null &&
		[ "$(node --version | sed 's/^v\([0-9]*\).*/\1/')" -ge "$oldest_node" ]
}

has_chromium() {
	command -v "${CHROMIUM_BIN:-chromium}" >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null
}

# The packages, by Debian's names, of what is not there.
missing() {
	has_node || echo nodejs npm
	has_chromium || echo chromium
	command -v curl >/dev/null || echo curl
	command -v wget >/dev/null || echo wget
	command -v python3 >/dev/null || echo python3
	command -v gunicorn >/dev/null || echo gunicorn
	command -v javac >/dev/null || echo default-jdk-headless
	command -v apache2 >/dev/null || echo apache2-bin
	command -v nginx >/dev/null || echo nginx-light
}

packages=$(missing)
if [ -n "$packages" ] && command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
	echo "==> installing" $packages "with apt-get (takes some minutes)"
	apt-get -q update || echo "    apt-get update failed; trying with the lists that are there"
	# shellcheck disable=SC2086 # these are several words
	DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $packages
	packages=$(missing)
fi
if [ -n "$packages" ]; then
	echo "The end-to-end tests need programs that are not in PATH. Debian's packages:" $packages >&2
	echo "(Node.js has to be $oldest_node or newer; CHROMIUM_BIN may name a Chromium.)" >&2
	exit 1
fi
