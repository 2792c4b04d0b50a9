package refresh

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// Where the journal cannot be written no refresh is started: nothing is asked for
// that a crash could lose. It works as soon as the journal does.
func TestNoRefreshWithoutAJournal(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	dir := filepath.Join(t.TempDir(), "journal")
	// What is no directory nobody can write to, root included.
	w.Check(os.WriteFile(dir, []byte("in the way"), 0o600))
	w.Start(world.Configuration{Journal: dir})
	w.SeedExpired("acme")
	for range 3 {
		res := w.Expect(world.Request{Tenant: "acme", ID: "in the way " + time.Now().String()}, 401)
		if code := res.Header.Get("Upstream-Auth-Error"); code != "refresh_failed" || string(res.Content) != "attempt 1" {
			t.Errorf("code %q, answer %q", code, res.Content)
		}
	}
	w.Asked("acme")
	record, err := w.Record("acme")
	if err != nil || len(record) > 0 {
		t.Errorf("record %v, %v", record, err)
	}
	if !w.Logs("error", "journal") {
		t.Error("the log does not say that there is no journal")
	}
	r := world.Request{Tenant: "acme", ID: "with a good token"}
	w.Seed("acme")
	w.Eventually(func() error { r.ID += "."; return w.Delivered(r, w.Must(r)) })
	w.Check(w.Auth.Expire("acme"))

	w.Check(os.Remove(dir))
	w.RecoversWithin(10*time.Second, "acme")
	w.Settled("acme")
	w.Asked("acme", authserver.Rotated)
	files, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil || len(files) != 1 {
		t.Errorf("journals: %q, %v", files, err)
	}
}

// By default the journal is in Caddy's data directory.
func TestJournalInTheDataDirectory(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Start(world.Configuration{})
	w.SeedExpired("acme")
	r := world.Request{Tenant: "acme", ID: "acme"}
	w.Check(w.Delivered(r, w.Must(r)))
	files, err := filepath.Glob(filepath.Join(w.Caddy.Dir, "data", "caddy", "upstream-auth", "journal", "*.journal"))
	if err != nil || len(files) != 1 {
		t.Errorf("journals: %q, %v", files, err)
	}
}
