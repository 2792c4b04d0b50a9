// Package e2e tests upstream_auth with real processes: Vault, an authorization
// server with rotating refresh tokens, an upstream that accepts current tokens
// only, and Caddy as it is shipped.
//
// CADDY_BIN and DEVVAULT_BIN name built programs; without them the tests build
// cmd/caddy, with the race detector, and cmd/devvault. VAULT_BIN may name
// another server instead: `vault` or `bao`. E2E_LOGS may name a directory for all
// that Caddy wrote in the tests that failed.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// caddyProgram is what the tests are about.
var caddyProgram = &process.Program{Env: "CADDY_BIN", Module: "..", Package: "cmd/caddy", Flags: []string{"-race"}}

// runDir holds the program, if it is built here.
var runDir string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "upstream-auth-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	runDir = dir
	// Those that run in parallel wait for deadlines most of the time. Who gives
	// -parallel goes before.
	if err := flag.Set("test.parallel", "5"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
