package world

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// Fleet is three sidecars on one Vault. Two share a journal directory, as the
// processes of one machine do; the third is a machine of its own.
type Fleet struct {
	*World // what they have in common: all but a sidecar
	A, B   *World
	C      *World
}

// NewFleet makes a world and starts a fleet in it.
func NewFleet(t *testing.T, c Configuration) *Fleet {
	t.Helper()
	return New(t).Fleet(c)
}

// Fleet starts three sidecars with one configuration. Each names itself in its
// token requests.
func (w *World) Fleet(c Configuration) *Fleet {
	w.Helper()
	f := &Fleet{World: w}
	shared, own := w.TempDir(), w.TempDir()
	f.A = w.Replica(c, "a", shared)
	f.B = w.Replica(c, "b", shared)
	f.C = w.Replica(c, "c", own)
	return f
}

// Replica is the same world, seen through another sidecar.
func (w *World) Replica(c Configuration, name, journal string) *World {
	w.Helper()
	c.Journal = journal
	c.OAuth2 += "\nparam sender " + name
	r := *w
	r.Start(c)
	return &r
}

// Within is the same fleet in a subtest.
func (f *Fleet) Within(t *testing.T) *Fleet {
	return &Fleet{World: f.World.Within(t), A: f.A.Within(t), B: f.B.Within(t), C: f.C.Within(t)}
}

// Replicas are the three.
func (f *Fleet) Replicas() []*World { return []*World{f.A, f.B, f.C} }

// Kill ends the sidecar as a crash would. What it leaves in its journal gives no
// secret away.
func (w *World) Kill() {
	w.Helper()
	w.Caddy.Kill()
	w.searchJournals()
}

// searchJournals looks for secrets in the sidecar's journal directory, if it has its
// own: the default one is among the traces of Caddy.
func (w *World) searchJournals() {
	w.Helper()
	files, err := os.ReadDir(w.Running.Journal)
	if os.IsNotExist(err) {
		return
	}
	w.Check(err)
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(w.Running.Journal, file.Name()))
		if os.IsNotExist(err) {
			continue // somebody finished with it
		}
		w.Check(err)
		for _, leak := range w.Secrets.Scan("journal "+file.Name(), content) {
			w.Errorf("leak: %s", leak)
		}
	}
}

// Restart starts the sidecar again, with the same configuration and directories and
// at the same address.
func (w *World) Restart() {
	w.Helper()
	w.Check(w.Caddy.Start(w.Ctx, w.Caddyfile(w.Running)))
}

// Suspend stops the sidecar without an end of its connections and locks, as it
// is with a machine that sleeps or that is too busy.
func (w *World) Suspend() {
	w.Helper()
	w.Check(w.Caddy.Suspend())
	w.Cleanup(func() { _ = w.Caddy.Resume() }) // before it is asked to end
}

// Resume lets a suspended sidecar go on.
func (w *World) Resume() {
	w.Helper()
	w.Check(w.Caddy.Resume())
}

// TenantName makes a tenant's name of a test's.
func TenantName(test string) string {
	return strings.NewReplacer(" ", "-", "/", "-", ",", "").Replace(test)
}

// HoldRefresh has the authorization server treat the next token request of a tenant
// in a way that may make it wait at a gate. Those after it are answered well.
func (w *World) HoldRefresh(tenant string, behaviour func(*Gate) authserver.Behaviour) *Gate {
	g := NewGate()
	w.Cleanup(g.Open)
	first := true
	w.Auth.PlayFor(tenant, func(authserver.Entry) authserver.Behaviour {
		if !first {
			return authserver.Behaviour{}
		}
		first = false
		return behaviour(g)
	})
	return g
}

// BeforeRotation holds a token request back before its token is spent.
func BeforeRotation(g *Gate) authserver.Behaviour { return authserver.Behaviour{Before: g.Pass} }

// NeverRotated holds a token request back and then hangs up. Its token is not spent.
func NeverRotated(g *Gate) authserver.Behaviour {
	return authserver.Behaviour{Before: g.Pass, Instead: authserver.HangUp}
}

// AfterRotation holds a token request back when its token is spent. The answer is lost.
func AfterRotation(g *Gate) authserver.Behaviour {
	return authserver.Behaviour{Between: g.Pass, After: authserver.Drop}
}

// Asked checks how often, and with what outcomes, a tenant's refresh tokens were
// presented.
func (w *World) Asked(tenant string, outcomes ...authserver.Outcome) {
	w.Helper()
	entries := w.Auth.Of(tenant)
	same := len(entries) == len(outcomes)
	for i := 0; same && i < len(entries); i++ {
		same = entries[i].Outcome == outcomes[i]
	}
	if !same {
		w.Errorf("%s: token requests %+v, wanted %v", tenant, entries, outcomes)
	}
}
