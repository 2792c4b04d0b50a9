package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// longestWait is how long a call may take. Nothing in it waits for the store.
const longestWait = 15 * time.Second

// visit makes requests for a tenant until the process or the run ends.
func (p *process) visit(t *tenant) {
	w := p.world
	for {
		r := w.dice.at("visit " + p.slotName() + " " + t.name)
		p.nap(between(r, 0, 2*time.Second))
		if p.runs() != nil || w.isOver() {
			return
		}
		switch n := r.IntN(20); {
		case n == 0: // somebody who does not wait
			ctx, cancel := context.WithTimeout(context.Background(), between(r, 0, time.Second))
			_ = p.request(ctx, t)
			cancel()
		case n < 3: // several at once
			for range 2 {
				p.clients.Go(func() { _ = p.request(context.Background(), t) })
			}
			fallthrough
		default:
			if p.request(context.Background(), t) == nil {
				w.note(p.slot, t)
			}
		}
	}
}

// nap waits, unless the process dies or the run is over.
func (p *process) nap(d time.Duration) { wait(d, p.died, p.world.done, nil) }

var errRefused = errors.New("the upstream said 401 twice")

// request is one request through the sidecar, as package wire makes it.
func (p *process) request(ctx context.Context, t *tenant) error {
	cred, err := p.cache.Get(ctx, t.key())
	if err != nil {
		return err
	}
	provider := p.providers[t.provider]
	p.coordinator.Ahead(provider, credential.Tenant(t.name), cred)
	if p.world.server.accepts(t, cred.Get("access_token").Str) {
		return nil
	}
	began := time.Now()
	fresh, err := p.coordinator.Refresh(ctx, provider, credential.Tenant(t.name), cred)
	if took := time.Since(began); took > longestWait && !p.stoppedSince(began) {
		p.world.ledger.violate(t.name, waits, "%v in %s: %v", took, p.name, err)
	}
	if err != nil {
		return err
	}
	if token := fresh.Get("access_token").Str; !p.world.server.accepts(t, token) {
		p.coordinator.Rejected(provider, credential.Tenant(t.name), fresh)
		return fmt.Errorf("%w: %s", errRefused, token)
	}
	p.coordinator.Accepted(provider, credential.Tenant(t.name), fresh)
	return nil
}
