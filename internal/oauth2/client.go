package oauth2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	xoauth2 "golang.org/x/oauth2"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/jwt"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// ClientAuth is how the client authenticates to the token endpoint (RFC 6749
// section 2.3). It is never guessed: a guess that is wrong spends the refresh
// token twice.
type ClientAuth string

const (
	// ClientAuthBasic sends id and secret, each form-encoded, by HTTP Basic.
	ClientAuthBasic ClientAuth = "basic"
	// ClientAuthPost sends client_id and client_secret among the parameters.
	ClientAuthPost ClientAuth = "post"
	// ClientAuthNone is for public clients: client_id among the parameters, no secret.
	ClientAuthNone ClientAuth = "none"
	// ClientAuthTLS is by the client's certificate (RFC 8705 section 2): client_id among the
	// parameters.
	ClientAuthTLS ClientAuth = "tls_client_auth"
	// ClientAuthPrivateKeyJWT is by a JWT (RFC 7523 section 2.2) that is signed with a key.
	ClientAuthPrivateKeyJWT ClientAuth = "private_key_jwt"
	// ClientAuthSecretJWT is by a JWT that is signed with the secret: HS256.
	ClientAuthSecretJWT ClientAuth = "client_secret_jwt"
)

// Client is who asks for tokens.
type Client struct {
	// ClientID may come from the credential.
	ClientID *template.Template

	// ClientSecrets are one secret or, while it is changed for another, two: the second is
	// tried when the first is refused.
	ClientSecrets []Secret

	// ClientAssertionFile holds a JWT that somebody else has signed, as Kubernetes and SPIFFE
	// do. It is read anew for each request.
	ClientAssertionFile string

	// ClientKey is what a JWT is made of instead. Defaults of claims: the client's id for iss
	// and sub, the issuer or else the token endpoint for aud.
	ClientKey *jwt.Config

	// ClientAuth is how. Default: ClientAuthPrivateKeyJWT with one of these; without a token
	// endpoint what the issuer says; else ClientAuthBasic.
	ClientAuth ClientAuth
}

// Secret is a secret or the file that holds it.
type Secret struct {
	Text *template.Template
	File string
}

func (c *Client) setClientDefaults(hasEndpoint bool) {
	if c.ClientAssertionFile != "" || c.ClientKey != nil {
		setDefault(&c.ClientAuth, ClientAuthPrivateKeyJWT)
	}
	if hasEndpoint {
		setDefault(&c.ClientAuth, ClientAuthBasic)
	}
}

func (c *Client) checkClient() error {
	if c.ClientID.IsEmpty() {
		return errors.New("client_id is missing")
	}
	signed := c.ClientAssertionFile != "" || c.ClientKey != nil
	switch {
	case (c.ClientAuth == ClientAuthPrivateKeyJWT) != signed:
		return errors.New("client_auth private_key_jwt and one of client_key, client_key_file and client_assertion_file go together")
	case c.ClientAssertionFile != "" && c.ClientKey != nil:
		return errors.New("client_assertion_file and a key of the client exclude each other")
	}
	for _, s := range c.ClientSecrets {
		if (s.Text != nil) == (s.File != "") {
			return errors.New("a client secret needs one of client_secret_file and client_secret")
		}
	}
	switch secrets := len(c.ClientSecrets); c.ClientAuth {
	case ClientAuthBasic, ClientAuthPost, ClientAuthSecretJWT, "":
		if secrets != 1 && secrets != 2 {
			return errors.New("client_auth basic and post need one of client_secret_file and client_secret")
		}
	case ClientAuthNone, ClientAuthTLS, ClientAuthPrivateKeyJWT:
		if secrets != 0 {
			return fmt.Errorf("client_auth %s goes without a client secret", c.ClientAuth)
		}
	default:
		return fmt.Errorf("client_auth %q is none of basic, post, none, client_secret_jwt, private_key_jwt, tls_client_auth", c.ClientAuth)
	}
	return nil
}

// authenticate puts into p who asks, by one way and with one of the secrets. The error
// holds no secret.
func (r *Renewer) authenticate(ctx context.Context, p *tokenrequest.Parameters, by ClientAuth, cred *credential.Credential) (err error) {
	if p.ClientID, err = r.ClientID.Execute(cred); err != nil {
		return fmt.Errorf("client id: %w", err)
	}
	secret := 0
	if n := len(r.ClientSecrets); n > 1 {
		secret = int(r.secret.Load()) % n
	}
	p.AuthStyle = xoauth2.AuthStyleInParams
	switch by {
	case ClientAuthBasic:
		p.AuthStyle = xoauth2.AuthStyleInHeader
		fallthrough
	case ClientAuthPost:
		if p.ClientSecret, err = r.ClientSecrets[secret].read(cred); err != nil {
			return fmt.Errorf("client secret: %w", err)
		}
	case ClientAuthSecretJWT:
		p.Assertion, err = mint(ctx, r.client[secret], cred)
	case ClientAuthPrivateKeyJWT:
		if r.ClientAssertionFile != "" {
			p.Assertion, err = readLine(r.ClientAssertionFile)
		} else {
			p.Assertion, err = mint(ctx, r.client[0], cred)
		}
	}
	if err != nil {
		return fmt.Errorf("client assertion: %w", err)
	}
	return nil
}

// read returns the secret.
func (s *Secret) read(cred *credential.Credential) (string, error) {
	if s.File != "" {
		return readLine(s.File)
	}
	return s.Text.Execute(cred)
}

// readLine returns what is in a file, which may have changed, without a newline at its end.
func readLine(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	content = bytes.TrimSuffix(bytes.TrimSuffix(content, []byte("\n")), []byte("\r"))
	if len(content) == 0 {
		return "", errors.New("file is empty")
	}
	return string(content), nil
}

// HasOwnClient reports whether each credential has a say in who asks, so that a refused
// client is that credential's alone.
func (o *Config) HasOwnClient() bool {
	all := o.Client.templates()
	for _, c := range o.clientAssertions() {
		all = append(all, c.Templates()...)
	}
	return slices.ContainsFunc(all, (*template.Template).UsesCredential)
}

// templates are those that authenticate fills in.
func (c *Client) templates() []*template.Template {
	all := []*template.Template{c.ClientID}
	for _, s := range c.ClientSecrets {
		if s.Text != nil {
			all = append(all, s.Text)
		}
	}
	return all
}
