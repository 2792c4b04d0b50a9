package simulation

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew/journal/journaltest"
)

// cacheTimeout is shorter than what the coordinator allows itself.
const cacheTimeout = 2 * time.Second

const cacheTTL = 10 * time.Second

// process is one from its start to its end. Others take its slot after it.
type process struct {
	world       *world
	slot        int
	name        string
	notes       *journaltest.Process
	cache       *credential.Cache
	coordinator *renew.Coordinator
	providers   map[string]*renew.Provider
	clients     sync.WaitGroup

	died chan struct{}

	mu           sync.Mutex
	stoppedUntil time.Time
	noted        map[string]int       // how often a nonce was noted
	claiming     map[string]string    // in which journal it is being noted
	rests        map[string]time.Time // by tenant: when its longest cooldown is over
}

// machineOf says on which machine the process of a slot is: two share one.
func machineOf(slot int) int { return slot / 2 }

// start starts a process in a slot.
func (w *world) start(slot int) *process {
	w.mu.Lock()
	w.starts++
	p := &process{
		world: w, slot: slot, name: fmt.Sprintf("p%d.%d", slot, w.starts), died: make(chan struct{}),
		notes: w.directories[machineOf(slot)].Start(), providers: make(map[string]*renew.Provider),
		noted: make(map[string]int), claiming: make(map[string]string), rests: make(map[string]time.Time),
	}
	w.mu.Unlock()

	p.trace("starts")
	w.ledger.begins(p.name, fmt.Sprint(machineOf(slot)))
	p.notes.Fault, p.notes.After = p.hook(false), p.hook(true)
	for _, t := range w.tenants {
		if p.providers[t.provider] == nil {
			p.providers[t.provider] = renew.NewProvider(t.provider, t.renewer, t.provider)
		}
	}
	p.cache = credential.NewCache(&storeView{process: p, told: make(map[credential.Key]time.Duration)},
		credential.CacheOptions{Timeout: cacheTimeout, StaleIfError: time.Hour, TTL: cacheTTL})
	p.coordinator = renew.New(p.cache, renew.Options{
		Name:      p.name,
		Journals:  func([]byte) (journal.Directory, error) { return journalView{p.notes, p}, nil },
		Provider:  func(name string) *renew.Provider { return p.providers[name] },
		Endpoints: dialer{p},
		Observe:   p.observe,
	})
	for _, t := range w.tenants {
		if !w.isPlayed() {
			p.clients.Go(func() { p.visit(t) })
		}
	}
	w.mu.Lock()
	w.slots[slot] = p
	w.mu.Unlock()
	p.coordinator.Start()
	return p
}

func (p *process) slotName() string { return fmt.Sprintf("p%d", p.slot) }

func (p *process) trace(format string, args ...any) {
	p.world.trace.add(p.name+" "+format, args...)
}

func (p *process) isDead() bool {
	select {
	case <-p.died:
		return true
	default:
		return false
	}
}

// stop stops the process: no edge lets it pass until it goes on.
func (p *process) stop(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trace("is stopped for %v", d)
	p.world.ledger.troubles(p.name, d)
	if until := time.Now().Add(d); until.After(p.stoppedUntil) {
		p.stoppedUntil = until
	}
}

func (p *process) stoppedFor() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Until(p.stoppedUntil)
}

func (p *process) stoppedSince(t time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stoppedUntil.After(t)
}

func (p *process) restOver(tenant string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rests[tenant]
}

// kill ends p, or with the power all that is on its machine. Others start after a
// while.
func (w *world) kill(p *process, power bool) {
	for slot := range w.slots {
		w.mu.Lock()
		victim := w.slots[slot]
		w.mu.Unlock()
		if victim == nil || victim != p && (!power || machineOf(slot) != machineOf(p.slot)) {
			continue
		}
		w.end(victim, power)
	}
}

func (w *world) end(p *process, power bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.isDead() {
		return
	}
	p.trace("dies, power=%v", power)
	if power {
		p.notes.LosePower()
	} else {
		p.notes.Kill()
	}
	w.ledger.dies(p.name)
	close(p.died)
	w.slots[p.slot] = nil
	w.ends.Go(func() { p.coordinator.Close() })
	if w.over {
		return
	}
	again := between(w.dice.at("restart "+p.slotName()), 100*time.Millisecond, 25*time.Second)
	if w.script != nil {
		return // a scene starts it, or does not
	}
	w.ends.Go(func() {
		w.pause(again)
		w.start(p.slot)
	})
}

// leave ends p in good order.
func (w *world) leave(p *process) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := p.coordinator.Wait(ctx); err != nil {
		w.ledger.violate(p.name, waits, "a flight does not end")
	}
	p.coordinator.Close()
}

// tenant is one credential and its provider.
type tenant struct {
	rules
	name     string
	provider string
	renewer  *oauth2.Renewer
}

func (t *tenant) key() credential.Key {
	return credential.Key{Provider: t.provider, Tenant: credential.Tenant(t.name)}
}
