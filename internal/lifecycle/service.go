package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

const (
	// storeTimeout bounds one operation of the store.
	storeTimeout = 5 * time.Second

	// rounds is how often a write is tried that somebody else got ahead of.
	rounds = 5
)

// Service takes in credentials of one store. It outlives configurations and is safe
// for concurrent use.
type Service struct {
	cache   *credential.Cache
	store   credential.Store
	fetches *fetches
}

// New makes a service for the store behind cache, and notes in cache what it
// writes and deletes.
func New(cache *credential.Cache) *Service {
	return &Service{cache: cache, store: cache.Store(), fetches: newFetches()}
}

// Get reads the credential of tenant from the store, past the cache. Errors:
// [credential.ErrNotFound], [credential.ErrInvalid], [credential.ErrUnavailable].
func (e *Service) Get(ctx context.Context, p *upstream.Provider, tenant credential.Tenant) (*credential.Credential, error) {
	cred, _, err := e.read(ctx, p.Key(tenant))
	return cred, err
}

// List returns tenants that have a credential, in ascending order, those after one,
// at most limit. Errors: [credential.ErrUnavailable].
func (e *Service) List(ctx context.Context, p *upstream.Provider, after credential.Tenant, limit int) ([]credential.Tenant, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return e.store.List(ctx, p.Name, after, limit)
}

// read returns the newest credential and the version to write against, which is
// known after [credential.ErrNotFound] and [credential.ErrInvalid], too.
func (e *Service) read(ctx context.Context, key credential.Key) (*credential.Credential, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	doc, err := e.store.Get(ctx, key)
	if err != nil {
		return nil, doc.Version, err
	}
	cred, err := credential.New(doc)
	return cred, doc.Version, err
}

// Change is one write of a credential.
type Change struct {
	// Document replaces the credential: a JSON object without
	// [credential.ReservedField]. Nil leaves it as it is.
	Document []byte

	// Disabled, if not nil, switches refreshes of the credential off or on.
	Disabled *bool

	// If has to hold.
	If Precondition

	// By says who writes, for those who look at the credential later: "api", say.
	By string

	Logger *slog.Logger // default: nowhere
}

// Put writes a tenant's credential. A document is checked and tried first; what the
// refresh protocol keeps in the present one goes over to it. One that says the same
// as the present one is not written again. Requests through this process use the
// new credential from then on.
//
// Errors: [credential.ErrInvalid]; an [upstream.TestError]; [ErrPrecondition];
// [credential.ErrNotFound] if there is nothing to switch; [credential.ErrConflict]
// if others kept writing; [credential.ErrReadOnly]; [credential.ErrUnavailable],
// which leaves open whether the write was made.
func (e *Service) Put(ctx context.Context, p *upstream.Provider, tenant credential.Tenant, c Change) (*credential.Credential, error) {
	if c.Document != nil {
		accepted, err := accept(ctx, p, c.Document)
		if err != nil {
			return nil, err
		}
		c.Document = accepted
	}
	key := p.Key(tenant)
	for range rounds {
		began := time.Now()
		present, version, err := e.read(ctx, key)
		if err != nil && !errors.Is(err, credential.ErrNotFound) && !errors.Is(err, credential.ErrInvalid) {
			return nil, fmt.Errorf("read the present credential: %w", err)
		}
		if err := c.If.check(present, err); err != nil {
			return nil, err
		}
		if present != nil && c.changesNothing(p, present) {
			e.cache.SetSince(key, present, began)
			return present, nil
		}
		if c.Document == nil && present == nil {
			return nil, err
		}
		written, err := e.write(ctx, key, c, present, version)
		if errors.Is(err, credential.ErrConflict) {
			continue
		}
		if err == nil && c.Logger != nil {
			c.Logger.Info("credential written", "provider", p.Name, "version", written.Version(), "by", c.By)
		}
		return written, err
	}
	return nil, fmt.Errorf("write the credential: %w", credential.ErrConflict)
}

// Check returns what a document that was brought would be as a credential, without sending
// it anywhere. The error is a [credential.ErrInvalid].
func Check(p *upstream.Provider, document []byte) (*credential.Credential, error) {
	if err := credential.CheckInput(document); err != nil {
		return nil, err
	}
	cred, err := credential.New(credential.Document{Data: document})
	if err != nil {
		return nil, err
	}
	return cred, p.Check(cred)
}

// accept returns a new document that can become a credential: with a token, if it came
// without one and is tested.
func accept(ctx context.Context, p *upstream.Provider, document []byte) ([]byte, error) {
	cred, err := Check(p, document)
	if err != nil {
		return nil, err
	}
	tested, err := p.Try(ctx, cred)
	if err != nil {
		return nil, err
	}
	return tested.Stored(), nil
}

// changesNothing reports whether c would write what is there.
func (c Change) changesNothing(p *upstream.Provider, present *credential.Credential) bool {
	return (c.Document == nil || sameJSON(c.Document, present.JSON())) &&
		(c.Disabled == nil || *c.Disabled == renew.StatusOf(p.Renewer, present).Disabled)
}

// write makes one check-and-set.
func (e *Service) write(ctx context.Context, key credential.Key, c Change, present *credential.Credential, version uint64) (*credential.Credential, error) {
	document, err := c.over(present)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	began := time.Now()
	written, err := e.store.Put(ctx, key, document, version)
	if errors.Is(err, credential.ErrUnavailable) {
		e.cache.Forget(key)
	}
	if err != nil {
		return nil, fmt.Errorf("write the credential: %w", err)
	}
	cred, err := credential.New(credential.Document{Data: document, Version: written, WrittenAt: time.Now()})
	if err != nil {
		return nil, fmt.Errorf("read the credential as written: %w", err)
	}
	e.cache.SetSince(key, cred, began)
	return cred, nil
}

// over makes the document to be written of the present one, nil if there is none.
func (c Change) over(present *credential.Credential) ([]byte, error) {
	var document []byte
	if c.Document == nil {
		document = present.Stored()
	} else {
		var err error
		if document, err = renew.Carry(present, c.Document, c.By); err != nil {
			return nil, err
		}
	}
	if c.Disabled == nil {
		return document, nil
	}
	cred, err := credential.New(credential.Document{Data: document})
	if err != nil {
		return nil, err
	}
	return renew.SetDisabled(cred, *c.Disabled)
}

// sameJSON reports whether two documents say the same.
func sameJSON(a, b []byte) bool {
	var values [2]any
	for i, document := range [][]byte{a, b} {
		d := json.NewDecoder(strings.NewReader(string(document)))
		d.UseNumber()
		if d.Decode(&values[i]) != nil {
			return false
		}
	}
	return reflect.DeepEqual(values[0], values[1])
}
