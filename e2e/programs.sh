#!/bin/sh
# Makes sure that there are the programs that the end-to-end tests start and that Go
# does not build: Node.js with npm, and Chromium. What is missing is installed with
# apt-get, where there is one.
set -eu

# The SDK needs it, and Debian 12 has it.
oldest_node=18

has_node() {
	command -v node >/dev/null && command -v npm >/dev/null &&
		[ "$(node --version | sed 's/^v\([0-9]*\).*/\1/')" -ge "$oldest_node" ]
}

has_chromium() {
	command -v "${CHROMIUM_BIN:-chromium}" >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null
}

missing=
has_node || missing="nodejs npm"
has_chromium || missing="$missing chromium"
if [ -n "$missing" ] && command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
	echo "==> installing $missing with apt-get (takes some minutes)"
	apt-get -q update || echo "    apt-get update failed; trying with the lists that are there"
	# shellcheck disable=SC2086 # these are several words
	DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $missing
fi

if ! has_node; then
	echo "The end-to-end tests need Node.js $oldest_node or newer, and npm, in PATH. Debian's packages: nodejs npm" >&2
	exit 1
fi
if ! has_chromium; then
	echo "The end-to-end tests need Chromium in PATH, or its path in CHROMIUM_BIN. Debian's package: chromium" >&2
	exit 1
fi
