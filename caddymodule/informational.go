package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/internal/proxy"
)

// served is an exchange with where its answer goes, in one piece of memory.
type served struct {
	proxy.Exchange
	answer answerWriter
}

// answerWriter guards answers of 1xx (RFC 9110 section 15.2), which the reverse proxy passes
// on by itself.
type answerWriter struct {
	caddyhttp.ResponseWriterWrapper
	exchange *proxy.Exchange
}

// WriteHeader implements [http.ResponseWriter].
func (w *answerWriter) WriteHeader(status int) {
	informational := status < http.StatusOK && status != http.StatusSwitchingProtocols
	if !informational || w.exchange.PassesInformational(status, w.Header()) {
		w.ResponseWriter.WriteHeader(status)
	}
}
