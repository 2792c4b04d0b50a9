package localstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"
)

// wantDiagnosis fails the test unless a diagnosis finds this of the key file and
// this of the database: "ok" or "wrong", then what the finding must contain.
func wantDiagnosis(t *testing.T, store *Store, keyFile, database string) {
	t.Helper()
	findings := store.Diagnose(t.Context(), []string{"billing", "crm"})
	if len(findings) != 2 || findings[0].Check != "key_file" || findings[1].Check != "database" {
		t.Fatalf("findings %+v", findings)
	}
	for i, want := range []string{keyFile, database} {
		f, state := findings[i], "wrong"
		if f.OK {
			state = "ok"
		}
		wantState, text, _ := strings.Cut(want, ": ")
		if state != wantState || f.Detail == "" || f.OK != (f.Remedy == "") || !strings.Contains(f.Detail+" "+f.Remedy, text) {
			t.Errorf("finding %+v, want %q", f, want)
		}
		if strings.Contains(fmt.Sprint(f), string(acme.Tenant)) {
			t.Errorf("%+v names a tenant", f)
		}
	}
}

func unopened(t *testing.T, config Config) *Store {
	t.Helper()
	store, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	store.lockTimeout = 100 * time.Millisecond
	t.Cleanup(func() { closeStore(t, store) })
	return store
}

func TestDiagnosisMakesNoFiles(t *testing.T) {
	config := configIn(t.TempDir())
	wantDiagnosis(t, unopened(t, config), "ok: does not exist yet", "ok: does not exist yet")
	for _, path := range []string{config.Path, config.KeyFile} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was made", path)
		}
	}
}

func TestDiagnosisOfAStore(t *testing.T) {
	config := configIn(t.TempDir())
	store := openStore(t, config)
	wantDiagnosis(t, store, "ok: "+config.KeyFile+" holds a key and has mode 0600", "ok: "+config.Path+" opens and can be read")
	put(t, store, acme, `{}`, 0)
	wantDiagnosis(t, store, "ok: ", "ok: ")
	if err := store.Delete(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	wantDiagnosis(t, store, "ok: ", "ok: ")
	wantDiagnosis(t, unopened(t, config), "ok: ", "wrong: fuser -v "+config.Path)
	closeStore(t, store)
	wantDiagnosis(t, store, "ok: ", "wrong: Try again.")
	wantDiagnosis(t, unopened(t, config), "ok: ", "ok: ")
}

func TestDiagnosisOfFiles(t *testing.T) {
	change := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		change            func(t *testing.T, config Config)
		keyFile, database string
	}{
		"key gone": {func(t *testing.T, c Config) { change(t, os.Remove(c.KeyFile)) },
			"wrong: Put the key file back", "wrong: Put the key file back"},
		"another key": {func(t *testing.T, c Config) { change(t, os.Remove(c.KeyFile)); change(t, makeKey(c.KeyFile)) },
			"ok: ", "wrong: Put the key file back"},
		"no key": {func(t *testing.T, c Config) { change(t, os.WriteFile(c.KeyFile, []byte("hunter2"), 0o600)) },
			"wrong: does not hold a key", "wrong: does not hold a key"},
		"writable key": {func(t *testing.T, c Config) { change(t, os.Chmod(c.KeyFile, 0o660)) },
			"wrong: chmod 0600 /", "wrong: chmod 0600 /"},
		"key of a container": {func(t *testing.T, c Config) { change(t, os.Chmod(c.KeyFile, 0o444)) },
			"ok: has mode 0444", "ok: "},
		"no database": {func(t *testing.T, c Config) { change(t, os.WriteFile(c.Path, make([]byte, 1<<16), 0o600)) },
			"ok: ", "wrong: put a backup"},
	} {
		t.Run(name, func(t *testing.T) {
			config := configIn(t.TempDir())
			store := openStore(t, config)
			put(t, store, acme, `{}`, 0)
			closeStore(t, store)
			c.change(t, config)
			wantDiagnosis(t, unopened(t, config), c.keyFile, c.database)
		})
	}
}

func TestDiagnosisOfADamagedEntry(t *testing.T) {
	store := openStore(t, configIn(t.TempDir()))
	put(t, store, acme, `{}`, 0)
	setRaw(t, store, acme, []byte("x"))
	wantDiagnosis(t, store, "ok: ", "wrong: provider billing")
}

func TestDiagnosisOfAFileThatWasRemoved(t *testing.T) {
	config := configIn(t.TempDir())
	store := openStore(t, config)
	if err := os.Remove(config.Path); err != nil {
		t.Fatal(err)
	}
	wantDiagnosis(t, store, "ok: ", "wrong: was removed while it is open")
}

func TestDiagnosisEndsWithItsContext(t *testing.T) {
	config := configIn(t.TempDir())
	openStore(t, config)
	store := unopened(t, config)
	store.lockTimeout = time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	start := time.Now()
	findings := store.Diagnose(ctx, nil)
	if took := time.Since(start); took >= store.lockTimeout {
		t.Errorf("took %v", took)
	}
	if f := findings[1]; f.OK || f.Remedy != "Try again." {
		t.Errorf("finding %+v", f)
	}
}

// Which the user that runs the tests may not be able to bring about.
func TestRemediesOfPermissions(t *testing.T) {
	config := Config{Path: "/a.db", KeyFile: "/a.key"}
	err := unavailable(&fs.PathError{Op: "open", Path: "/a.db", Err: fs.ErrPermission})
	if got, want := config.databaseRemedy(err), "chown USER /a.db /a.key"; !strings.Contains(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := config.keyRemedy(err), "chown USER /a.key"; !strings.Contains(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
