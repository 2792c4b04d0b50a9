package renew

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const sharedKeySize = 32

// sharedKeyDocument is the document at [credential.JournalKey].
type sharedKeyDocument struct {
	Key string `json:"key"` // base64
}

// SharedKey returns 32 random bytes that all processes of one store have in common:
// journals are sealed with them. If there are none yet they are made, create-only.
// The error is an [ErrFailed].
func SharedKey(ctx context.Context, store credential.Store) ([]byte, error) {
	return sharedKey(ctx, store, true)
}

// sharedKey is SharedKey, or nil if there is no key and create is false.
func sharedKey(ctx context.Context, store credential.Store, create bool) ([]byte, error) {
	for {
		key, version, err := readSharedKey(ctx, store)
		if err != nil || key != nil || !create {
			return key, err
		}
		if err := makeSharedKey(ctx, store, version); err != nil && !errors.Is(err, credential.ErrConflict) {
			return nil, fmt.Errorf("%w: make the journals' key: %w", ErrFailed, err)
		}
		// Read what is there now, whoever made it.
	}
}

func readSharedKey(ctx context.Context, store credential.Store) (key []byte, version uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	doc, err := store.Get(ctx, credential.JournalKey())
	switch {
	case errors.Is(err, credential.ErrNotFound):
		return nil, doc.Version, nil
	case err != nil:
		return nil, 0, fmt.Errorf("%w: read the journals' key: %w", ErrFailed, err)
	}
	var held sharedKeyDocument
	err = json.Unmarshal(doc.Data, &held)
	if err == nil {
		key, err = base64.StdEncoding.DecodeString(held.Key)
	}
	if err != nil || len(key) != sharedKeySize {
		return nil, 0, fmt.Errorf("%w: the journals' key in the store is damaged", ErrFailed)
	}
	return key, doc.Version, nil
}

func makeSharedKey(ctx context.Context, store credential.Store, version uint64) error {
	key := make([]byte, sharedKeySize)
	_, _ = rand.Read(key) // never fails
	data, err := json.Marshal(sharedKeyDocument{base64.StdEncoding.EncodeToString(key)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err = store.Put(ctx, credential.JournalKey(), data, version)
	return err
}
