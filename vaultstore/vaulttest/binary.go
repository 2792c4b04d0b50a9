package vaulttest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const modulePath = "github.com/upstreamauth/caddy-upstream-auth"

// binary is a server program.
type binary struct {
	path string

	// persistent says that it takes -data-dir, and so keeps its data and its keys
	// over a restart.
	persistent bool
}

// findBinary finds the server program, or builds it once a process.
var findBinary = sync.OnceValues(func() (binary, error) {
	if path := os.Getenv("VAULT_BIN"); path != "" {
		return binary{path: path}, nil
	}
	if path := os.Getenv("DEVVAULT_BIN"); path != "" {
		return binary{path: path, persistent: true}, nil
	}
	path, err := build()
	return binary{path: path, persistent: true}, err
})

// build builds cmd/devvault into the user's cache directory. The go command sees
// for itself whether what is there is up to date.
func build() (string, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", modulePath).Output()
	if err != nil {
		return "", fmt.Errorf("finding the module %s: %w", modulePath, err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "cmd", "devvault")
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	// Two checkouts do not take turns in rebuilding one file.
	name := fmt.Sprintf("devvault-%.4x", sha256.Sum256([]byte(source)))
	target := filepath.Join(cache, "upstream-auth-test", name)

	ctx, done := context.WithCancel(context.Background())
	defer done()
	go reportProgress(ctx)
	command := exec.Command("go", "build", "-o", target, ".")
	command.Dir = source
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", source, err, output)
	}
	return target, nil
}

func reportProgress(ctx context.Context) {
	start := time.Now()
	ticker := time.NewTicker(15 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			fmt.Fprintf(os.Stderr, "vaulttest: building cmd/devvault for %s; the first time takes about 10 minutes\n",
				time.Since(start).Round(time.Second))
		}
	}
}
