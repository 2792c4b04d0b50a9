package simulation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
)

// vault is the store that all share. Its mutex makes a write one with the
// ledger's knowledge of it.
type vault struct {
	*storetest.Memory
	world *world
	mu    sync.Mutex

	downUntil time.Time
	hangs     bool
}

// down reports whether nobody gets an answer, and whether they wait for it.
func (v *vault) down() (down, hangs bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Now().Before(v.downUntil) && !v.world.isCalm(), v.hangs
}

// put writes for a process.
func (v *vault) put(by *process, key credential.Key, data []byte, version uint64, issued, told time.Duration) (uint64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	number, err := v.Put(context.Background(), key, data, version)
	if err == nil && key != credential.JournalKey() {
		d := parse(data)
		by.trace("%s: version %d is %s, %s %s of %s", key.Tenant, number, d.refresh, d.status, short(d.nonce), short(d.print))
		by.trace("%s: record %s", key.Tenant, gjson.GetBytes(data, "_upstream_auth").Raw)
		v.world.ledger.writes(by.name, string(key.Tenant), d, issued, told)
	}
	return number, err
}

// storeView is the store as one process sees it.
type storeView struct {
	*process
	mu   sync.Mutex
	told map[credential.Key]time.Duration // when the coordinator was told last that there is no document
}

var _ credential.Store = (*storeView)(nil)

// locked reports whether the coordinator holds a mutex while it asks for key.
func locked(key credential.Key) bool { return key == credential.JournalKey() }

func unavailable(err error) error { return fmt.Errorf("%w: %w", credential.ErrUnavailable, err) }

// request is one that reaches the vault.
func (s *storeView) request(ctx context.Context, e edge) (fault, error) {
	f, err := s.meet(ctx, e)
	if err != nil {
		return f, unavailable(err)
	}
	if down, hangs := s.world.vault.down(); down {
		if hangs && !e.locked {
			s.sleep(ctx, time.Hour)
		}
		s.world.ledger.troubles(s.name, 0)
		return f, unavailable(errLost)
	}
	if f.kind == fail {
		return f, unavailable(errLost)
	}
	return f, nil
}

func (s *storeView) Get(ctx context.Context, key credential.Key) (credential.Document, error) {
	return s.get(ctx, key, true, func() (credential.Document, error) { return s.world.vault.Get(ctx, key) })
}

func (s *storeView) GetVersion(ctx context.Context, key credential.Key, version uint64) (credential.Document, error) {
	return s.get(ctx, key, false, func() (credential.Document, error) { return s.world.vault.GetVersion(ctx, key, version) })
}

func (s *storeView) get(ctx context.Context, key credential.Key, newest bool, read func() (credential.Document, error)) (credential.Document, error) {
	if _, err := s.request(ctx, edge{op: "get", account: string(key.Tenant), locked: locked(key)}); err != nil {
		return credential.Document{}, err
	}
	doc, err := read()
	// The cache's reads have a shorter deadline than the coordinator's.
	if deadline, ok := ctx.Deadline(); newest && errors.Is(err, credential.ErrNotFound) && ok && time.Until(deadline) > cacheTimeout {
		s.mu.Lock()
		s.told[key] = s.world.now()
		s.mu.Unlock()
	}
	if _, err := s.request(ctx, edge{op: "get", account: string(key.Tenant), locked: locked(key), after: true}); err != nil {
		return credential.Document{}, err
	}
	if s.world.profile.coarseClock {
		doc.ReadAt = doc.ReadAt.Truncate(time.Second)
	}
	return doc, err
}

func (s *storeView) Put(ctx context.Context, key credential.Key, data []byte, version uint64) (uint64, error) {
	s.mu.Lock()
	issued, told := s.world.now(), s.told[key]
	s.mu.Unlock()
	status := parse(data).status
	if !locked(key) && !s.isDead() {
		s.world.ledger.offers(s.name, string(key.Tenant), parse(data))
	}
	f, err := s.request(ctx, edge{op: "put", account: string(key.Tenant), locked: locked(key), status: status})
	if err != nil {
		return 0, err
	}
	if f.kind == late {
		s.world.late.Go(func() {
			s.world.pause(f.delay)
			s.trace("%s: a late write lands", key.Tenant)
			_, _ = s.world.vault.put(s.process, key, data, version, issued, told)
		})
		s.sleep(ctx, f.delay/2)
		return 0, unavailable(errLost)
	}
	number, err := s.world.vault.put(s.process, key, data, version, issued, told)
	f, lost := s.request(ctx, edge{op: "put", account: string(key.Tenant), locked: locked(key), status: status, after: true})
	switch {
	case lost != nil:
		return 0, lost
	case f.kind == lie && err == nil:
		return 0, credential.ErrConflict
	}
	return number, err
}

func (s *storeView) Delete(context.Context, credential.Key) error {
	panic("the coordinator deletes nothing")
}

func (s *storeView) List(context.Context, string, credential.Tenant, int) ([]credential.Tenant, error) {
	panic("the coordinator lists nothing")
}
