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

// minSecret is the size of the shortest secret for an algorithm, in bytes: that of its
// hash (RFC 7518 section 3.2).
var minSecret = map[jose.SignatureAlgorithm]int{jose.HS256: 32, jose.HS384: 48, jose.HS512: 64}

// secretFile is a [source]: the path of a file with a shared secret.
type secretFile string

func (path secretFile) verify(_ context.Context, token *jose.JSONWebSignature) ([]byte, error) {
	secret, err := path.read(jose.SignatureAlgorithm(token.Signatures[0].Protected.Algorithm))
	if err != nil {
		return nil, fmt.Errorf("%w: secret: %w", ErrUnavailable, err)
	}
	payload, err := token.Verify(secret)
	if err != nil {
		return nil, errSignature
	}
	return payload, nil
}

// read returns the secret, which has to be long enough for these algorithms.
func (path secretFile) read(algorithms ...jose.SignatureAlgorithm) ([]byte, error) {
	content, err := readFile(string(path), maxSecret)
	if err != nil {
		return nil, err
	}
	secret := bytes.TrimSuffix(bytes.TrimSuffix(content, []byte("\n")), []byte("\r"))
	if len(secret) == 0 {
		return nil, fmt.Errorf("%s: %w", path, errEmptySecret)
	}
	for _, algorithm := range algorithms {
		if least := minSecret[algorithm]; len(secret) < least {
			return nil, fmt.Errorf("%s: %w: %s takes %d bytes or more", path, errShortSecret, algorithm, least)
		}
	}
	return secret, nil
}

// checkSecret reports what keeps the shared secret, if there is one, from serving.
func (c *Config) checkSecret() error {
	if c.Token.SecretFile == "" {
		return nil
	}
	algorithms, err := c.algorithms()
	if err != nil {
		return err
	}
	_, err = secretFile(c.Token.SecretFile).read(algorithms...)
	return err
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
