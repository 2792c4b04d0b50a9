package bearer

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// DefaultTenantClaim is the claim that holds the tenant.
const DefaultTenantClaim = "id"

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

// Config says which tokens are accepted. Exactly one of SecretFile, KeySetFile
// and KeySetURL is set.
type Config struct {
	// SecretFile is the file with the secret that is shared with whoever issues
	// tokens. It is read anew for each token; a newline at its end is cut off.
	SecretFile string `json:"secret_file,omitempty"`

	// KeySetFile is a file with a JWK set (RFC 7517). It is read anew for each
	// token, and so counts from the moment it changes. Replace it by a rename.
	KeySetFile string `json:"key_set_file,omitempty"`

	// KeySetURL is where a JWK set is fetched when the first token comes: https,
	// or http on a loopback host. It is fetched again after 5 minutes, and for a
	// token whose key it does not have, though not within 10 seconds. If that
	// fails, the old one serves for an hour more.
	KeySetURL string `json:"key_set_url,omitempty"`

	// Algorithms are those that tokens may be signed with. For a secret: HS256,
	// HS384, HS512; default: HS256. For a key set, where it is required: RS256,
	// RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA (Ed25519).
	Algorithms []string `json:"algorithms,omitempty"`

	// Issuer is the "iss" claim that a token must have. Default: any or none.
	Issuer string `json:"issuer,omitempty"`

	// Audience is what the "aud" claim must be or contain. Default: any or none.
	Audience string `json:"audience,omitempty"`

	// TenantClaim is the gjson path of the claim that holds the tenant; a dot in a
	// name is written `\.`. Default: "id".
	TenantClaim string `json:"tenant_claim,omitempty"`

	// OperatorClaim is the gjson path of a claim, and OperatorValue what it must be,
	// or contain as an array of strings, to make the caller an operator. Default:
	// nobody is one.
	OperatorClaim string `json:"operator_claim,omitempty"`
	OperatorValue string `json:"operator_value,omitempty"`

	// Transport fetches KeySetURL. Default: one that follows the proxy settings of
	// the environment and keeps no connection open.
	Transport http.RoundTripper `json:"-"`
}

// Validate reports what is wrong with c. It opens and dials nothing: the files
// need not be there yet.
func (c *Config) Validate() error {
	sources := 0
	for _, source := range []string{c.SecretFile, c.KeySetFile, c.KeySetURL} {
		if source != "" {
			sources++
		}
	}
	if sources != 1 {
		return errors.New("want exactly one of a secret file, a JWK set in a file and a JWK set at a URL")
	}
	if c.KeySetURL != "" {
		if _, err := credential.ParseEndpoint(c.KeySetURL); err != nil {
			return fmt.Errorf("URL of the JWK set: %w", err)
		}
	}
	if _, err := c.algorithms(); err != nil {
		return err
	}
	if (c.OperatorClaim == "") != (c.OperatorValue == "") {
		return errors.New("operators need both a claim and its value")
	}
	return nil
}

// algorithms returns those that tokens may be signed with.
func (c *Config) algorithms() ([]jose.SignatureAlgorithm, error) {
	known, source := keySetAlgorithms, "a JWK set"
	if c.SecretFile != "" {
		known, source = secretAlgorithms, "a shared secret"
	}
	if len(c.Algorithms) == 0 {
		if c.SecretFile != "" {
			return []jose.SignatureAlgorithm{jose.HS256}, nil
		}
		return nil, errors.New("a JWK set needs the algorithms that tokens may be signed with, such as RS256 or ES256")
	}
	var allowed []jose.SignatureAlgorithm
	for _, name := range c.Algorithms {
		algorithm := jose.SignatureAlgorithm(name)
		if !slices.Contains(known, algorithm) {
			return nil, fmt.Errorf("algorithm %q cannot be used with %s, which takes %v", name, source, known)
		}
		allowed = append(allowed, algorithm)
	}
	return allowed, nil
}
