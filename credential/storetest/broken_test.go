package storetest

import (
	"context"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// broken is a Store that breaks one promise: what is set replaces the method of
// the same name.
type broken struct {
	credential.Store
	get    func(s credential.Store, ctx context.Context, key credential.Key) (credential.Document, error)
	put    func(s credential.Store, ctx context.Context, key credential.Key, data []byte, version uint64) (uint64, error)
	delete func(s credential.Store, ctx context.Context, key credential.Key) error

	getVersion func(s credential.Store, ctx context.Context, key credential.Key, version uint64) (credential.Document, error)
	list       func(s credential.Store, ctx context.Context, provider string, after credential.Tenant, limit int) ([]credential.Tenant, error)
}

func (b broken) Get(ctx context.Context, key credential.Key) (credential.Document, error) {
	if b.get != nil {
		return b.get(b.Store, ctx, key)
	}
	return b.Store.Get(ctx, key)
}

func (b broken) GetVersion(ctx context.Context, key credential.Key, version uint64) (credential.Document, error) {
	if b.getVersion != nil {
		return b.getVersion(b.Store, ctx, key, version)
	}
	return b.Store.GetVersion(ctx, key, version)
}

func (b broken) Put(ctx context.Context, key credential.Key, data []byte, version uint64) (uint64, error) {
	if b.put != nil {
		return b.put(b.Store, ctx, key, data, version)
	}
	return b.Store.Put(ctx, key, data, version)
}

func (b broken) Delete(ctx context.Context, key credential.Key) error {
	if b.delete != nil {
		return b.delete(b.Store, ctx, key)
	}
	return b.Store.Delete(ctx, key)
}

func (b broken) List(ctx context.Context, provider string, after credential.Tenant, limit int) ([]credential.Tenant, error) {
	if b.list != nil {
		return b.list(b.Store, ctx, provider, after, limit)
	}
	return b.Store.List(ctx, provider, after, limit)
}

// changed is a store whose Get gives documents that change has been at.
func changed(change func(doc *credential.Document)) broken {
	return broken{get: func(s credential.Store, ctx context.Context, key credential.Key) (credential.Document, error) {
		doc, err := s.Get(ctx, key)
		if err == nil {
			change(&doc)
		}
		return doc, err
	}}
}

// renamed is a store that takes key for rename(key).
func renamed(rename func(credential.Key) credential.Key) broken {
	return broken{
		get: func(s credential.Store, ctx context.Context, key credential.Key) (credential.Document, error) {
			return s.Get(ctx, rename(key))
		},
		put: func(s credential.Store, ctx context.Context, key credential.Key, data []byte, version uint64) (uint64, error) {
			return s.Put(ctx, rename(key), data, version)
		},
		delete: func(s credential.Store, ctx context.Context, key credential.Key) error {
			return s.Delete(ctx, rename(key))
		},
	}
}

// shared hands out one buffer again and again.
var shared = func() broken {
	var buffer [1 << 10]byte
	return changed(func(doc *credential.Document) { doc.Data = buffer[:copy(buffer[:], doc.Data)] })
}()
