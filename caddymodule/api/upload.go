package api

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// CloseAfterUpload has the connection closed after a request with a body where Caddy serves
// in full duplex (`enable_full_duplex`). If we answer before all of the body is read, the
// rest is taken for the next request then: net/http sees that a body was not read to its
// end only if it is its own, and Caddy wraps it, for its idle timeout.
func CloseAfterUpload(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 || r.ProtoMajor != 1 {
		return
	}
	if server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && server.EnableFullDuplex {
		w.Header().Set("Connection", "close")
	}
}
