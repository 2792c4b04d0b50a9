// Package canary looks for secrets where none may be: in logs, error pages,
// configuration dumps, metrics. It knows a secret again in plain text, in base64
// at any alignment, in hex, URL-encoded and escaped as in JSON, and also the
// halves of a long one.
package canary

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
)

// minLength is the length of the shortest secret in bytes. Shorter ones would be
// found by chance.
const minLength = 12

// Collector holds the secrets of a run. Its zero value holds none.
type Collector struct {
	mu      sync.RWMutex
	known   map[string]bool
	byStart map[uint64][]pattern // by the first 8 bytes of the pattern
	filter  [1 << 10]uint64      // one bit for each hash of a start
}

type pattern struct {
	text   []byte
	secret string // its name
	form   string
}

// Leak is a place where a secret stands. It does not repeat the secret.
type Leak struct {
	Source string // what was scanned
	Secret string // the name that the secret was added under
	Form   string // how it is encoded
	Offset int    // in bytes from the start of the source
}

func (l Leak) String() string {
	return fmt.Sprintf("%s: %s in %s at byte %d", l.Source, l.Secret, l.Form, l.Offset)
}

// Add adds a secret under a name to report it by. Adding it again changes
// nothing. A secret shorter than 12 bytes is a mistake of the caller's.
func (c *Collector) Add(name, secret string) {
	if len(secret) < minLength {
		panic("canary: " + name + " is too short to be told from chance")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known[secret] {
		return
	}
	if c.known == nil {
		c.known = make(map[string]bool)
		c.byStart = make(map[uint64][]pattern)
	}
	c.known[secret] = true
	for form, text := range encodings(secret) {
		start := binary.LittleEndian.Uint64(text)
		c.byStart[start] = append(c.byStart[start], pattern{text: text, secret: name, form: form})
		h := hash(start)
		c.filter[h/64] |= 1 << (h % 64)
	}
}

// Len is the number of secrets.
func (c *Collector) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.known)
}

// Scan returns the places in text where a secret stands.
func (c *Collector) Scan(source string, text []byte) []Leak {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var leaks []Leak
	for i := 0; i+8 <= len(text); i++ {
		start := binary.LittleEndian.Uint64(text[i:])
		if h := hash(start); c.filter[h/64]&(1<<(h%64)) == 0 {
			continue
		}
		for _, p := range c.byStart[start] {
			if bytes.HasPrefix(text[i:], p.text) {
				leaks = append(leaks, Leak{Source: source, Secret: p.secret, Form: p.form, Offset: i})
			}
		}
	}
	return leaks
}

// hash maps a start to a bit of the filter: multiplicative hashing by 2^64 over
// the golden ratio.
func hash(start uint64) uint64 { return start * 0x9E3779B97F4A7C15 >> 48 }
