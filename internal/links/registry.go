package links

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Registry keeps links in a store. It is safe for concurrent use.
type Registry struct {
	store credential.Store
	keys  *keys
	turns turns
}

// New makes a registry of what is in store.
func New(store credential.Store) *Registry {
	return &Registry{store: store, keys: &keys{store: store}}
}

// registered is the document with the links of one tenant.
type registered struct {
	Links map[string]Link `json:"links"` // by the Fingerprint of their ids
}

// Add registers a link to connect an account to key. What is over goes. The error is a
// [QuotaError], or the store's.
func (r *Registry) Add(ctx context.Context, key credential.Key, id string, l Link) error {
	return r.change(ctx, key, func(d *registered) error {
		now := time.Now()
		first := l.Expires
		for known, other := range d.Links {
			if other.isOver(now) {
				delete(d.Links, known)
			} else if other.Expires.Before(first) {
				first = other.Expires
			}
		}
		if len(d.Links) >= MaxLinks {
			return &QuotaError{What: "links of one tenant are open", RetryAfter: first.Sub(now)}
		}
		if d.Links == nil {
			d.Links = make(map[string]Link)
		}
		d.Links[Fingerprint(id)] = l
		return nil
	})
}

// Get returns a link to connect an account to key. The error is [ErrUsed], a
// [QuotaError], or the store's.
func (r *Registry) Get(ctx context.Context, key credential.Key, id string) (*Link, error) {
	done, err := r.turns.take(ctx, key)
	if err != nil {
		return nil, err
	}
	defer done()
	var d registered
	if _, err := readDocument(ctx, r.store, key.Links(), &d); err != nil {
		return nil, fmt.Errorf("read the tenant's links: %w", err)
	}
	return d.find(id)
}

func (d *registered) find(id string) (*Link, error) {
	l, known := d.Links[Fingerprint(id)]
	if !known || l.Used {
		return nil, ErrUsed
	}
	return &l, nil
}

// Update changes a link that is not used, for all replicas at once, and returns what it
// is then. If changed returns an error, that is the error, and nothing was changed. Other
// errors are those of Get.
func (r *Registry) Update(ctx context.Context, key credential.Key, id string, changed func(*Link) error) (l *Link, err error) {
	err = r.change(ctx, key, func(d *registered) error {
		if l, err = d.find(id); err == nil {
			err = changed(l)
		}
		if err == nil {
			d.Links[Fingerprint(id)] = *l
		}
		return err
	})
	return l, err
}

// GiveBack makes a link good again with which no account was connected after all. One
// that was withdrawn meanwhile stays so.
func (r *Registry) GiveBack(ctx context.Context, key credential.Key, id string) error {
	return r.change(ctx, key, func(d *registered) error {
		if l, known := d.Links[Fingerprint(id)]; known {
			l.Used = false
			d.Links[Fingerprint(id)] = l
		}
		return nil
	})
}

// Withdraw makes all links to connect an account to key useless.
func (r *Registry) Withdraw(ctx context.Context, key credential.Key) error {
	return r.change(ctx, key, func(d *registered) error {
		clear(d.Links)
		return nil
	})
}

// WithdrawAll makes all links of the store useless, at other replicas within [keysTTL].
func (r *Registry) WithdrawAll(ctx context.Context) error { return r.keys.replace(ctx) }

// change changes the links of key by check-and-set.
func (r *Registry) change(ctx context.Context, key credential.Key, changed func(*registered) error) error {
	done, err := r.turns.take(ctx, key)
	if err != nil {
		return err
	}
	defer done()
	for range rounds {
		var d registered
		version, err := readDocument(ctx, r.store, key.Links(), &d)
		if err != nil {
			return fmt.Errorf("read the tenant's links: %w", err)
		}
		if err := changed(&d); err != nil {
			return err
		}
		err = writeDocument(ctx, r.store, key.Links(), &d, version)
		if err == nil {
			return nil
		}
		if !errors.Is(err, credential.ErrConflict) {
			return fmt.Errorf("write the tenant's links: %w", err)
		}
	}
	return fmt.Errorf("write the tenant's links: %w", credential.ErrConflict)
}
