package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// Where the journal cannot be written no refresh is started: nothing is asked for
// that a crash could lose. It works as soon as the journal does.
func TestNoRefreshWithoutAJournal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := filepath.Join(t.TempDir(), "journal")
	// What is no directory nobody can write to, root included.
	w.check(os.WriteFile(dir, []byte("in the way"), 0o600))
	w.start(configuration{journal: dir})
	w.seedExpired("acme")
	for range 3 {
		res := w.expect(request{tenant: "acme", id: "in the way " + time.Now().String()}, 401)
		if code := res.Header.Get("Upstream-Auth-Error"); code != "refresh_failed" || string(res.body) != "attempt 1" {
			t.Errorf("code %q, answer %q", code, res.body)
		}
	}
	w.asked("acme")
	record, err := w.record("acme")
	if err != nil || len(record) > 0 {
		t.Errorf("record %v, %v", record, err)
	}
	if !w.logs("error", "journal") {
		t.Error("the log does not say that there is no journal")
	}
	r := request{tenant: "acme", id: "with a good token"}
	w.seed("acme")
	w.eventually(func() error { r.id += "."; return w.delivered(r, w.must(r)) })
	w.check(w.auth.Expire("acme"))

	w.check(os.Remove(dir))
	w.recoversWithin(10*time.Second, "acme")
	w.settled("acme")
	w.asked("acme", authserver.Rotated)
	files, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil || len(files) != 1 {
		t.Errorf("journals: %q, %v", files, err)
	}
}

// By default the journal is in Caddy's data directory.
func TestJournalInTheDataDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(configuration{})
	w.seedExpired("acme")
	r := request{tenant: "acme", id: "acme"}
	w.check(w.delivered(r, w.must(r)))
	files, err := filepath.Glob(filepath.Join(w.caddy.Dir, "data", "caddy", "upstream-auth", "journal", "*.journal"))
	if err != nil || len(files) != 1 {
		t.Errorf("journals: %q, %v", files, err)
	}
}

// logs reports whether a line of ours in the log is of a level and has a word.
func (w *world) logs(level, word string) bool {
	for line := range bytes.Lines(w.caddy.Output()) {
		if bytes.Contains(line, []byte(`"level":"`+level+`"`)) && bytes.Contains(line, []byte(`"logger":"upstream_auth`)) &&
			bytes.Contains(line, []byte(word)) {
			return true
		}
	}
	return false
}
