package simulation

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// scene is a world in which only that goes wrong that a test says. Processes 0 and
// 1 are on one machine, 2 is on another.
type scene struct {
	*world
	tenant *tenant
	p      [slots]*process
}

// usual are the rules of most scenes.
func usual() rules {
	return rules{rotation: scheme.RotationSingleUse, takeover: 10 * time.Minute, lives: time.Hour}
}

// play plays a scene with an expired access token, and judges it as a run.
func play(t *testing.T, r rules, plot func(s *scene)) {
	t.Helper()
	playShared(t, []rules{r}, plot)
}

// playShared is play with several tenants of one provider. The scene begins with the first.
func playShared(t *testing.T, all []rules, plot func(s *scene)) {
	t.Helper()
	var w *world
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t, 1, len(all) > 1, all...)
		s := &scene{world: w, tenant: w.tenants[0]}
		w.script = func(edge) fault { return fault{} }
		w.serve = func(*process, *tenant) reply { return reply{} }
		for slot := range slots {
			s.p[slot] = w.start(slot)
		}
		s.nap(time.Second)
		w.server.expire(s.tenant)
		plot(s)
		close(w.calm)
		s.nap(adoption)
		w.finish()
		w.judgeSettled()
	})
	w.report(t, 0, w.t.Failed())
}

func (s *scene) nap(d time.Duration) { time.Sleep(d) }

// at lets f happen at the first edge that a test is looking for.
func (s *scene) at(is func(e edge) bool, f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	happened := false
	otherwise := s.script
	s.script = func(e edge) fault {
		s.mu.Lock()
		now := !happened && is(e)
		happened = happened || now
		s.mu.Unlock()
		if now {
			return f
		}
		return otherwise(e)
	}
}

// beforePut is where a document with that status is about to be written.
func beforePut(p *process, status string) func(edge) bool {
	return func(e edge) bool { return e.process == p && e.op == "put" && e.status == status && !e.after }
}

// after is where an operation is done, a put with that status.
func after(p *process, op, status string) func(edge) bool {
	return func(e edge) bool { return e.process == p && e.op == op && e.status == status && e.after }
}

// replies makes the server answer its first requests so, and the others well.
func (s *scene) replies(all ...reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve = func(*process, *tenant) reply {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(all) == 0 {
			return reply{}
		}
		first := all[0]
		all = all[1:]
		return first
	}
}

// begin makes a request and does not wait for it.
func (s *scene) begin(p *process) <-chan error {
	outcome := make(chan error, 1)
	tenant := s.tenant // a scene goes on to another one meanwhile
	p.clients.Go(func() { outcome <- p.request(context.Background(), tenant) })
	return outcome
}

func (s *scene) request(p *process) error {
	err := p.request(context.Background(), s.tenant)
	p.trace("request: %v", err)
	return err
}

func (s *scene) mustServe(p *process) {
	s.t.Helper()
	if err := s.request(p); err != nil {
		s.t.Errorf("%s is not served: %v", p.name, err)
	}
}

// mustServeWithin makes a request a second until one is served.
func (s *scene) mustServeWithin(p *process, d time.Duration) {
	s.t.Helper()
	began := time.Now()
	for s.request(p) != nil {
		if time.Since(began) > d {
			s.t.Errorf("%s is not served within %v", p.name, d)
			return
		}
		s.nap(time.Second)
	}
}

func (s *scene) newest() document {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	versions := s.ledger.accounts[s.tenant.name].versions
	return versions[len(versions)-1]
}

// want ends a scene: the document has the n-th refresh token and the status.
func (s *scene) want(n int, status string) {
	s.t.Helper()
	if d := s.newest(); d.refresh != s.token(n) || d.status != status {
		s.t.Errorf("document has %s %s, want %s %s", d.refresh, d.status, s.token(n), status)
	}
}

func (s *scene) token(n int) string { return canary + s.tenant.name + "-r" + string(rune('0'+n)) }

// wantSent says how often the n-th token was sent.
func (s *scene) wantSent(n, times int) {
	s.t.Helper()
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	if sent := len(s.ledger.accounts[s.tenant.name].sendings[s.token(n)]); sent != times {
		s.t.Errorf("%s was sent %d times, want %d", s.token(n), sent, times)
	}
}
