package connect

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
)

const (
	saltSize = 16

	// maxSealed bounds a link or a state in characters.
	maxSealed = 4096
)

// What is sealed. Each kind has a key of its own, so that one never opens as the
// other.
const (
	linkKind  = "link"
	stateKind = "state"
)

var encoding = base64.RawURLEncoding.Strict()

// sealer seals what a browser carries and brings back, so that nobody can read or
// change it.
type sealer struct{ key []byte }

// seal returns v, as JSON and sealed, in characters that need no escape in a URL:
// a salt, a nonce, and the sealed text with its tag.
func (s *sealer) seal(kind string, v any) (string, error) {
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false) // six characters for each '&' of an address
	if err := encoder.Encode(v); err != nil {
		return "", err
	}
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // Never fails.
	aead, err := s.aead(kind, salt)
	if err != nil {
		return "", err
	}
	return encoding.EncodeToString(slices.Concat(salt, aead.Seal(nil, nil, plain.Bytes(), nil))), nil
}

// open is the reverse of seal. The error is [ErrForged].
func (s *sealer) open(kind, text string, v any) error {
	if len(text) > maxSealed || strings.ContainsAny(text, "\r\n") { // which base64 would skip
		return ErrForged
	}
	sealed, err := encoding.DecodeString(text)
	if err != nil || len(sealed) < saltSize {
		return ErrForged
	}
	aead, err := s.aead(kind, sealed[:saltSize])
	if err != nil {
		return ErrForged
	}
	plain, err := aead.Open(nil, nil, sealed[saltSize:], nil)
	if err != nil || json.Unmarshal(plain, v) != nil {
		return ErrForged
	}
	return nil
}

// aead has a key for each text, from its salt: so the shared key is not limited to
// the 2^32 texts that random nonces allow (NIST SP 800-38D, 8.3).
func (s *sealer) aead(kind string, salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, s.key, salt, "upstream_auth connect: "+kind, KeySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
