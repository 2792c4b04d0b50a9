package login

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/upstreamauth/caddy-upstream-auth/internal/fields"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Config is how a credential is renewed by a login.
type Config struct {
	// Requests are the steps of a login. The answer to the last one has the token.
	Requests []Request

	// Refresh gets another token for something that the answer before brought. Nil: the
	// login is repeated.
	Refresh *Request

	// TokenFields are what is kept of an answer, the token first. Default: access_token.
	TokenFields []TokenField

	// One of these says when the token expires: how long after the request, where in the
	// answer that is in seconds, or where the time itself is (RFC 3339, or seconds or
	// milliseconds since 1970). Default: nobody knows.
	Lifetime             time.Duration
	ExpiresIn, ExpiresAt string

	// TokenHosts are where requests may go. Nil: where their templates say, which the
	// credential has no say in.
	TokenHosts hosts.List

	// TLS is for connections to the server. Nil: the system's certificate authorities,
	// and no client certificate.
	TLS *tls.Config

	// Renewal is how the tokens are spent.
	scheme.Renewal
}

// TokenField is something in an answer that goes into the credential.
type TokenField struct {
	// Where in the credential it goes: keys, joined by dots.
	Field string `json:"field"`

	// A gjson path in the answer; `@this` is the whole of one that is no JSON object.
	Path string `json:"path,omitempty"`

	// The name of a header field of the answer, the first of that name.
	Header string `json:"header,omitempty"`

	// The name of a cookie that the answer sets, the last of that name.
	Cookie string `json:"cookie,omitempty"`
}

// Check reports what is wrong with one field alone.
func (f *TokenField) Check() error {
	if err := fields.CheckPlaces([]string{f.Field}); err != nil {
		return err
	}
	var err error
	switch {
	case f.Path != "" && f.Header+f.Cookie != "", f.Header != "" && f.Cookie != "":
		err = errors.New("is one of path, header and cookie")
	case f.Header != "" || f.Cookie != "":
		if !httpguts.ValidHeaderFieldName(f.Header + f.Cookie) { // a cookie's name is a token, too
			err = errors.New("is not taken from a header field or cookie that could have this name")
		}
	default:
		err = fields.CheckSource(f.Path)
	}
	if err != nil {
		return fmt.Errorf("field %q: %w", f.Field, err)
	}
	return nil
}

// String tells where it is taken from.
func (f *TokenField) String() string {
	switch {
	case f.Header != "":
		return "header " + f.Header
	case f.Cookie != "":
		return "cookie " + f.Cookie
	}
	return f.Path
}

// expiresAtField is where the credential says when its token expires.
const expiresAtField = "expires_at"

// New checks c and makes a renewer of it, with the defaults filled in. Lookup returns the
// value of a placeholder that is none of the credential's or of a step's.
func New(c Config, lookup func(name string) (string, error)) (*Renewer, error) {
	if len(c.TokenFields) == 0 {
		c.TokenFields = []TokenField{{Field: "access_token", Path: "access_token"}}
	}
	r := &Renewer{Config: c, before: tokenrequest.NewSteps()}
	if err := r.parse(lookup); err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	for _, check := range []func() error{r.checkFields, r.checkExpiry, r.checkSpent, r.Check} {
		if err := check(); err != nil {
			return nil, fmt.Errorf("login: %w", err)
		}
	}
	r.SetDefaults()
	return r, nil
}

// parse reads the requests.
func (r *Renewer) parse(lookup func(name string) (string, error)) error {
	if len(r.Requests) == 0 {
		return errors.New("request is missing")
	}
	placeholders := false
	parse := func(conf *Request, step int) (*request, error) {
		req, err := conf.parse(step, lookup)
		if err != nil {
			return nil, err
		}
		placeholders = placeholders || conf.usesPlaceholder()
		if conf.Body != "" && req.contentType() == "" {
			return nil, errors.New("body needs header Content-Type")
		}
		hostNamed, err := req.url.CheckURL()
		if err == nil && hostNamed && r.TokenHosts == nil {
			err = errors.New("a host named by the credential or by an answer needs token_hosts")
		}
		return req, err
	}
	for i := range r.Requests {
		step, err := parse(&r.Requests[i], i+1)
		if err != nil {
			return fmt.Errorf("request: %w", err)
		}
		r.steps = append(r.steps, step)
	}
	if !placeholders {
		return fmt.Errorf("request: %w", template.ErrInlineSecret)
	}
	if r.Refresh != nil {
		var err error
		if r.refresh, err = parse(r.Refresh, 1); err != nil {
			return fmt.Errorf("refresh: %w", err)
		}
	}
	return nil
}

func (r *Renewer) checkFields() error {
	var places []string
	for i := range r.TokenFields {
		if err := r.TokenFields[i].Check(); err != nil {
			return fmt.Errorf("token_field: %w", err)
		}
		places = append(places, r.TokenFields[i].Field)
	}
	if r.tellsExpiry() {
		places = append(places, expiresAtField)
	}
	if err := fields.CheckPlaces(places); err != nil {
		return fmt.Errorf("token_field: %w", err)
	}
	return nil
}

// tellsExpiry reports whether it is known when a token expires.
func (c *Config) tellsExpiry() bool { return c.Lifetime != 0 || c.ExpiresIn != "" || c.ExpiresAt != "" }

func (c *Config) checkExpiry() error {
	given := 0
	for _, is := range []bool{c.Lifetime != 0, c.ExpiresIn != "", c.ExpiresAt != ""} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return errors.New("expires_in and expires_at exclude each other")
	case c.Lifetime < 0 || c.Lifetime > fields.MaxLifetime:
		return errors.New("expires_in is not a lifetime")
	case c.ExpiresIn != "":
		return wrap("expires_in", fields.CheckSource(c.ExpiresIn))
	case c.ExpiresAt != "":
		return wrap("expires_at", fields.CheckSource(c.ExpiresAt))
	}
	return nil
}

// checkSpent finds out which token the requests use up.
func (r *Renewer) checkSpent() error {
	renewing := r.steps
	if r.refresh != nil {
		renewing = []*request{r.refresh}
	}
	for _, req := range renewing {
		paths := req.paths()
		// The token itself at last: it stands for its session where there is nothing else.
		for _, f := range slices.Concat(r.TokenFields[1:], r.TokenFields[:1]) {
			if slices.Contains(paths, f.Field) && r.spent == "" {
				r.spent = f.Field
			}
		}
	}
	switch {
	case r.refresh != nil && r.spent == "":
		return errors.New("refresh uses none of the token_fields: without one it is a login, and that is request")
	case r.spent == "" && r.Rotation != "":
		return errors.New("rotation is of a token_field that is used up: neither request nor refresh uses one")
	case r.spent == "" && r.KeepAlive != 0:
		return errors.New("keep_alive is for a token_field that is used up: neither request nor refresh uses one, and a login can be made at any time")
	}
	return nil
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
