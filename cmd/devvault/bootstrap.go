package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/helper/namespace"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/vault"
)

// keys is what an operator keeps after `vault operator init`.
type keys struct {
	UnsealKey string `json:"unseal_key"` // base64, as sys/unseal takes it
	RootToken string `json:"root_token"`
}

// bootstrap makes core ready for requests: a new one is initialised, an old one
// unsealed with the keys that lie beside its data.
func bootstrap(ctx context.Context, core *vault.Core, st *storage, rootToken string) (keys, error) {
	if st.keys == nil {
		k, err := initialise(ctx, core, rootToken)
		if err != nil {
			return keys{}, fmt.Errorf("initialising: %w", err)
		}
		if err := st.commit(k); err != nil {
			return keys{}, fmt.Errorf("keeping the keys: %w", err)
		}
		return k, nil
	}

	k := *st.keys
	if rootToken != "" && rootToken != k.RootToken {
		return keys{}, errors.New("the data directory was made with another root token: give that one, or none, to -dev-root-token-id")
	}
	if err := unseal(core, k.UnsealKey); err != nil {
		return keys{}, fmt.Errorf("unsealing with the key from the data directory: %w", err)
	}
	awaitKV(ctx, core, k.RootToken)
	return k, nil
}

// initialise does on an empty core what `vault server -dev` does: one unseal
// key, the wanted root token, KV version 2 at secret/.
func initialise(ctx context.Context, core *vault.Core, rootToken string) (keys, error) {
	res, err := core.Initialize(namespace.RootContext(ctx), &vault.InitParams{
		BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1},
	})
	if err != nil {
		return keys{}, err
	}
	k := keys{
		UnsealKey: base64.StdEncoding.EncodeToString(res.SecretShares[0]),
		RootToken: res.RootToken,
	}
	if err := unseal(core, k.UnsealKey); err != nil {
		return keys{}, err
	}

	if rootToken != "" {
		_, err := request(ctx, core, k.RootToken, logical.UpdateOperation, "auth/token/create", map[string]any{
			"id":                rootToken,
			"policies":          []string{"root"},
			"no_parent":         true,
			"no_default_policy": true,
		})
		if err != nil {
			return keys{}, err
		}
		if _, err := request(ctx, core, k.RootToken, logical.UpdateOperation, "auth/token/revoke-self", nil); err != nil {
			return keys{}, err
		}
		k.RootToken = rootToken
	}

	_, err = request(ctx, core, k.RootToken, logical.UpdateOperation, "sys/mounts/secret", map[string]any{
		"type":        "kv",
		"description": "key/value secret storage",
		"options":     map[string]string{"version": "2"},
	})
	if err != nil {
		return keys{}, err
	}
	awaitKV(ctx, core, k.RootToken)
	return k, nil
}

func unseal(core *vault.Core, key string) error {
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		return err
	}
	unsealed, err := core.Unseal(raw)
	if err != nil {
		return err
	}
	if !unsealed {
		return errors.New("one key is not enough: it was rekeyed to several")
	}
	return nil
}

// awaitKV waits until secret/ takes requests. KV version 2 sets itself up in the
// background and refuses them meanwhile, with the error that is asked for here.
// Any other answer, such as that the mount is gone, is none of our business.
func awaitKV(ctx context.Context, core *vault.Core, token string) {
	for range 100 {
		_, err := request(ctx, core, token, logical.ReadOperation, "secret/config", nil)
		if !errors.Is(err, logical.ErrInvalidRequest) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
