package schemes

import (
	"context"

	"github.com/upstreamauth/caddy-upstream-auth/vaultstore"
)

// Transit is a store that signs, too: Vault, with its Transit secrets engine.
type Transit interface {
	Sign(ctx context.Context, key vaultstore.TransitKey, algorithm string, input []byte) ([]byte, error)
}

// TransitUser is a scheme that may have a store sign.
type TransitUser interface {
	// UsesTransit reports whether it does.
	UsesTransit() bool

	// UseTransit says by what, after Provision, before it is used.
	UseTransit(Transit)
}

// transitKey is a [jwt.Signer].
type transitKey struct {
	key   vaultstore.TransitKey
	store Transit
}

// Sign implements [jwt.Signer].
func (k *transitKey) Sign(ctx context.Context, algorithm string, input []byte) ([]byte, error) {
	return k.store.Sign(ctx, k.key, algorithm, input)
}
