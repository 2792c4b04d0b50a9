package bearer

import (
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

// parseKeySet reads a JWK set (RFC 7517 section 5). Keys in it that cannot verify
// a signature are left out: of a kind or size that is not accepted, secret or
// private, or made for something else. The library refuses the set for one of them.
func parseKeySet(data []byte) (*jose.JSONWebKeySet, error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if credential.DeeperThan(data, maxDepth) || json.Unmarshal(data, &document) != nil || document.Keys == nil {
		return nil, errNotKeySet // without the library's error, which quotes from the document
	}
	set := &jose.JSONWebKeySet{}
	for _, raw := range document.Keys {
		if key, ok := parseKey(raw); ok {
			set.Keys = append(set.Keys, key)
		}
	}
	if len(set.Keys) > maxKeys {
		return nil, errTooManyKeys
	}
	return set, nil
}

// parseKey reads one JWK, and returns false if it cannot verify a signature.
func parseKey(data []byte) (key jose.JSONWebKey, ok bool) {
	var parameters struct {
		KeyOps  *[]string        `json:"key_ops"` // of which the library takes no notice
		Secret  *json.RawMessage `json:"k"`
		Private *json.RawMessage `json:"d"`
	}
	switch err := json.Unmarshal(data, &parameters); {
	case err != nil:
		return key, false
	// Before the library looks at a private key, which it does at length.
	case parameters.Secret != nil, parameters.Private != nil:
		return key, false
	case parameters.KeyOps != nil && !slices.Contains(*parameters.KeyOps, "verify"):
		return key, false
	}
	if json.Unmarshal(data, &key) != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
		return key, false
	}
	public, isRSA := key.Key.(*rsa.PublicKey)
	return key, !isRSA || public.N.BitLen() >= minRSABits
}

// verify returns the payload of token if a key of set signed it: one that has the
// id that token names, if it names one. The library sees to it that a key is of the
// kind that the algorithm takes, but not to the algorithm that the key is made for.
func verify(token *jose.JSONWebSignature, set *jose.JSONWebKeySet) ([]byte, error) {
	header, keys := token.Signatures[0].Protected, set.Keys
	if header.KeyID != "" {
		keys = set.Key(header.KeyID)
	}
	if len(keys) == 0 {
		return nil, errUnknownKey
	}
	for _, key := range keys {
		if key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := token.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	return nil, errSignature
}
