package localstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// A test that needs another process runs its own binary again with these set.
const (
	childMode = "LOCALSTORE_TEST_CHILD" // "write" or "hold"
	childPath = "LOCALSTORE_TEST_PATH"
	childKey  = "LOCALSTORE_TEST_KEY"
)

const crashWriters = 4

// runAsChild does what this process was started for, if it is a child.
func runAsChild() bool {
	mode := os.Getenv(childMode)
	if mode == "" {
		return false
	}
	store, err := New(Config{Path: os.Getenv(childPath), KeyFile: os.Getenv(childKey)})
	if err == nil {
		err = store.Open()
	}
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("open")
	if mode == "write" {
		writeForEver(store)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return true
}

// writeForEver counts the documents of several tenants up and prints each version that
// was acknowledged, as one write so that no line is torn.
func writeForEver(store *Store) {
	var group sync.WaitGroup
	for i := range crashWriters {
		group.Go(func() {
			ctx := context.Background()
			doc, err := store.Get(ctx, crashKey(i))
			if err != nil && !errors.Is(err, credential.ErrNotFound) {
				fmt.Println("error", err)
				os.Exit(1)
			}
			for version := doc.Version; ; version++ {
				if _, err := store.Put(ctx, crashKey(i), crashDocument(version+1), version); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				fmt.Printf("put %d %d\n", i, version+1)
			}
		})
	}
	group.Wait()
}

func crashKey(i int) credential.Key {
	return credential.Key{Provider: "billing", Tenant: credential.Tenant(fmt.Sprintf("t%d", i))}
}

func crashDocument(version uint64) []byte {
	return fmt.Appendf(nil, `{"n":"%d","blob":"%s"}`, version, strings.Repeat("x", int(version%5)*1500))
}

func TestAcknowledgedWritesSurviveAKill(t *testing.T) {
	config := configIn(t.TempDir())
	var acknowledged [crashWriters]uint64
	for round := range 4 {
		child, lines := startChild(t, "write", config)
		for seen := 0; lines.Scan(); seen++ {
			var writer int
			var version uint64
			if _, err := fmt.Sscanf(lines.Text(), "put %d %d", &writer, &version); err != nil {
				t.Fatalf("child says %q", lines.Text())
			}
			acknowledged[writer] = version
			if seen == 40+round*17 {
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = child.Wait() // "signal: killed"

		store := openStore(t, config)
		for i, version := range acknowledged {
			if version == 0 {
				continue
			}
			doc, err := store.Get(t.Context(), crashKey(i))
			if err != nil || doc.Version < version || doc.Version > version+1 || string(doc.Data) != string(crashDocument(doc.Version)) {
				t.Errorf("writer %d: version %d of %d bytes, error %v; version %d was acknowledged last", i, doc.Version, len(doc.Data), err, version)
			}
		}
		closeStore(t, store)
	}
}

func TestAnotherProcessInTheWayIsNamed(t *testing.T) {
	config := configIn(t.TempDir())
	child, _ := startChild(t, "hold", config)
	mustNotOpen(t, config, "in use by another process")
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	openStore(t, config) // The lock of a dead process is none.
}

// startChild starts this binary again and returns when the child has the store open.
func startChild(t *testing.T, mode string, config Config) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childMode+"="+mode, childPath+"="+config.Path, childKey+"="+config.KeyFile)
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe() // Whose end ends a child that holds.
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	// Whatever goes wrong, no test waits for a child for ever.
	deadline := time.AfterFunc(time.Minute, func() { _ = child.Process.Kill() })
	t.Cleanup(func() {
		deadline.Stop()
		_ = stdin.Close()
		_ = child.Process.Kill()
	})
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatalf("child says %q", lines.Text())
	}
	return child, lines
}
