package links

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

const (
	saltSize = 16

	// maxSealed bounds what is opened, in characters.
	maxSealed = 4096
)

// ErrForged is a text that was not sealed with one of our keys, or was changed.
var ErrForged = errors.New("link or state does not open")

var encoding = base64.RawURLEncoding.Strict()

// Seal returns v, as JSON and sealed, in characters that need no escape in a URL:
// a salt, a nonce, and the sealed text with its tag. Each kind of text has keys of its
// own, so that one never opens as the other.
func (r *Registry) Seal(ctx context.Context, kind string, v any) (string, error) {
	keys, err := r.keys.get(ctx)
	if err != nil {
		return "", err
	}
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false) // six characters for each '&' of an address
	if err := encoder.Encode(v); err != nil {
		return "", err
	}
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // Never fails.
	aead, err := newAEAD(keys[0], kind, salt)
	if err != nil {
		return "", err
	}
	return encoding.EncodeToString(slices.Concat(salt, aead.Seal(nil, nil, plain.Bytes(), nil))), nil
}

// Open is the reverse of Seal. The error is [ErrForged], or that there are no keys.
func (r *Registry) Open(ctx context.Context, kind, text string, v any) error {
	if len(text) > maxSealed || strings.ContainsAny(text, "\r\n") { // which base64 would skip
		return ErrForged
	}
	sealed, err := encoding.DecodeString(text)
	if err != nil || len(sealed) < saltSize {
		return ErrForged
	}
	keys, err := r.keys.get(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		aead, err := newAEAD(key, kind, sealed[:saltSize])
		if err != nil {
			return err
		}
		if plain, err := aead.Open(nil, nil, sealed[saltSize:], nil); err == nil && json.Unmarshal(plain, v) == nil {
			return nil
		}
	}
	return ErrForged
}

// newAEAD has a key for each text, from its salt: so the shared key is not limited to
// the 2^32 texts that random nonces allow (NIST SP 800-38D, 8.3).
func newAEAD(shared []byte, kind string, salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, shared, salt, "upstream_auth connect: "+kind, keySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
