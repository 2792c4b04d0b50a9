package vaultstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestParseTransitKey(t *testing.T) {
	for text, want := range map[string]TransitKey{
		"app": {"transit", "app"}, "engines/signing/app-1": {"engines/signing", "app-1"}, "": {}, "/app": {}, "app/": {}, "../app": {}, "a b": {}, "a%2fb": {},
	} {
		got, err := ParseTransitKey(text)
		if (err != nil) != (want == TransitKey{}) || err == nil && got != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}

// publicKey returns that of the newest version of a key.
func (v *realVault) publicKey(path string) any {
	v.t.Helper()
	secret, err := v.root.Logical().ReadWithContext(v.t.Context(), path)
	if err != nil {
		v.t.Fatal(err)
	}
	text := secret.Data["keys"].(map[string]any)["1"].(map[string]any)["public_key"].(string)
	if block, _ := pem.Decode([]byte(text)); block != nil {
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			v.t.Fatal(err)
		}
		return public
	}
	raw, err := base64.StdEncoding.DecodeString(text) // Ed25519
	if err != nil {
		v.t.Fatal(err)
	}
	return ed25519.PublicKey(raw)
}

func TestTransitSigns(t *testing.T) {
	v := startVault(t)
	v.write("sys/mounts/transit", map[string]any{"type": "transit"})
	v.write("sys/mounts/engines/signing", map[string]any{"type": "transit"})
	v.write("sys/policies/acl/upstream-auth", map[string]any{"policy": leastPrivilege + `
		path "transit/sign/allowed-*" { capabilities = ["update"] }
		path "engines/signing/sign/allowed" { capabilities = ["update"] }`})
	for name, kind := range map[string]string{
		"transit/keys/allowed-rsa": "rsa-2048", "transit/keys/allowed-ec": "ecdsa-p256", "transit/keys/allowed-ed": "ed25519",
		"transit/keys/other": "rsa-2048", "engines/signing/keys/allowed": "ecdsa-p256",
	} {
		v.write(name, map[string]any{"type": kind})
	}
	s := newStore(t, v.byToken("upstream-auth"))
	input := []byte("header.payload")
	digest := sha256.Sum256(input)
	for _, test := range []struct {
		key, algorithm, at string
		verify             func(public any, signature []byte) bool
	}{
		{"allowed-rsa", "RS256", "transit/keys/allowed-rsa", func(public any, signature []byte) bool {
			return rsa.VerifyPKCS1v15(public.(*rsa.PublicKey), crypto.SHA256, digest[:], signature) == nil
		}},
		{"allowed-rsa", "PS256", "transit/keys/allowed-rsa", func(public any, signature []byte) bool {
			return rsa.VerifyPSS(public.(*rsa.PublicKey), crypto.SHA256, digest[:], signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}},
		{"allowed-ec", "ES256", "transit/keys/allowed-ec", verifiesES256(digest[:])},
		{"engines/signing/allowed", "ES256", "engines/signing/keys/allowed", verifiesES256(digest[:])},
		{"allowed-ed", "EdDSA", "transit/keys/allowed-ed", func(public any, signature []byte) bool {
			return ed25519.Verify(public.(ed25519.PublicKey), input, signature)
		}},
	} {
		key, err := ParseTransitKey(test.key)
		if err != nil {
			t.Fatal(err)
		}
		signature, err := s.Sign(t.Context(), key, test.algorithm, input)
		if err != nil || !test.verify(v.publicKey(test.at), signature) {
			t.Errorf("%s with %s: %v", test.algorithm, test.key, err)
		}
	}

	_, err := s.Sign(t.Context(), TransitKey{"transit", "other"}, "RS256", input)
	if permission, ok := errors.AsType[*credential.PermissionError](err); !ok || permission.Error() != "the store's policy does not allow update on transit/sign/other" {
		t.Errorf("a key that is not allowed: %v", err)
	}
	signature, err := s.Sign(t.Context(), TransitKey{"transit", "allowed-absent"}, "RS256", input)
	if !errors.Is(err, credential.ErrUnavailable) || signature != nil || !strings.Contains(err.Error(), "key allowed-absent: Vault answered with status") {
		t.Errorf("a key that is not there: %v", err)
	}
}

func verifiesES256(digest []byte) func(any, []byte) bool {
	return func(public any, signature []byte) bool {
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		return len(signature) == 64 && ecdsa.Verify(public.(*ecdsa.PublicKey), digest, r, s)
	}
}
