package bearer

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

const (
	// maxKeySet is the size of the largest JWK set in bytes.
	maxKeySet = 256 << 10

	// maxKeys bounds what a forged token that names no key costs: each is tried.
	maxKeys = 64

	// minRSABits is the size of the smallest RSA key (RFC 7518 section 3.3). The
	// largest is what the library takes, 4096.
	minRSABits = 2048
)

// key is one that verifies signatures.
type key struct {
	id         string // "" if it has none
	anyID      bool   // counts for tokens that name any key: the one shared secret
	material   any    // what the library takes as a key
	algorithms []jose.SignatureAlgorithm
}

// keySet is what tokens are verified with. It is never changed once made.
type keySet struct {
	keys []key
}

// parseKeySet reads a JWK set (RFC 7517 section 5). Keys in it that cannot verify
// a signature are left out: of a kind or size that is not accepted, secret or
// private, or made for something else.
func parseKeySet(data []byte) (*keySet, error) {
	if credential.DeeperThan(data, maxDepth) {
		return nil, errNotKeySet
	}
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &document); err != nil || document.Keys == nil {
		return nil, errNotKeySet // without err, which quotes from the document
	}
	set := &keySet{}
	for _, raw := range document.Keys {
		if k, ok := parseKey(raw); ok {
			set.keys = append(set.keys, k)
		}
	}
	if len(set.keys) > maxKeys {
		return nil, errTooManyKeys
	}
	return set, nil
}

// parseKey reads one JWK, and returns false if it cannot verify a signature.
func parseKey(data []byte) (key, bool) {
	var parameters struct {
		Use       string           `json:"use"`
		KeyOps    *[]string        `json:"key_ops"`
		Algorithm string           `json:"alg"`
		Secret    *json.RawMessage `json:"k"`
		Private   *json.RawMessage `json:"d"`
	}
	if err := json.Unmarshal(data, &parameters); err != nil {
		return key{}, false
	}
	switch {
	// Before the library looks at a private key, which it does at length.
	case parameters.Secret != nil, parameters.Private != nil:
		return key{}, false
	case parameters.Use != "" && parameters.Use != "sig":
		return key{}, false
	case parameters.KeyOps != nil && !slices.Contains(*parameters.KeyOps, "verify"):
		return key{}, false
	}
	var jwk jose.JSONWebKey
	if err := json.Unmarshal(data, &jwk); err != nil || !jwk.Valid() || !jwk.IsPublic() {
		return key{}, false
	}
	algorithms := algorithmsOf(jwk.Key)
	if own := jose.SignatureAlgorithm(parameters.Algorithm); own != "" {
		algorithms = slices.DeleteFunc(algorithms, func(a jose.SignatureAlgorithm) bool { return a != own })
	}
	return key{id: jwk.KeyID, material: jwk.Key, algorithms: algorithms}, len(algorithms) > 0
}

// algorithmsOf returns the algorithms that a public key can verify.
func algorithmsOf(public any) []jose.SignatureAlgorithm {
	switch public := public.(type) {
	case *rsa.PublicKey:
		if public.N.BitLen() >= minRSABits {
			return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
		}
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256():
			return []jose.SignatureAlgorithm{jose.ES256}
		case elliptic.P384():
			return []jose.SignatureAlgorithm{jose.ES384}
		case elliptic.P521():
			return []jose.SignatureAlgorithm{jose.ES512}
		}
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA}
	}
	return nil
}

// verify returns the payload of t if one of the keys signed it: one that has the
// id that t names, if it names one.
func (s *keySet) verify(t *token) ([]byte, error) {
	known, fit := false, false
	for _, k := range s.keys {
		if t.keyID != "" && k.id != t.keyID && !k.anyID {
			continue
		}
		known = true
		if !slices.Contains(k.algorithms, t.algorithm) {
			continue
		}
		fit = true
		if payload, err := t.signed.Verify(k.material); err == nil {
			return payload, nil
		}
	}
	switch {
	case !known:
		return nil, errUnknownKey
	case !fit:
		return nil, errKeyUnfit
	default:
		return nil, errSignature
	}
}
