// Package caddymodule holds the Caddy modules of upstream_auth: the app with
// the store and the providers, the handler that authenticates proxied requests,
// the transport that the handler puts around the reverse proxy's own, the ways by
// which credentials come in, and their Caddyfile grammar; and the administration
// API (admin*.go) with the command line on it (command*.go). It wires; what is
// decided is decided below it.
package caddymodule
