package jwt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

// DefaultLifetime is how long a JWT is good for, if nothing is said. [MinLifetime] is the
// least.
const (
	DefaultLifetime = 5 * time.Minute
	MinLifetime     = 10 * time.Second
)

// Config says what JWTs are made of.
type Config struct {
	// Algorithm is one of [Algorithms].
	Algorithm string

	// Key makes the key of the credential, or of the configuration alone: PEM (PKCS #1,
	// PKCS #8, SEC 1), DER, or a JWK (RFC 7517); for HMAC the bytes of the secret, or a JWK.
	Key *template.Template

	// KeyFile has the key instead. It is read anew for each JWT.
	KeyFile string

	// Signer has it instead, and does not give it away.
	Signer Signer

	// Header has parameters of the header besides alg, and typ unless that is "JWT". Each
	// is a string.
	Header []Field

	// Claims are those besides iat, nbf, exp and jti, which are set unless they are here. A
	// dot in a name stands before the name of a member, as in account.id, unless '\' stands
	// before it. A claim that is there several times is an array.
	Claims []Field

	// Lifetime is how long after its iat a JWT expires. Default: [DefaultLifetime].
	Lifetime time.Duration
}

// Templates are those of c.
func (c *Config) Templates() (all []*template.Template) {
	if c.Key != nil {
		all = append(all, c.Key)
	}
	for _, f := range slices.Concat(c.Header, c.Claims) {
		all = append(all, f.Value)
	}
	return all
}

// Field is a parameter of the header, or a claim. A claim that is one field of the
// credential has that one's JSON value, of any type; others are strings.
type Field struct {
	Name  string
	Value *template.Template
}

// Signer signs with a key that it keeps.
type Signer interface {
	// Sign returns the signature of input that RFC 7518 wants for an algorithm of
	// [Algorithms].
	Sign(ctx context.Context, algorithm string, input []byte) ([]byte, error)
}

// fixedHeader are the parameters of the header that say what the signature is of.
var fixedHeader = []string{"alg", "b64", "crit"}

// Minter makes JWTs of credentials. It is safe for concurrent use.
type Minter struct {
	Config
	claims object
	file   *keyFile // nil: the key is not in a file
}

// New checks a configuration.
func New(c Config) (*Minter, error) {
	m := &Minter{Config: c, claims: make(object)}
	if m.Lifetime == 0 {
		m.Lifetime = DefaultLifetime
	}
	given := 0
	for _, there := range []bool{c.Key != nil, c.KeyFile != "", c.Signer != nil} {
		if there {
			given++
		}
	}
	if err := CheckAlgorithm(c.Algorithm); err != nil {
		return nil, err
	}
	switch {
	case given == 0:
		return nil, errors.New("key is missing")
	case given > 1:
		return nil, errors.New("there is more than one key")
	case c.Signer != nil && isHMAC(c.Algorithm):
		return nil, fmt.Errorf("algorithm %s takes a secret, and none that somebody else keeps", c.Algorithm)
	case m.Lifetime < MinLifetime:
		return nil, fmt.Errorf("lifetime is below %v", MinLifetime)
	}
	for i, f := range c.Header {
		switch {
		case f.Name == "":
			return nil, errors.New("a header has no name")
		case slices.Contains(fixedHeader, f.Name):
			return nil, fmt.Errorf("header %s cannot be set", f.Name)
		case slices.ContainsFunc(c.Header[:i], func(other Field) bool { return other.Name == f.Name }):
			return nil, fmt.Errorf("header %s is given twice", f.Name)
		}
		if err := f.Value.CheckLiterals(template.Text); err != nil {
			return nil, fmt.Errorf("header %s: %w", f.Name, err)
		}
	}
	for _, f := range c.Claims {
		if err := f.Value.CheckLiterals(template.Text); err != nil {
			return nil, fmt.Errorf("claim %s: %w", f.Name, err)
		}
		if err := m.claims.add(f); err != nil {
			return nil, err
		}
	}
	if c.KeyFile != "" {
		m.file = &keyFile{name: c.KeyFile, algorithm: c.Algorithm}
	}
	return m, nil
}

// CheckAlgorithm reports whether JWTs can be signed with an algorithm.
func CheckAlgorithm(algorithm string) error {
	switch {
	case algorithm == "":
		return errors.New("algorithm is missing")
	case !slices.Contains(Algorithms, algorithm):
		return fmt.Errorf("algorithm %q is none of %s", algorithm, strings.Join(Algorithms, ", "))
	}
	return nil
}

// CheckKey reports whether the key can be used, if it is in the configuration, or in a
// file, and in no credential.
func (m *Minter) CheckKey() error {
	switch {
	case m.file != nil:
		_, err := m.file.read()
		return err
	case m.Key == nil || m.Key.UsesCredential():
		return nil
	}
	text, err := m.Key.Execute(nil)
	if err != nil {
		return err
	}
	if _, wrong := parseKey(text, m.Algorithm); wrong != "" {
		return fmt.Errorf("key %s", wrong)
	}
	return nil
}

// Describe adds what is needed of a credential. What the key is made of is not to be
// shown.
func (m *Minter) Describe(b *template.SchemaBuilder) {
	if m.Key != nil {
		b.Require(m.Key)
		for _, path := range m.Key.Paths() {
			b.Token(path, true)
		}
	}
	for _, f := range m.Header {
		b.Require(f.Value)
	}
	for _, f := range m.Claims {
		b.RequireJSON(f.Value)
	}
}
