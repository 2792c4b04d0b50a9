package authserver

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"net/http"

	"github.com/go-jose/go-jose/v4"
	"github.com/ory/fosite/token/jwt"
)

// keyID names the key of the ID tokens, in their headers and in the key set.
const keyID = "2026-01"

// newKey makes an RSA key, which takes a while: only who needs it pays for it.
func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // no randomness
	}
	return key
}

// signer signs ID tokens, by RS256, as the behaviour in the context says.
type signer struct {
	jwt.DefaultSigner
	foreign jwt.DefaultSigner
}

func newSigner(own, foreign func() *rsa.PrivateKey) *signer {
	return &signer{
		DefaultSigner: jwt.DefaultSigner{GetPrivateKey: func(context.Context) (any, error) { return own(), nil }},
		foreign:       jwt.DefaultSigner{GetPrivateKey: func(context.Context) (any, error) { return foreign(), nil }},
	}
}

// Generate implements [jwt.Signer].
func (s *signer) Generate(ctx context.Context, claims jwt.MapClaims, header jwt.Mapper) (token, signature string, err error) {
	behaviour, _ := ctx.Value(behaviourKey{}).(Behaviour)
	if behaviour.Claims != nil {
		behaviour.Claims(claims)
	}
	if behaviour.ForeignKey {
		return s.foreign.Generate(ctx, claims, header)
	}
	return s.DefaultSigner.Generate(ctx, claims, header)
}

type behaviourKey struct{}

func withBehaviour(ctx context.Context, b Behaviour) context.Context {
	return context.WithValue(ctx, behaviourKey{}, b)
}

// jwks is the key set (RFC 7517 section 5) that ID tokens are verified with.
func (s *Server) jwks(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: s.key().Public(), KeyID: keyID, Algorithm: string(jose.RS256), Use: "sig"},
	}})
}
