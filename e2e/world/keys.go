package world

import (
	"crypto/rand"
	"sync"
)

// apiKeys are those that the upstream takes: of each tenant the newest.
type apiKeys struct {
	mu     sync.Mutex
	newest map[string]string // tenant to key
}

// owner tells whose key this is, if it is the newest.
func (k *apiKeys) owner(key string) (tenant string, current bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for tenant, newest := range k.newest {
		if key == newest {
			return tenant, true
		}
	}
	return "", false
}

// NewKey issues a key for a tenant. The upstream takes its older ones no longer.
func (w *World) NewKey(tenant string) string {
	key := `k"3'y/` + rand.Text()
	w.Secrets.Add("an API key", key)
	w.keys.mu.Lock()
	defer w.keys.mu.Unlock()
	if w.keys.newest == nil {
		w.keys.newest = make(map[string]string)
	}
	w.keys.newest[tenant] = key
	return key
}

// KeyDocument is a credential as the SDKs' examples send it.
type KeyDocument struct {
	APIKey string `json:"apiKey"`
}

// HoldsKey checks that Vault has a key of a tenant's and nothing beside it.
func (w *World) HoldsKey(tenant, key string) error {
	return w.holdsDocument(tenant, map[string]any{"apiKey": key})
}
