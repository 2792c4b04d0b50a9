package simulation

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal/journaltest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

const (
	slots    = 3
	machines = 2
)

// world is all there is in a run.
type world struct {
	t           *testing.T
	start0      time.Time
	dice        *dice
	shared      bool // all tenants have one provider
	profile     profile
	trace       *trace
	ledger      *ledger
	vault       *vault
	server      *server
	directories [machines]*journaltest.Directory
	tenants     []*tenant

	calm chan struct{} // closed when the faults are over
	done chan struct{} // closed when the clients are to end
	late sync.WaitGroup
	ends sync.WaitGroup

	mu     sync.Mutex
	script func(edge) fault                  // instead of the dice
	serve  func(p *process, t *tenant) reply // likewise
	starts int
	slots  [slots]*process
	over   bool
	calmAt time.Time

	claimedAtCalm map[string]bool
	seen          map[string]time.Duration // by slot and tenant: how long after the faults it was served
}

func newWorld(t *testing.T, seed uint64, shared bool, all ...rules) *world {
	w := &world{
		t: t, start0: time.Now(), dice: newDice(seed), shared: shared, trace: &trace{start: time.Now()},
		calm: make(chan struct{}), done: make(chan struct{}), seen: make(map[string]time.Duration),
	}
	w.ledger = newLedger(w.now, w.trace.add)
	w.vault = &vault{Memory: storetest.NewMemory(), world: w}
	w.server = newServer(w)
	for i := range w.directories {
		w.directories[i] = journaltest.NewDirectory()
	}
	apart := w.dice.at("endpoints").IntN(2) == 0
	for i, r := range all {
		provider := fmt.Sprint("provider", i)
		if w.shared {
			provider = "provider"
		}
		w.addTenant(i, r, provider, apart)
	}
	return w
}

func (w *world) addTenant(i int, r rules, provider string, apart bool) {
	name, host := fmt.Sprintf("t%d", i), "as"
	if apart && !w.shared {
		host += name
	}
	t := &tenant{rules: r, name: name, provider: provider}
	var err error
	t.renewer, err = oauth2.New(oauth2.Config{
		TokenURL: w.template("https://" + host + ".example/token"),
		Client:   oauth2.Client{ClientID: w.template("client"), ClientSecrets: []oauth2.Secret{{Text: w.template(canary + "secret")}}},
		Renewal:  scheme.Renewal{Rotation: r.rotation, RotationGrace: r.grace, Takeover: r.takeover, RefreshAhead: time.Second},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.tenants = append(w.tenants, t)
	w.ledger.open(name, r)
	w.vault.mu.Lock()
	defer w.vault.mu.Unlock()
	w.write(t, 0, w.pair(t, nil))
}

func (w *world) template(text string) *template.Template {
	parsed, err := template.Parse(text, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return parsed
}

func (w *world) now() time.Duration { return time.Since(w.start0) }

func (w *world) isCalm() bool { return isClosed(w.calm) }
func (w *world) isOver() bool { return isClosed(w.done) }

// plot is what a scene decides with instead of the dice.
func (w *world) plot() (script func(edge) fault, serve func(*process, *tenant) reply) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.script, w.serve
}

// isPlayed reports whether this is a scene.
func (w *world) isPlayed() bool {
	script, _ := w.plot()
	return script != nil
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// tenantOf is whom a token belongs to.
func (w *world) tenantOf(token string) *tenant {
	for _, t := range w.tenants {
		if len(token) > len(canary)+len(t.name) && token[len(canary):len(canary)+len(t.name)] == t.name {
			return t
		}
	}
	panic("nobody's token " + token)
}

// note notes that a tenant was served by the process of a slot.
func (w *world) note(slot int, t *tenant) {
	w.mu.Lock()
	defer w.mu.Unlock()
	place := fmt.Sprint(slot, " ", t.name)
	if _, known := w.seen[place]; !known && w.isCalm() {
		w.seen[place] = time.Since(w.calmAt)
	}
}

// randomWorld is a world by its seed.
func randomWorld(t *testing.T, seed uint64) *world {
	r := newDice(seed).at("world")
	shared := r.IntN(2) == 0
	all := []rules{randomRules(r)}
	for range r.IntN(4) {
		if shared {
			all = append(all, all[0].sharing(r))
		} else {
			all = append(all, randomRules(r))
		}
	}
	w := newWorld(t, seed, shared, all...)
	w.profile = randomProfile(r)
	return w
}

// run runs the world to its end and judges it.
func (w *world) run() {
	for slot := range slots {
		w.start(slot)
	}
	w.chaos()
	time.Sleep(w.profile.lasts)
	w.calmDown()
	w.settleDown()
	w.judgeServed() // before the first leaves: who remains may adopt its journal, and so change the outcome
	w.finish()
	w.judgeSettled()
}

// chaos starts what goes wrong by itself.
func (w *world) chaos() {
	times := func(what string, n int, do func(r *rand.Rand)) {
		for range n {
			r := w.dice.at(what)
			at := between(r, 0, w.profile.lasts)
			w.ends.Go(func() {
				w.pause(at)
				if !w.isCalm() {
					do(r)
				}
			})
		}
	}
	victim := func(r *rand.Rand) *process {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.slots[r.IntN(slots)]
	}
	times("crash", w.profile.crashes, func(r *rand.Rand) {
		if p := victim(r); p != nil {
			w.kill(p, r.IntN(3) == 0)
		}
	})
	times("stop", w.profile.stops, func(r *rand.Rand) {
		if p := victim(r); p != nil {
			p.stop(between(r, time.Second, 90*time.Second))
		}
	})
	times("outage", w.profile.outages, func(r *rand.Rand) {
		d := between(r, time.Second, 40*time.Second)
		w.trace.add("the vault is down for %v", d)
		w.vault.mu.Lock()
		w.vault.downUntil, w.vault.hangs = time.Now().Add(d), r.IntN(2) == 0
		w.vault.mu.Unlock()
	})
	for _, t := range w.tenants {
		times("operation "+t.name, w.profile.operations, func(r *rand.Rand) { w.operate(t, operation(r.IntN(int(operationMax)+1))) })
	}
}

// calmDown ends the faults: the stopped go on, the dead start anew, what is late
// arrives.
func (w *world) calmDown() {
	for _, t := range w.tenants {
		if r := w.dice.at("amend " + t.name); r.IntN(4) != 0 {
			w.operate(t, undelete)
			w.operate(t, enable)
		}
	}
	w.trace.add("the faults are over")
	w.mu.Lock()
	w.calmAt = time.Now()
	w.claimedAtCalm = make(map[string]bool)
	for _, t := range w.tenants {
		w.claimedAtCalm[t.name] = w.ledger.awaited(t.name)
	}
	w.mu.Unlock()
	close(w.calm)
	time.Sleep(time.Millisecond)
	w.ledger.calms()
}

func (w *world) living() []*process {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*process
	for _, p := range w.slots {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

// finish ends all that runs.
func (w *world) finish() {
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	close(w.done)
	for _, p := range w.living() {
		p.clients.Wait()
		w.leave(p)
	}
	w.late.Wait()
	w.ends.Wait()
}
