package world

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"

	"github.com/hashicorp/vault/api"
)

// MountTransit has Vault sign, with keys that it keeps.
func (w *World) MountTransit() {
	w.Helper()
	w.Check(w.Vault.Root.Sys().MountWithContext(w.Ctx, "transit", &api.MountInput{Type: "transit"}))
}

// TransitKey makes a key of Vault's, and returns what verifies its signatures.
func (w *World) TransitKey(name, kind string) crypto.PublicKey {
	w.Helper()
	path := "transit/keys/" + name
	_, err := w.Vault.Root.Logical().WriteWithContext(w.Ctx, path, map[string]any{"type": kind})
	w.Check(err)
	secret, err := w.Vault.Root.Logical().ReadWithContext(w.Ctx, path)
	w.Check(err)
	text := secret.Data["keys"].(map[string]any)["1"].(map[string]any)["public_key"].(string)
	if block, _ := pem.Decode([]byte(text)); block != nil {
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		w.Check(err)
		return public
	}
	raw, err := base64.StdEncoding.DecodeString(text) // Ed25519
	w.Check(err)
	return ed25519.PublicKey(raw)
}
