package main

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestAPIWantsACurrentToken(t *testing.T) {
	e := new(events)
	auth := newAuthServer(e)
	upstream := &api{auth: auth, events: e}
	good, refresh := auth.grantTo("acme")
	expired, _ := auth.grantTo("globex")
	auth.expire("globex")

	tests := map[string]struct {
		authorization, body string
		tenant              string
		status              int
		want                event
	}{
		"current":         {"Bearer " + good, "", "", 200, event{"API saw", "POST with acme-access-1-...", "200"}},
		"with a body":     {"Bearer " + good, "abc", "", 200, event{"API saw", "POST with acme-access-1-...", "200, 3 bytes, sha256 ba7816bf..."}},
		"tenant's name":   {"Bearer " + good, "", "acme", 200, event{"API saw", "POST with acme-access-1-...", "200, and the tenant's name"}},
		"expired":         {"Bearer " + expired, "", "", 401, event{"API saw", "POST with globex-access-1-...", "401"}},
		"a refresh token": {"Bearer " + refresh, "", "", 401, event{"API saw", "POST with acme-refresh-1-...", "401"}},
		"unknown":         {"Bearer x" + good, "", "", 401, event{"API saw", "POST with an unknown token", "401"}},
		"another scheme":  {"Basic " + good, "", "", 401, event{"API saw", "POST with no token", "401"}},
		"none":            {"", "", "", 401, event{"API saw", "POST with no token", "401"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest("POST", "/invoices", strings.NewReader(test.body))
			req.Header.Set("Authorization", test.authorization)
			if test.tenant != "" {
				req.Header.Set("X-Tenant-ID", test.tenant)
			}
			rec := httptest.NewRecorder()
			upstream.ServeHTTP(rec, req)
			if rec.Code != test.status || (rec.Header().Get("WWW-Authenticate") != "") != (test.status == 401) {
				t.Errorf("%d %v", rec.Code, rec.Header())
			}
			if seen := e.take(); !slices.Equal(seen, []event{test.want}) {
				t.Errorf("seen %v, want %v", seen, test.want)
			}
		})
	}
}
