package bearer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
)

// maxSecret is the size of the largest file that is taken for a secret, in bytes.
const maxSecret = 64 << 10

// secretFile is a [source]: the path of a file with a shared secret.
type secretFile string

func (path secretFile) current(context.Context) (*keySet, error) {
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
		secret = append(secret[:len(secret):len(secret)], make([]byte, short)...)
	}
	return &keySet{keys: []key{{anyID: true, material: secret, algorithms: secretAlgorithms}}}, nil
}

func (path secretFile) after(_ context.Context, old *keySet) *keySet { return old }

// keySetFile is a [source]: a file with a JWK set.
type keySetFile struct {
	path string

	mu      sync.Mutex
	content []byte
	keys    *keySet // what content says; nil if nothing was read yet
}

func (f *keySetFile) current(context.Context) (*keySet, error) {
	content, err := readFile(f.path, maxKeySet)
	if err != nil {
		return nil, fmt.Errorf("%w: JWK set: %w", ErrUnavailable, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// Neither size nor time of change tells two contents apart for sure.
	if f.keys != nil && bytes.Equal(content, f.content) {
		return f.keys, nil
	}
	keys, err := parseKeySet(content)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, f.path, err)
	}
	f.content, f.keys = content, keys
	return keys, nil
}

func (f *keySetFile) after(_ context.Context, old *keySet) *keySet { return old }

// readFile returns what is in a regular file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	// Looked at before it is opened, which would wait for ever on a pipe.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", path, errNotRegular)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s: %w", path, errFileTooLarge)
	}
	return content, nil
}
