package caddymodule

import (
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// RefreshOn says which responses reject a credential.
type RefreshOn struct {
	caddyhttp.ResponseMatcher

	// Those that mean UNAUTHENTICATED to a gRPC client: with that status in their header, as
	// servers send it that look at the credential first, or with status 401.
	GRPC bool `json:"grpc,omitempty"`
}

// unauthenticated is gRPC's code of that name.
const unauthenticated = "16"

// Match reports whether a response with this status and header is one.
func (m *RefreshOn) Match(status int, header http.Header) bool {
	if m.GRPC {
		if status == http.StatusUnauthorized || slices.Contains(header["Grpc-Status"], unauthenticated) {
			return true
		}
		if m.StatusCode == nil && m.Headers == nil {
			return false
		}
	}
	return m.ResponseMatcher.Match(status, header)
}
