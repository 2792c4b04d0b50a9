package renew_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
)

// All see that there is none, and make one.
func TestSharedKeyIsMadeOnce(t *testing.T) {
	const processes = 20
	store := storetest.NewMemory()
	var makers sync.WaitGroup
	makers.Add(processes)
	store.Fault = func(op string, _ credential.Key) error {
		if op == storetest.OpPut {
			makers.Done()
			makers.Wait()
		}
		return nil
	}
	keys := make([][]byte, processes)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			var err error
			if keys[i], err = renew.SharedKey(t.Context(), store); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, key := range keys {
		if len(key) != 32 || !bytes.Equal(key, keys[0]) || bytes.Equal(key, make([]byte, 32)) {
			t.Errorf("%d bytes, or two keys", len(key))
		}
	}
}

func TestSharedKeyIsReadBackWhenItsAnswerIsLost(t *testing.T) {
	store := storetest.NewMemory()
	store.After = func(op string, _ credential.Key) error {
		if op == storetest.OpPut {
			return credential.ErrUnavailable
		}
		return nil
	}
	_, err := renew.SharedKey(t.Context(), store)
	wantError(t, nil, err, renew.ErrFailed)
	wantError(t, nil, err, credential.ErrUnavailable)
	if key, err := renew.SharedKey(t.Context(), store); err != nil || len(key) != 32 || store.Puts() != 1 {
		t.Errorf("got %d bytes, %v, after %d writes", len(key), err, store.Puts())
	}
}
