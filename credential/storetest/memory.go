package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Names of the operations that the hooks of [Memory] are given.
const (
	OpGet    = "get"
	OpPut    = "put"
	OpDelete = "delete"
	OpList   = "list"
)

// Memory is a [credential.Store] in memory that passes [TestStore] and fails when
// told to. It starts no goroutine that outlives a call whose hooks return, and so
// can be used inside a testing/synctest bubble.
//
// The hooks are set before the first use; one that is to change its mind does its
// own locking. They may block and may use the store: no lock is held while they
// run, and a call whose context ends meanwhile returns [credential.ErrUnavailable]
// at once, as a call to a store that hangs does. A hook is not called for what a
// Store refuses without asking: an invalid key, data that is no JSON object, a
// context that has ended.
type Memory struct {
	// Fault, if set, is called before each operation with one of [OpGet], [OpPut],
	// [OpDelete] and [OpList], whose key has no tenant. An error keeps the operation
	// from being done and is its answer.
	Fault func(op string, key credential.Key) error

	// After, if set, is called once the operation is done, whatever came of it.
	// An error replaces its answer: the answer was lost on the way.
	After func(op string, key credential.Key) error

	mu        sync.Mutex
	documents map[credential.Key]document
	history   map[credential.Key]map[uint64]credential.Document
	calls     map[string]int
}

type document struct {
	credential.Document
	deleted bool
}

var _ credential.Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		documents: make(map[credential.Key]document),
		history:   make(map[credential.Key]map[uint64]credential.Document),
		calls:     make(map[string]int),
	}
}

// Gets is how often Get got as far as [Memory.Fault], failures included.
func (m *Memory) Gets() int { return m.count(OpGet) }

// Puts is how often Put got as far as [Memory.Fault], failures included.
func (m *Memory) Puts() int { return m.count(OpPut) }

// Deletes is how often Delete got as far as [Memory.Fault], failures included.
func (m *Memory) Deletes() int { return m.count(OpDelete) }

// Get implements [credential.Store].
func (m *Memory) Get(ctx context.Context, key credential.Key) (credential.Document, error) {
	var found credential.Document
	err := m.do(ctx, OpGet, key, func() error {
		d := m.documents[key]
		if d.Version == 0 || d.deleted {
			found.Version = d.Version
			return credential.ErrNotFound
		}
		found = d.Document
		found.ReadAt = time.Now()
		return nil
	})
	switch {
	case errors.Is(err, credential.ErrNotFound):
		return credential.Document{Version: found.Version}, err
	case err != nil:
		return credential.Document{}, err
	}
	return found, nil
}

// GetVersion implements [credential.Store]. It keeps all versions. For the hooks
// and the counters it is an [OpGet].
func (m *Memory) GetVersion(ctx context.Context, key credential.Key, version uint64) (credential.Document, error) {
	var found credential.Document
	err := m.do(ctx, OpGet, key, func() error {
		d, kept := m.history[key][version]
		if !kept {
			return credential.ErrNotFound
		}
		found = d
		found.ReadAt = time.Now()
		if !d.DeletedAt.IsZero() || d.Data == nil {
			found.Data = nil
			return credential.ErrNotFound
		}
		return nil
	})
	switch {
	case errors.Is(err, credential.ErrNotFound):
		return found, err
	case err != nil:
		return credential.Document{}, err
	}
	return found, nil
}

// Put implements [credential.Store].
func (m *Memory) Put(ctx context.Context, key credential.Key, data []byte, version uint64) (uint64, error) {
	if _, err := credential.New(credential.Document{Data: data}); err != nil {
		return 0, err
	}
	err := m.do(ctx, OpPut, key, func() error {
		if m.documents[key].Version != version {
			return credential.ErrConflict
		}
		written := credential.Document{Data: bytes.Clone(data), Version: version + 1, WrittenAt: time.Now()}
		m.documents[key] = document{Document: written}
		if m.history[key] == nil {
			m.history[key] = make(map[uint64]credential.Document)
		}
		m.history[key][written.Version] = written
		return nil
	})
	if err != nil {
		return 0, err
	}
	return version + 1, nil
}

// Delete implements [credential.Store].
func (m *Memory) Delete(ctx context.Context, key credential.Key) error {
	return m.do(ctx, OpDelete, key, func() error {
		if d, ok := m.documents[key]; ok {
			d.Data, d.deleted = nil, true
			m.documents[key] = d
			gone := m.history[key][d.Version]
			gone.DeletedAt = time.Now()
			m.history[key][d.Version] = gone
		}
		return nil
	})
}

// List implements [credential.Store]. As Vault does, it names deleted documents too.
func (m *Memory) List(ctx context.Context, provider string, after credential.Tenant, limit int) ([]credential.Tenant, error) {
	if err := credential.CheckProvider(provider); err != nil {
		return nil, err
	}
	var tenants []credential.Tenant
	err := m.ask(ctx, OpList, credential.Key{Provider: provider}, func() error {
		for key := range m.documents {
			if key.Provider == provider && key.Tenant > after {
				tenants = append(tenants, key.Tenant)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(tenants)
	return tenants[:min(len(tenants), max(limit, 0))], nil
}

// Undelete brings the newest version back, as `vault kv undelete` does. It is for
// tests that play an operator, and calls no hook.
func (m *Memory) Undelete(key credential.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.documents[key]; d.deleted && m.history[key][d.Version].Data != nil {
		d.Document, d.deleted = m.history[key][d.Version], false
		d.DeletedAt = time.Time{}
		m.documents[key], m.history[key][d.Version] = d, d.Document
	}
}

// Destroy removes what is in versions for good, as `vault kv destroy` does. It is for
// tests that play an operator, and calls no hook.
func (m *Memory) Destroy(key credential.Key, versions ...uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, number := range versions {
		if v, kept := m.history[key][number]; kept {
			m.history[key][number] = credential.Document{Version: v.Version, WrittenAt: v.WrittenAt}
		}
		if d := m.documents[key]; d.Version == number {
			d.Data, d.deleted = nil, true
			m.documents[key] = d
		}
	}
}

// do applies one operation on a document between its hooks.
func (m *Memory) do(ctx context.Context, op string, key credential.Key, apply func() error) error {
	if err := key.Check(); err != nil {
		return err
	}
	return m.ask(ctx, op, key, apply)
}

// ask applies one operation between its hooks.
func (m *Memory) ask(ctx context.Context, op string, key credential.Key, apply func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", credential.ErrUnavailable, err)
	}
	m.mu.Lock()
	m.calls[op]++
	m.mu.Unlock()

	if err := call(ctx, m.Fault, op, key); err != nil {
		return err
	}
	m.mu.Lock()
	answer := apply()
	m.mu.Unlock()
	if err := call(ctx, m.After, op, key); err != nil {
		return err
	}
	return answer
}

// call runs a hook for no longer than ctx lasts.
func call(ctx context.Context, hook func(string, credential.Key) error, op string, key credential.Key) error {
	if hook == nil {
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- hook(op, key) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", credential.ErrUnavailable, ctx.Err())
	}
}

func (m *Memory) count(op string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[op]
}
