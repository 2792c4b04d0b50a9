package bearer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// DefaultTenantClaim is the claim that holds the tenant.
const DefaultTenantClaim = "id"

// DefaultMaxLifetime is the longest that a token is good for.
const DefaultMaxLifetime = Lifetime(24 * time.Hour)

// Lifetime is a duration, in JSON a text such as "24h" or a number of nanoseconds.
type Lifetime time.Duration

// UnmarshalJSON implements [json.Unmarshaler].
func (l *Lifetime) UnmarshalJSON(text []byte) error {
	if json.Unmarshal(text, (*int64)(l)) == nil {
		return nil
	}
	var words string
	if err := json.Unmarshal(text, &words); err != nil {
		return err
	}
	d, err := time.ParseDuration(words)
	*l = Lifetime(d)
	return err
}

// The algorithms (RFC 7518 section 3.1, RFC 8037 section 3.1) that each kind of
// source can be used with. They have none in common: a public key that somebody
// takes for a shared secret verifies nothing.
var (
	secretAlgorithms = []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512}
	keySetAlgorithms = []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
		jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	}
)

// Config says which tokens are accepted.
type Config struct {
	// How the signature of a token is verified: by a shared secret, or by a key set.
	Token Token `json:"token"`

	// The issuer that a token has to name (`iss`). Default: any or none, which the doctor
	// finds fault with if there is no audience either.
	Issuer string `json:"issuer,omitempty"`

	// The audience that a token has to name (`aud`), alone or among others. Default: any
	// or none, which the doctor finds fault with if there is a key set: whoever has its
	// keys may issue tokens for other services, too.
	Audience string `json:"audience,omitempty"`

	// The claim that names the tenant, a gjson path; a dot in a name is written `\.`.
	// Default: `id`.
	TenantClaim string `json:"tenant_claim,omitempty"`

	// What makes a caller an operator. Default: nobody is one.
	Operators Operators `json:"operators,omitzero"`

	// The longest that a token may be good for, from when it was issued (`iat`; without
	// that, from now) to its expiry. Default: 24h.
	MaxLifetime Lifetime `json:"max_token_lifetime,omitempty"`

	// Transport fetches a key set. Default: one that follows the proxy settings of
	// the environment and keeps no connection open.
	Transport http.RoundTripper `json:"-"`
}

// Token says how the signature of a token is verified. Exactly one of its secret and
// two key sets is given. The algorithms are those given here, whatever a token says.
type Token struct {
	// A file with the secret that is shared with whoever issues tokens: at least as long as
	// the hash, 32 bytes for HS256 (RFC 7518 section 3.2), or all tokens are refused. It is
	// read anew for each token; a newline at its end is cut off.
	SecretFile string `json:"secret_file,omitempty"`

	// Where a key set (JWK set, RFC 7517) is fetched when the first token comes: https,
	// unless the host is a loopback address. It is fetched again after 5 minutes, and
	// for a token whose key it does not have, though not within 10 seconds. If that
	// fails, the old one serves for an hour more.
	KeySetURL string `json:"jwks_url,omitempty"`

	// A file with a key set. It is read anew for each token, and so counts from the
	// moment it changes. Replace it by a rename.
	KeySetFile string `json:"jwks_file,omitempty"`

	// The algorithms to accept. For a secret: HS256, HS384, HS512; default: HS256. For a
	// key set, where it is required: of RS, PS and ES 256, 384 and 512, and EdDSA.
	Algorithms []string `json:"algorithms,omitempty"`
}

// Operators are the callers whose token has a claim, a gjson path, with a value, or with
// an array that holds it.
type Operators struct {
	Claim string `json:"claim"`
	Value string `json:"value"`
}

// Validate reports what is wrong with c. It opens and dials nothing: the files
// need not be there yet.
func (c *Config) Validate() error {
	sources := 0
	for _, source := range []string{c.Token.SecretFile, c.Token.KeySetFile, c.Token.KeySetURL} {
		if source != "" {
			sources++
		}
	}
	switch {
	case sources == 0:
		return errors.New("token is missing: a shared secret (hs256) or a key set (jwks)")
	case sources > 1:
		return errors.New("token takes exactly one of secret_file, jwks_url and jwks_file")
	}
	if c.Token.KeySetURL != "" {
		if _, err := credential.ParseEndpoint(c.Token.KeySetURL); err != nil {
			return fmt.Errorf("jwks_url: %w", err)
		}
	}
	if _, err := c.algorithms(); err != nil {
		return err
	}
	if c.MaxLifetime < 0 {
		return errors.New("max_token_lifetime cannot be negative")
	}
	if (c.Operators.Claim == "") != (c.Operators.Value == "") {
		return errors.New("operators need both a claim and its value")
	}
	return nil
}

// algorithms returns those that tokens may be signed with.
func (c *Config) algorithms() ([]jose.SignatureAlgorithm, error) {
	known, source := keySetAlgorithms, "a JWK set"
	if c.Token.SecretFile != "" {
		known, source = secretAlgorithms, "a shared secret"
	}
	if len(c.Token.Algorithms) == 0 {
		if c.Token.SecretFile != "" {
			return []jose.SignatureAlgorithm{jose.HS256}, nil
		}
		return nil, errors.New("a JWK set needs the algorithms that tokens may be signed with, such as RS256 or ES256")
	}
	var allowed []jose.SignatureAlgorithm
	for _, name := range c.Token.Algorithms {
		algorithm := jose.SignatureAlgorithm(name)
		if !slices.Contains(known, algorithm) {
			return nil, fmt.Errorf("algorithm %q cannot be used with %s, which takes %v", name, source, known)
		}
		allowed = append(allowed, algorithm)
	}
	return allowed, nil
}
