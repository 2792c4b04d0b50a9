package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
)

// fleet is three sidecars on one Vault. Two share a journal directory, as the
// processes of one machine do; the third is a machine of its own.
type fleet struct {
	*world // what they have in common: all but a sidecar
	a, b   *world
	c      *world
}

func newFleet(t *testing.T, c configuration) *fleet {
	t.Helper()
	return newWorld(t).fleet(c)
}

// fleet starts three sidecars with one configuration. Each names itself in its
// token requests.
func (w *world) fleet(c configuration) *fleet {
	w.Helper()
	f := &fleet{world: w}
	shared, own := w.TempDir(), w.TempDir()
	f.a = w.replica(c, "a", shared)
	f.b = w.replica(c, "b", shared)
	f.c = w.replica(c, "c", own)
	return f
}

// replica is the same world, seen through another sidecar.
func (w *world) replica(c configuration, name, journal string) *world {
	w.Helper()
	c.journal = journal
	c.oauth2 += "\nparam sender " + name
	r := *w
	r.start(c)
	return &r
}

// within is the same fleet in a subtest.
func (f *fleet) within(t *testing.T) *fleet {
	return &fleet{world: f.world.within(t), a: f.a.within(t), b: f.b.within(t), c: f.c.within(t)}
}

func (f *fleet) replicas() []*world { return []*world{f.a, f.b, f.c} }

// kill ends the sidecar as a crash would. What it leaves in its journal gives no
// secret away.
func (w *world) kill() {
	w.Helper()
	w.caddy.Kill()
	w.searchJournals()
}

// searchJournals looks for secrets in the sidecar's journal directory, if it has its
// own: the default one is among the traces of Caddy.
func (w *world) searchJournals() {
	w.Helper()
	files, err := os.ReadDir(w.running.journal)
	if os.IsNotExist(err) {
		return
	}
	w.check(err)
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(w.running.journal, file.Name()))
		if os.IsNotExist(err) {
			continue // somebody finished with it
		}
		w.check(err)
		for _, leak := range w.secrets.Scan("journal "+file.Name(), content) {
			w.Errorf("leak: %s", leak)
		}
	}
}

// restart starts the sidecar again, with the same configuration and directories and
// at the same address.
func (w *world) restart() {
	w.Helper()
	w.check(w.caddy.Start(w.ctx, w.caddyfile(w.running)))
}

// suspend stops the sidecar without an end of its connections and locks, as it
// is with a machine that sleeps or that is too busy.
func (w *world) suspend() {
	w.Helper()
	w.check(w.caddy.Suspend())
	w.Cleanup(func() { _ = w.caddy.Resume() }) // before it is asked to end
}

func (w *world) resume() {
	w.Helper()
	w.check(w.caddy.Resume())
}

// tenantName makes a tenant's name of a test's.
func tenantName(test string) string {
	return strings.NewReplacer(" ", "-", "/", "-", ",", "").Replace(test)
}

// holdRefresh has the authorization server treat the next token request of a tenant
// in a way that may make it wait at a gate. Those after it are answered well.
func (w *world) holdRefresh(tenant string, behaviour func(*gate) authserver.Behaviour) *gate {
	g := newGate()
	w.Cleanup(g.open)
	first := true
	w.auth.PlayFor(tenant, func(authserver.Entry) authserver.Behaviour {
		if !first {
			return authserver.Behaviour{}
		}
		first = false
		return behaviour(g)
	})
	return g
}

// Ways to hold a token request back.
func beforeRotation(g *gate) authserver.Behaviour { return authserver.Behaviour{Before: g.pass} }
func neverRotated(g *gate) authserver.Behaviour {
	return authserver.Behaviour{Before: g.pass, Instead: authserver.HangUp}
}
func afterRotation(g *gate) authserver.Behaviour {
	return authserver.Behaviour{Between: g.pass, After: authserver.Drop}
}

// asked checks how often, and with what outcomes, a tenant's refresh tokens were
// presented.
func (w *world) asked(tenant string, outcomes ...authserver.Outcome) {
	w.Helper()
	entries := w.auth.Of(tenant)
	same := len(entries) == len(outcomes)
	for i := 0; same && i < len(entries); i++ {
		same = entries[i].Outcome == outcomes[i]
	}
	if !same {
		w.Errorf("%s: token requests %+v, wanted %v", tenant, entries, outcomes)
	}
}
