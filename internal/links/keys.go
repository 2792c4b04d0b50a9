package links

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const (
	keySize = 32

	// keyLife is how long a key seals. It opens for as long again, which no link lasts.
	keyLife = 7 * 24 * time.Hour

	// keysTTL is how long keys are used before they are read anew: how long a replica
	// takes at most to hear that all links were withdrawn.
	keysTTL = 10 * time.Second
)

var errKeys = errors.New("keys of links are not available")

// keys has those of the document at [credential.LinksKey].
type keys struct {
	store  credential.Store
	flight singleflight.Group

	mu     sync.Mutex
	loaded [][]byte
	until  time.Time
}

// keysDocument has the key that seals, and the one before it.
type keysDocument struct {
	Keys []sealingKey `json:"keys"`
}

type sealingKey struct {
	Key  []byte    `json:"key"` // base64
	Made time.Time `json:"made"`
}

// get returns the keys, the one that seals first.
func (k *keys) get(ctx context.Context) ([][]byte, error) {
	if loaded := k.known(); loaded != nil {
		return loaded, nil
	}
	flight := k.flight.DoChan("", func() (any, error) {
		if loaded := k.known(); loaded != nil { // since the last flight ended
			return loaded, nil
		}
		// Detached: others wait for it too.
		return k.change(context.WithoutCancel(ctx), rotate)
	})
	select {
	case result := <-flight:
		loaded, _ := result.Val.([][]byte)
		return loaded, result.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (k *keys) known() [][]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !time.Now().Before(k.until) {
		return nil
	}
	return k.loaded
}

// replace makes a new key and drops all others.
func (k *keys) replace(ctx context.Context) error {
	_, err := k.change(ctx, func([]sealingKey) []sealingKey { return []sealingKey{newKey()} })
	return err
}

// rotate puts a new key before one that has sealed for long enough. It returns nil if
// there is nothing to change.
func rotate(held []sealingKey) []sealingKey {
	switch {
	case len(held) == 0:
		return []sealingKey{newKey()}
	case time.Since(held[0].Made) > keyLife:
		return []sealingKey{newKey(), held[0]}
	}
	return nil
}

func newKey() sealingKey {
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // never fails
	return sealingKey{Key: key, Made: time.Now().UTC()}
}

// change reads the keys, has them changed unless changed returns nil, and remembers them.
func (k *keys) change(ctx context.Context, changed func([]sealingKey) []sealingKey) (loaded [][]byte, err error) {
	for range rounds {
		var d keysDocument
		version, err := readDocument(ctx, k.store, credential.LinksKey(), &d)
		if err == nil {
			if next := changed(d.Keys); next != nil {
				d.Keys = next
				err = writeDocument(ctx, k.store, credential.LinksKey(), &d, version)
			}
		}
		switch {
		case errors.Is(err, credential.ErrConflict):
			continue // another replica was faster
		case err != nil:
			return nil, fmt.Errorf("%w: %w", errKeys, err)
		}
		for _, one := range d.Keys {
			if len(one.Key) != keySize {
				return nil, fmt.Errorf("%w: %w", errKeys, errDamaged)
			}
			loaded = append(loaded, one.Key)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.loaded, k.until = loaded, time.Now().Add(keysTTL)
		return loaded, nil
	}
	return nil, fmt.Errorf("%w: %w", errKeys, credential.ErrConflict)
}
