package caddymodule_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// keepingAlive is how many goroutines keep tokens alive.
func keepingAlive() int {
	stacks := make([]byte, 4<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return strings.Count(string(stacks), "(*Coordinator).KeepAlive(")
}

// Whatever is reloaded, one goroutine keeps each provider's tokens alive that says so, and
// none is left in the end.
func TestTokensAreKeptAliveByTheRunningConfiguration(t *testing.T) {
	auth := newAuthServer(t)
	s := administered(t, map[credential.Key]string{
		key("idle"): `{"access_token":"a","refresh_token":"r","_upstream_auth":{"status":"ready",` +
			`"fingerprint":"454349e422f05297191ead13e21d3db5","renewed":"2020-01-01T00:00:00Z"}}`, // SHA-256 of r
	})
	text := s.caddyfile(auth.provider("billing", "keep_alive 7d")+auth.provider("crm", "keep_alive 1h")+auth.provider("erp", ""), "upstream_auth billing 127.0.0.1:1")
	startText(t, text)
	for range 3 {
		loadText(t, strings.Replace(text, "keep_alive 7d", "keep_alive 8d", 1))
		loadText(t, text)
	}
	for deadline := time.Now().Add(30 * time.Second); keepingAlive() != 2 || auth.refreshes.Load() == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines keep tokens alive of two providers, and %d tokens were renewed", keepingAlive(), auth.refreshes.Load())
		}
	}
	loadText(t, strings.NewReplacer("keep_alive 7d", "", "keep_alive 1h", "").Replace(text))
	if n := keepingAlive(); n != 0 {
		t.Errorf("%d goroutines keep tokens alive, though no provider says so", n)
	}
	loadText(t, text)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := keepingAlive(); n != 0 {
		t.Errorf("%d goroutines are left", n)
	}
	if n := auth.refreshes.Load(); n != 1 {
		t.Errorf("the token was renewed %d times", n)
	}
}
