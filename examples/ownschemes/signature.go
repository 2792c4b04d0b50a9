package ownschemes

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func init() { caddy.RegisterModule(new(Signature)) }

// signatureHeader is what the upstream reads.
const signatureHeader = "X-Signature"

// Signature signs requests: the header X-Signature is the HMAC-SHA256, in hexadecimal, of
//
//	<method> LF <path and query> LF <SHA-256 of the body, in hexadecimal>
//
// by a key of the tenant's. A scheme after it must not change what it signed, so it is the
// last one that is written.
type Signature struct {
	// The name of the field in the credential that holds the key.
	KeyField string `json:"key_field"`
}

// CaddyModule returns the Caddy module information. What follows the namespace in its ID is
// the name of the subdirective.
func (*Signature) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "upstream_auth.schemes.signature", New: func() caddy.Module { return new(Signature) }}
}

// UnmarshalCaddyfile reads: signature <key field>
//
// Errors that are made by d have the file and the line in them.
func (s *Signature) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the scheme's name
	if !d.AllArgs(&s.KeyField) {
		return d.ArgErr()
	}
	if err := s.check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Provision checks the settings once more: they may come from JSON, and no Caddyfile.
func (s *Signature) Provision(caddy.Context) error { return s.check() }

func (s *Signature) check() error {
	if s.KeyField == "" || strings.ContainsAny(s.KeyField, "{}.") {
		// A key itself must not be written here, nor a placeholder for it.
		return errors.New("signature: its argument is the name of a field in the credential")
	}
	return nil
}

// Names says what Authenticate sets. The client's own X-Signature never reaches the
// upstream, however it is spelled, nor one in a trailer.
func (*Signature) Names() scheme.Names { return scheme.Names{Header: []string{signatureHeader}} }

// Schema says what the scheme needs of a credential. One without it is refused on its way
// in. What is writeOnly is a secret: nobody can expose it.
func (s *Signature) Schema() json.RawMessage {
	schema, _ := json.Marshal(map[string]any{ // nothing in it can fail
		"required":   []string{s.KeyField},
		"properties": map[string]any{s.KeyField: map[string]any{"type": "string", "minLength": 1, "writeOnly": true}},
	})
	return schema
}

// Bind takes the key out of one version of a credential. That is done once, so whatever can
// be prepared for requests is prepared here.
func (s *Signature) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	key, err := c.Text(s.KeyField)
	if err != nil {
		return nil, err // it names the field, and not what is in it
	}
	return signer(key), nil
}

type signer string

// Authenticate signs the request as it goes out. Hash has recorded the whole body when it
// returns; the proxy sends that. It is called again if the request is sent again.
func (s signer) Authenticate(req *http.Request, body scheme.Body) error {
	digest := sha256.New()
	if err := body.Hash(digest); err != nil {
		return err // as it is: the client gets 413 if its body is too long to be recorded
	}
	mac := hmac.New(sha256.New, []byte(s))
	mac.Write(fmt.Appendf(nil, "%s\n%s\n%x", req.Method, req.URL.RequestURI(), digest.Sum(nil)))
	req.Header.Set(signatureHeader, hex.EncodeToString(mac.Sum(nil)))
	return nil
}

var _ scheme.Describer = (*Signature)(nil)
