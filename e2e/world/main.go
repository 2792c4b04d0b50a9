// Package world is all that an end-to-end test has around Caddy, and Caddy itself, as
// it is shipped: real processes of Vault, an authorization server with rotating
// refresh tokens, and an upstream that accepts current tokens only. The tests are in
// the packages beside it, by what they hold the product to: proxy, refresh,
// credentials and connect.
//
// CADDY_BIN and DEVVAULT_BIN name built programs; without them the tests build
// cmd/caddy, with the race detector, and cmd/devvault. VAULT_BIN may name
// another server instead: `vault` or `bao`. E2E_LOGS may name a directory for all
// that Caddy wrote in the tests that failed.
package world

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// root is the root of the repository, from the directory of a package of tests, which
// is where these run.
var root = filepath.Join("..", "..")

// caddyProgram is what the tests are about.
var caddyProgram = &process.Program{Env: "CADDY_BIN", Module: root, Package: "cmd/caddy", Flags: []string{"-race"}}

// caddyPath finds the program, or builds it once for all packages: the go command sees
// whether what another one left is up to date.
func caddyPath() (string, error) {
	checkout, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	// Two checkouts do not take turns in rebuilding one file.
	dir := filepath.Join(cache, "upstream-auth-test", fmt.Sprintf("%.4x", sha256.Sum256([]byte(checkout))))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return caddyProgram.Path(dir)
}

// Run runs the tests of a package and returns its exit status. No goroutine may be
// left after them.
func Run(m *testing.M) int {
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
