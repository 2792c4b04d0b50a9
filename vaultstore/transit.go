package vaultstore

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// DefaultTransitMount is where the Transit secrets engine is, if nothing is said.
const DefaultTransitMount = "transit"

// TransitKey names a key of Vault's Transit secrets engine, which signs with it and does
// not give it away.
type TransitKey struct{ Mount, Name string }

// ParseTransitKey reads [<mount>/]<name>.
func ParseTransitKey(text string) (TransitKey, error) {
	k := TransitKey{DefaultTransitMount, text}
	if slash := strings.LastIndexByte(text, '/'); slash >= 0 {
		k.Mount, k.Name = text[:slash], text[slash+1:]
	}
	return k, checkPath("vault_transit", k.Mount+"/"+k.Name)
}

// transitHashes are the hashes of the algorithms of RFC 7518 by their digits, in Transit's words.
var transitHashes = map[string]string{"256": "sha2-256", "384": "sha2-384", "512": "sha2-512"}

// Sign returns the signature of input that RFC 7518 wants for an algorithm
// (https://developer.hashicorp.com/vault/api-docs/secret/transit#sign-data). Besides ctx,
// the configured timeout bounds it. The error is a [credential.ErrUnavailable].
func (s *Store) Sign(ctx context.Context, key TransitKey, algorithm string, input []byte) ([]byte, error) {
	const doing = "signing with Vault's Transit"
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	defer s.leave()
	s.Open()
	body := map[string]any{"input": base64.StdEncoding.EncodeToString(input), "marshaling_algorithm": "jws"}
	if hash, ok := transitHashes[algorithm[2:]]; ok {
		body["hash_algorithm"] = hash
	}
	switch algorithm[:2] {
	case "RS":
		body["signature_algorithm"] = "pkcs1v15"
	case "PS":
		body["signature_algorithm"], body["salt_length"] = "pss", "hash"
	}
	path := key.Mount + "/sign/" + key.Name
	a, err := s.call(ctx, request{method: http.MethodPost, path: path, body: body})
	if err != nil {
		return nil, unavailable(doing, err)
	}
	if a.status != http.StatusOK {
		err := sessionError(a.status, messages(a.body)) // of no tenant, since none names the key
		if a.status == http.StatusForbidden && !slices.Contains(err.Messages, "invalid token") {
			return nil, unavailable(doing, &credential.PermissionError{Capabilities: []string{"update"}, Path: path})
		}
		return nil, unavailable(doing, fmt.Errorf("key %s: %w", key.Name, err))
	}
	var said struct{ Data struct{ Signature string } }
	if json.Unmarshal(a.body, &said) == nil { // vault:v1:…
		if parts := strings.Split(said.Data.Signature, ":"); len(parts) == 3 && parts[2] != "" {
			if signature, err := base64.RawURLEncoding.DecodeString(parts[2]); err == nil {
				return signature, nil
			}
		}
	}
	return nil, unavailable(doing, errors.New("the answer has no signature in it"))
}
