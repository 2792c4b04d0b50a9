package jwt

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

// maxSkew is how much later than ours a verifier's clock may be, so that a new JWT is good
// there: its iat and nbf are so much earlier, or a tenth of a lifetime that is short.
const maxSkew = 10 * time.Second

// Source makes JWTs of one version of a credential. It is safe for concurrent use.
type Source struct {
	minter *Minter
	header map[string]string
	claims map[string]any
	key    *key // nil: it is in a file, or nobody gives it away
}

// Token is a JWT.
type Token struct {
	Text                string
	MintedAt, ExpiresAt time.Time
}

// Bind checks one version of a credential, and prepares it. The error is a
// [credential.FieldError].
func (m *Minter) Bind(c *credential.Credential) (*Source, error) {
	s := &Source{minter: m, header: make(map[string]string, len(m.Header))}
	for _, f := range m.Header {
		value, err := f.Value.ExecuteWith(c, template.Text)
		if err != nil {
			return nil, err
		}
		s.header[f.Name] = value
	}
	var err error
	if s.claims, err = m.claims.execute(c); err != nil {
		return nil, err
	}
	if m.Key == nil {
		return s, nil
	}
	text, err := m.Key.ExecuteWith(c, template.NotEmpty)
	if err != nil {
		return nil, err
	}
	var wrong string
	if s.key, wrong = parseKey(text, m.Algorithm); wrong != "" {
		return nil, &credential.FieldError{Path: strings.Join(m.Key.Paths(), ", "), Reason: wrong}
	}
	return s, nil
}

// Mint makes a new JWT. If the key cannot be had for now, the error is a
// [credential.ErrUnavailable].
func (s *Source) Mint(ctx context.Context) (Token, error) {
	now := time.Now()
	m := s.minter
	issued := now.Add(-min(maxSkew, m.Lifetime/10))
	expires := issued.Add(m.Lifetime)
	claims := maps.Clone(s.claims)
	for name, value := range map[string]any{"iat": issued.Unix(), "nbf": issued.Unix(), "exp": expires.Unix(), "jti": rand.Text()} {
		if _, given := claims[name]; !given {
			claims[name] = value
		}
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return Token{}, errors.New("the claims are not JSON")
	}
	signer, err := s.signer(ctx)
	if err != nil {
		return Token{}, err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return Token{}, err
	}
	text, err := signed.CompactSerialize()
	return Token{Text: text, MintedAt: now, ExpiresAt: time.Unix(expires.Unix(), 0)}, err
}

// signer returns what signs with the key of the moment.
func (s *Source) signer(ctx context.Context) (jose.Signer, error) {
	m, k := s.minter, s.key
	algorithm := jose.SignatureAlgorithm(m.Algorithm)
	opts := new(jose.SignerOptions).WithType("JWT")
	switch {
	case m.Signer != nil:
		k = &key{private: opaque(func(input []byte) ([]byte, error) {
			signature, err := m.Signer.Sign(ctx, m.Algorithm, input)
			if err == nil && !fits(signature, m.Algorithm) {
				err = fmt.Errorf("%w: what signs has no key for %s", credential.ErrUnavailable, m.Algorithm)
			}
			return signature, err
		})}
	case m.file != nil:
		var err error
		if k, err = m.file.read(); err != nil {
			return nil, fmt.Errorf("%w: %w", credential.ErrUnavailable, err)
		}
	}
	if secret, ok := k.private.([]byte); ok {
		k = &key{private: opaque(func(input []byte) ([]byte, error) { return sum(m.Algorithm, secret, input), nil }), id: k.id}
	}
	if k.id != "" {
		opts.WithHeader("kid", k.id)
	}
	for name, value := range s.header {
		opts.WithHeader(jose.HeaderKey(name), value)
	}
	return jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: k.private}, opts)
}

// fits reports whether a signature has the length of one of an algorithm: whoever keeps a
// key signs with it whatever it is for.
func fits(signature []byte, algorithm string) bool {
	switch algorithm[:2] {
	case "ES":
		return len(signature) == 2*((curveBits[algorithm]+7)/8)
	case "Ed":
		return len(signature) == ed25519.SignatureSize
	default:
		return len(signature) >= minRSA/8
	}
}

// sum is HMAC (RFC 2104). The secret is what the API gave out: some are shorter than the
// hash, as RFC 7518 does not have it, and as go-jose does not take it.
func sum(algorithm string, secret, input []byte) []byte {
	mac := hmac.New(map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}[algorithm], secret)
	mac.Write(input)
	return mac.Sum(nil)
}

// opaque is a [jose.OpaqueSigner].
type opaque func(input []byte) ([]byte, error)

func (opaque) Public() *jose.JSONWebKey { return nil }

func (opaque) Algs() []jose.SignatureAlgorithm {
	all := make([]jose.SignatureAlgorithm, len(Algorithms))
	for i, algorithm := range Algorithms {
		all[i] = jose.SignatureAlgorithm(algorithm)
	}
	return all
}

func (o opaque) SignPayload(input []byte, _ jose.SignatureAlgorithm) ([]byte, error) { return o(input) }
