package bearer

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/go-jose/go-jose/v4"
)

// maxSecret is the size of the largest file that is taken for a secret, in bytes.
const maxSecret = 64 << 10

// secretFile is a [source]: the path of a file with a shared secret.
type secretFile string

func (path secretFile) verify(_ context.Context, token *jose.JSONWebSignature) ([]byte, error) {
	content, err := readFile(string(path), maxSecret)
	if err != nil {
		return nil, fmt.Errorf("%w: secret: %w", ErrUnavailable, err)
	}
	secret := bytes.TrimSuffix(bytes.TrimSuffix(content, []byte("\n")), []byte("\r"))
	if len(secret) == 0 {
		return nil, fmt.Errorf("%w: secret: %s: %w", ErrUnavailable, path, errEmptySecret)
	}
	// The library refuses secrets that are shorter than the hash, which exist. HMAC
	// fills a key up with zeros itself (RFC 2104 section 2), to 64 bytes or more.
	if short := 64 - len(secret); short > 0 {
		secret = append(secret, make([]byte, short)...)
	}
	payload, err := token.Verify(secret)
	if err != nil {
		return nil, errSignature
	}
	return payload, nil
}

// keySetFile is a [source]: the path of a file with a JWK set.
type keySetFile string

func (path keySetFile) verify(_ context.Context, token *jose.JSONWebSignature) ([]byte, error) {
	content, err := readFile(string(path), maxKeySet)
	if err != nil {
		return nil, fmt.Errorf("%w: JWK set: %w", ErrUnavailable, err)
	}
	keys, err := parseKeySet(content)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, path, err)
	}
	return verify(token, keys)
}

// readFile returns what is in a regular file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	// Looked at before it is opened, which would wait for ever on a pipe.
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: %w", path, errNotRegular)
	case info.Size() > limit:
		return nil, fmt.Errorf("%s: %w", path, errFileTooLarge)
	}
	return os.ReadFile(path)
}
