package oauth2

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	xoauth2 "golang.org/x/oauth2"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
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
	// ClientAuthPrivateKeyJWT is by a JWT (RFC 7523 section 2.2).
	ClientAuthPrivateKeyJWT ClientAuth = "private_key_jwt"
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

	// ClientAuth is how. Default: ClientAuthPrivateKeyJWT with such a file; without a token
	// endpoint what the issuer says; else ClientAuthBasic.
	ClientAuth ClientAuth
}

// Secret is a secret or the file that holds it.
type Secret struct {
	Text *template.Template
	File string
}

func (c *Client) setClientDefaults(hasEndpoint bool) {
	if c.ClientAssertionFile != "" {
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
	if (c.ClientAuth == ClientAuthPrivateKeyJWT) != (c.ClientAssertionFile != "") {
		return errors.New("client_auth private_key_jwt and client_assertion_file go together")
	}
	for _, s := range c.ClientSecrets {
		if (s.Text != nil) == (s.File != "") {
			return errors.New("a client secret needs one of client_secret_file and client_secret")
		}
	}
	switch secrets := len(c.ClientSecrets); c.ClientAuth {
	case ClientAuthBasic, ClientAuthPost, "":
		if secrets != 1 && secrets != 2 {
			return errors.New("client_auth basic and post need one of client_secret_file and client_secret")
		}
	case ClientAuthNone, ClientAuthTLS, ClientAuthPrivateKeyJWT:
		if secrets != 0 {
			return fmt.Errorf("client_auth %s goes without a client secret", c.ClientAuth)
		}
	default:
		return fmt.Errorf("client_auth %q is none of basic, post, none, private_key_jwt, tls_client_auth", c.ClientAuth)
	}
	return nil
}

// authenticate puts into p who asks, with one of the secrets. The error holds no secret.
func (c *Client) authenticate(p *tokenrequest.Parameters, by ClientAuth, secret int, cred *credential.Credential) (err error) {
	if p.ClientID, err = c.ClientID.Execute(cred); err != nil {
		return fmt.Errorf("client id: %w", err)
	}
	p.AuthStyle = xoauth2.AuthStyleInParams
	switch by {
	case ClientAuthBasic:
		p.AuthStyle = xoauth2.AuthStyleInHeader
		fallthrough
	case ClientAuthPost:
		if p.ClientSecret, err = c.ClientSecrets[secret].read(cred); err != nil {
			return fmt.Errorf("client secret: %w", err)
		}
	case ClientAuthPrivateKeyJWT:
		if p.Assertion, err = readLine(c.ClientAssertionFile); err != nil {
			return fmt.Errorf("client assertion: %w", err)
		}
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

// UsesCredential reports whether the credential has a say in who asks.
func (c *Client) UsesCredential() bool {
	for _, t := range c.templates() {
		if t.UsesCredential() {
			return true
		}
	}
	return false
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
