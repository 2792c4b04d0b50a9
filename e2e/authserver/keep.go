package authserver

import (
	"context"

	"github.com/ory/fosite"
	"github.com/ory/fosite/storage"
)

// store is fosite's memory store, which rotates a refresh token unless the behaviour
// in the context wants it kept.
type store struct{ *storage.MemoryStore }

// RotateRefreshToken implements fosite's TokenRevocationStorage. The access token
// that came with a kept one is revoked like any other.
func (s store) RotateRefreshToken(ctx context.Context, requestID, signature string) error {
	if keeps(ctx) {
		return s.RevokeAccessToken(ctx, requestID)
	}
	return s.MemoryStore.RotateRefreshToken(ctx, requestID, signature)
}

// CreateRefreshTokenSession implements fosite's RefreshTokenStorage: beside a kept
// token there is no other.
func (s store) CreateRefreshTokenSession(ctx context.Context, signature, accessSignature string, request fosite.Requester) error {
	if keeps(ctx) {
		return nil
	}
	return s.MemoryStore.CreateRefreshTokenSession(ctx, signature, accessSignature, request)
}

func keeps(ctx context.Context) bool {
	behaviour, _ := ctx.Value(behaviourKey{}).(Behaviour)
	return behaviour.Keep
}
