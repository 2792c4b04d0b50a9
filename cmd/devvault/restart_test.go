package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

// TestKillWhileWriting kills the server under load, again and again. What it
// acknowledged must be there, what it did not must be whole or absent.
func TestKillWhileWriting(t *testing.T) {
	const writers = 4
	dir := t.TempDir()
	p := start(t, "-data-dir="+dir)
	rootToken := p.rootToken

	// Tokens have leases, and a lease that cannot be read back keeps Vault sealed.
	c := p.root(t)
	enable(t, c, "userpass")
	write(t, c, "auth/userpass/users/ann", map[string]any{"password": "pw"})
	ann := write(t, c, "auth/userpass/login/ann", map[string]any{"password": "pw"}).Auth.ClientToken

	var acked [writers]int
	for round := range 3 {
		var wg sync.WaitGroup
		var killing atomic.Bool // before that, nothing may fail
		for w := range writers {
			c := p.root(t)
			wg.Go(func() {
				for {
					n := acked[w] + 1
					if _, err := c.KVv2("secret").Put(context.Background(), key(w), map[string]any{"n": strconv.Itoa(n)}); err != nil {
						if !killing.Load() {
							t.Error(err)
						}
						return
					}
					acked[w] = n
				}
			})
		}
		logins := p.client(t, "")
		wg.Go(func() {
			for {
				if _, err := logins.Logical().Write("auth/userpass/login/ann", map[string]any{"password": "pw"}); err != nil {
					return
				}
			}
		})
		time.Sleep(500*time.Millisecond + time.Duration(round)*37*time.Millisecond)
		killing.Store(true)
		p.kill()
		wg.Wait()

		p = start(t, "-data-dir="+dir)
		if p.rootToken != rootToken {
			t.Fatalf("root token %q, was %q", p.rootToken, rootToken)
		}
		c := p.root(t)
		if status, err := c.Sys().SealStatus(); err != nil || status.Sealed {
			t.Fatalf("after the restart: %+v, %v", status, err)
		}
		if _, err := p.client(t, ann).Auth().Token().LookupSelf(); err != nil {
			t.Errorf("a token from before: %v", err)
		}
		for w := range writers {
			got, err := c.KVv2("secret").Get(context.Background(), key(w))
			if err != nil {
				t.Fatal(err)
			}
			n, err := strconv.Atoi(got.Data["n"].(string))
			if err != nil || n < acked[w] || n > acked[w]+1 {
				t.Errorf("%s: %v, acknowledged was %d", key(w), got.Data, acked[w])
			}
			v := got.VersionMetadata.Version
			_, err = c.KVv2("secret").Put(context.Background(), key(w), map[string]any{"n": strconv.Itoa(n + 1)}, api.WithCheckAndSet(v))
			if err != nil {
				t.Errorf("%s: check-and-set after the restart: %v", key(w), err)
			}
			acked[w] = n + 1
		}
	}
	t.Logf("acknowledged writes: %v", acked)
	if p.stderr.Len() > 0 {
		t.Logf("stderr: %s", &p.stderr)
	}
}

func key(w int) string { return fmt.Sprintf("writers/%d", w) }

// TestKillDuringFirstStart: half an initialisation must not be in the way of
// the next.
func TestKillDuringFirstStart(t *testing.T) {
	dir := t.TempDir()
	args := []string{"-dev-listen-address=127.0.0.1:0", "-data-dir=" + dir, "-dev-root-token-id=root"}
	unfinished := 0
	for delay := 20 * time.Millisecond; ; delay += delay / 2 {
		p, _ := launch(t, args...)
		time.Sleep(delay)
		p.kill()
		if _, err := os.Stat(filepath.Join(dir, currentName)); err == nil || delay > 5*time.Second {
			break
		}
		if _, err := os.Stat(filepath.Join(dir, newName, dbName)); err == nil {
			unfinished++
		}
	}
	t.Logf("%d starts were killed halfway through", unfinished)

	p := start(t, "-data-dir="+dir, "-dev-root-token-id=root")
	if _, err := p.root(t).KVv2("secret").Put(context.Background(), "a", map[string]any{"k": "v"}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, newName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", newName, err)
	}
}

func TestDataDirIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	start(t, "-data-dir="+dir)
	for name, want := range map[string]os.FileMode{"": 0o700, "vault": 0o700, "vault/init.json": 0o600, "vault/vault.db": 0o600} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Mode().Perm(); got != want {
			t.Errorf("%q has mode %o, want %o", name, got, want)
		}
	}
}

// TestRefusedDataDir: what is wrong is said, and what to do.
func TestRefusedDataDir(t *testing.T) {
	dir := t.TempDir()
	p := start(t, "-data-dir="+dir, "-dev-root-token-id=root")
	address := "-dev-listen-address=127.0.0.1:0"

	check := func(name, want string, args ...string) {
		t.Helper()
		if msg := fail(t, append(args, address, "-data-dir="+dir)...); !strings.Contains(msg, want) {
			t.Errorf("%s: message %q does not say %q", name, msg, want)
		}
	}
	check("in use", "in use by another process")
	if code := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	check("other root token", "made with another root token", "-dev-root-token-id=toor")

	keysFile := filepath.Join(dir, currentName, keysName)
	if err := os.Rename(keysFile, keysFile+".away"); err != nil {
		t.Fatal(err)
	}
	check("no keys", "put that file back, or remove the directory")
	if err := os.WriteFile(keysFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	check("empty keys", keysFile)
	if err := os.Rename(keysFile+".away", keysFile); err != nil {
		t.Fatal(err)
	}
	if p := start(t, "-data-dir="+dir); p.rootToken != "root" {
		t.Errorf("root token %q", p.rootToken)
	}
}

// TestUnfinishedFirstStart has the last moment before a first start counts, and
// worse: what is in the way cannot even be read.
func TestUnfinishedFirstStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, newName), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{keysName, dbName} {
		if err := os.WriteFile(filepath.Join(dir, newName, name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, "-data-dir="+dir)
	if status, err := p.root(t).Sys().SealStatus(); err != nil || status.Sealed {
		t.Errorf("%+v, %v", status, err)
	}
}
