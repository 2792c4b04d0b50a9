package links

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const (
	// storeTimeout bounds one operation of the store.
	storeTimeout = 5 * time.Second

	// rounds is how often a write is tried that somebody else got ahead of.
	rounds = 10
)

var errDamaged = errors.New("what the store has of links is damaged")

// readDocument reads what lies at key into v, which stays as it is if there is nothing.
func readDocument(ctx context.Context, store credential.Store, key credential.Key, v any) (version uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	doc, err := store.Get(ctx, key)
	switch {
	case errors.Is(err, credential.ErrNotFound):
		return doc.Version, nil
	case err != nil:
		return 0, err
	}
	if json.Unmarshal(doc.Data, v) != nil {
		return 0, errDamaged
	}
	return doc.Version, nil
}

// writeDocument writes v at key if its version is still the one that was read.
func writeDocument(ctx context.Context, store credential.Store, key credential.Key, v any, version uint64) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err = store.Put(ctx, key, data, version)
	return err
}
