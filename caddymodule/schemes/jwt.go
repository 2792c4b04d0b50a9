package schemes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/jwt"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// JWT sends a JSON Web Token (RFC 7519) that is made of the credential and stored nowhere.
// It is kept until shortly before it expires; if one that was kept is refused, one is made
// anew, once for each request. It may be there any number of times.
type JWT struct {
	JWTSettings

	// Where the token goes: `in` is `header` or `query`, and the value has one `{jwt}` in it.
	// Default: the header Authorization, with the value `Bearer {jwt}`.
	To Setting `json:"to,omitzero"`

	// Whether a token is made for each request. Default: it is kept.
	NoReuse bool `json:"no_reuse,omitempty"`

	minter *jwt.Minter
}

// CaddyModule returns the Caddy module information.
func (*JWT) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".jwt", New: func() caddy.Module { return new(JWT) }}
}

// UnmarshalCaddyfile sets up the scheme. Syntax:
//
//	jwt {
//	    algorithm <algorithm>
//	    key       <template>|file <file>|vault_transit [<mount>/]<name>
//	    header    <name> <template>
//	    claim     <name> <template>
//	    lifetime  <duration>
//	    to        header|query <name> [<text with {jwt}>]
//	    reuse     on|off
//	}
func (j *JWT) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	key, reuse := *d, ""
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch name := d.Val(); name {
		case "to":
			err = j.unmarshalTo(d)
		case "reuse":
			if err = config.OneArg(d, &reuse); err == nil && reuse != "on" && reuse != "off" {
				err = d.Errf("reuse '%s' is neither on nor off", reuse)
			}
			j.NoReuse = reuse == "off"
		case "key":
			key = *d
			fallthrough
		default:
			var known bool
			if known, err = j.unmarshalSetting(d); !known {
				err = d.Errf("unrecognized subdirective '%s' of jwt", name)
			}
		}
		if err != nil {
			return err
		}
	}
	j.minter, err = j.adapt(d, &key)
	return err
}

// unmarshalTo reads: to header|query <name> [<text>]
func (j *JWT) unmarshalTo(d *caddyfile.Dispenser) error {
	if j.To != (Setting{}) {
		return d.Err("to is given twice")
	}
	args := d.RemainingArgs()
	switch len(args) {
	case 3:
		j.To.Value = args[2]
		fallthrough
	case 2:
		j.To.In, j.To.Name = args[0], args[1]
	default:
		return d.ArgErr()
	}
	_, err := j.place()
	return config.WrapErr(d, "", err)
}

// Provision checks the settings.
func (j *JWT) Provision(caddy.Context) (err error) {
	if _, err = j.place(); err == nil {
		j.minter, err = j.provision()
	}
	if err != nil {
		return fmt.Errorf("jwt: %w", err)
	}
	return nil
}

// place returns where the token goes.
func (j *JWT) place() (*place, error) {
	p := &place{Setting: j.to()}
	var found bool
	p.before, p.after, found = strings.Cut(p.Value, "{jwt}")
	switch {
	case p.In != "header" && p.In != "query":
		return nil, fmt.Errorf("to: '%s' is neither header nor query", p.In)
	case p.Name == "" || template.Text(p.Name) != "":
		return nil, errors.New("to: the name is missing, or no text")
	case !found || strings.ContainsAny(p.before+p.after, "{}"):
		return nil, errors.New("to: the text has to have {jwt} in it, once, and no other placeholder")
	case p.In == "header" && template.HeaderText(p.before+p.after) != "":
		return nil, fmt.Errorf("to: the text %s", template.HeaderText(p.before+p.after))
	}
	if p.In == "header" {
		p.Name = http.CanonicalHeaderKey(p.Name)
	}
	return p, nil
}

// to is To with its defaults.
func (j *JWT) to() Setting {
	to := j.To
	if to == (Setting{}) {
		return Setting{"header", authorization, "Bearer {jwt}"}
	}
	if to.Value == "" {
		to.Value = "{jwt}"
	}
	return to
}

// Names implements [scheme.Scheme].
func (j *JWT) Names() scheme.Names {
	if to := j.to(); to.In == "query" {
		return scheme.Names{Query: []string{to.Name}}
	}
	return scheme.Names{Header: []string{j.to().Name}}
}

// Schema implements [scheme.Describer].
func (j *JWT) Schema() json.RawMessage {
	b := new(template.SchemaBuilder)
	j.minter.Describe(b)
	return b.Schema()
}

// Sets implements [Explainer].
func (j *JWT) Sets() []Setting { return []Setting{j.to()} }

// Bind implements [scheme.Scheme].
func (j *JWT) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	source, err := j.minter.Bind(c)
	if err != nil {
		return nil, err
	}
	p, err := j.place()
	if err != nil {
		return nil, err
	}
	fresh := &freshJWT{p, source}
	if j.NoReuse {
		return fresh, nil
	}
	return &keptJWT{p, jwt.Reuse{Mint: fresh.mint}}, nil
}

// place is where a token goes.
type place struct {
	Setting
	before, after string // of the token
}

// text returns what is set.
func (p *place) text(token string) string {
	token = p.before + token + p.after
	if p.In == "query" {
		return url.QueryEscape(p.Name) + "=" + url.QueryEscape(token)
	}
	return token
}

// set puts a text into a request.
func (p *place) set(req *http.Request, text string) error {
	switch {
	case p.In == "query":
		return (*parameter)(&text).Authenticate(req, nil)
	case p.Name == cookieHeader: // the one field that others may set, too
		return (*pair)(&text).Authenticate(req, nil)
	default:
		req.Header[p.Name] = []string{text}
		return nil
	}
}

// isIn reports whether a text was put into a request.
func (p *place) isIn(req *http.Request, text string) bool {
	if p.In == "query" {
		return strings.Contains(req.URL.RawQuery, text)
	}
	return strings.Contains(req.Header.Get(p.Name), text)
}

// freshJWT sends a new token with each attempt.
type freshJWT struct {
	place  *place
	source *jwt.Source
}

// Authenticate implements [scheme.Authenticator].
func (f *freshJWT) Authenticate(req *http.Request, _ scheme.Body) error {
	token, err := f.mint(req.Context())
	if err != nil {
		return err
	}
	return f.place.set(req, token.Text)
}

// mint makes a token whose text is what is set.
func (f *freshJWT) mint(ctx context.Context) (jwt.Token, error) {
	token, err := f.source.Mint(ctx)
	token.Text = f.place.text(token.Text)
	return token, err
}

// keptJWT sends a token until shortly before it expires.
type keptJWT struct {
	place *place
	reuse jwt.Reuse
}

// Authenticate implements [scheme.Authenticator].
func (k *keptJWT) Authenticate(req *http.Request, _ scheme.Body) error {
	text, err := k.reuse.Token(req.Context())
	if err != nil {
		return err
	}
	return k.place.set(req, text)
}

// Challenge implements [scheme.Challenger].
func (k *keptJWT) Challenge(res *http.Response) (retry bool) {
	return k.reuse.Refused(func(text string) bool { return res.Request == nil || k.place.isIn(res.Request, text) })
}

var (
	_ scheme.Challenger = (*keptJWT)(nil)
	_ TransitUser       = (*JWT)(nil)
)
