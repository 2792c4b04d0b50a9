package login

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/fields"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Renewer renews credentials by logins. It is never changed once made.
type Renewer struct {
	Config
	steps   []*request
	refresh *request // nil: there is none
	spent   string   // the field whose token the requests use up; "": none
	before  tokenrequest.Steps
}

// Names implements [scheme.Scheme]: it is others that put the token into requests.
func (r *Renewer) Names() scheme.Names { return scheme.Names{} }

// Bind implements [scheme.Scheme].
func (r *Renewer) Bind(*credential.Credential) (scheme.Authenticator, error) { return nothing{}, nil }

// SetsHeaderAlone says that requests' URLs stay as they are.
func (r *Renewer) SetsHeaderAlone() {}

// nothing is the authenticator of a scheme that leaves requests as they are.
type nothing struct{}

func (nothing) Authenticate(*http.Request, scheme.Body) error { return nil }

// Token returns the first of the token_fields. The error is a [credential.FieldError].
func (r *Renewer) Token(c *credential.Credential) (string, error) {
	return template.Field(c, r.TokenFields[0].Field, template.Header)
}

// ExpiresAt implements [scheme.Renewer].
func (r *Renewer) ExpiresAt(c *credential.Credential) (time.Time, bool) {
	if !r.tellsExpiry() {
		return time.Time{}, false
	}
	return fields.Time(c.Get(expiresAtField))
}

// Spends returns the token that the refresh uses up, or the login if there is no refresh;
// "" for a login that uses none. With a refresh, a credential that has no such token is
// logged in.
func (r *Renewer) Spends(c *credential.Credential) (string, error) {
	switch {
	case r.spent == "":
		return "", nil
	case r.refresh == nil:
		return template.Field(c, r.spent, template.NotEmpty)
	}
	token, _ := template.Field(c, r.spent, template.NotEmpty)
	return token, nil
}

// Brings are the fields that a login puts into a credential that has none of them yet.
func (r *Renewer) Brings() (paths []string) {
	for _, f := range r.TokenFields {
		paths = append(paths, f.Field)
	}
	return paths
}

// Obtained are the fields of a credential that a login fills in, and nobody brings.
func (r *Renewer) Obtained() []string {
	own := append(r.Brings(), expiresAtField)
	if r.refresh != nil {
		return own
	}
	return slices.DeleteFunc(own, func(path string) bool { return path == r.spent }) // the first login takes it
}

// Servers are where requests go, without their paths and each once, but for those that the
// credential or an answer has a say in.
func (r *Renewer) Servers() (urls []string) {
	for _, q := range append(slices.Clone(r.steps), r.refresh) {
		if q == nil || q.url.UsesCredential() {
			continue
		}
		u, err := q.url.ExecuteURL(nil)
		if err != nil {
			continue
		}
		if server := u.Scheme + "://" + u.Host; !slices.Contains(urls, server) {
			urls = append(urls, server)
		}
	}
	return urls
}

// Renewal says how the tokens are spent, see [scheme.RenewalOf].
func (r *Renewer) Renewal() scheme.Renewal { return r.Config.Renewal }

// Merge implements [scheme.Renewer]: it puts into document what the token_fields say, and
// when the token expires; the old time goes in any case, as it spoke of the old token.
// All fields have to be there, but for those after the first where there is a refresh,
// whose answer may have fewer. The error is an [ErrAnswer] if they are not.
//
// Of a document whose refresh is refused for good there is one without what was refused,
// which is logged in anew.
func (r *Renewer) Merge(document []byte, response scheme.Response) ([]byte, error) {
	a, err := readAnswer(response)
	if err != nil {
		return nil, err
	}
	token, wrong := "", ""
	if a.body != nil {
		token, wrong = a.token(&r.TokenFields[0])
	}
	switch {
	case a.refused != nil && token != "": // an error beside a token is none
	case a.refused != nil && a.refused.Permanent && r.refresh != nil && gjson.GetBytes(document, r.spent).Exists():
		return fields.Remove(document, r.spent), a.refused
	case a.refused != nil:
		return nil, a.refused
	}
	merged := document
	var rescued []byte // with what is to be spent next, which must not be lost with the rest
	for i := range r.TokenFields {
		f := &r.TokenFields[i]
		if f.Field != r.spent || i == 0 {
			continue
		}
		if next, _ := a.token(f); next != "" {
			if merged, err = fields.Set(merged, f.Field, fields.Quote(next)); err != nil {
				return nil, err
			}
			rescued = merged
		}
	}
	if wrong != "" {
		return rescued, &answerError{wrong}
	}
	if merged, err = fields.Set(merged, r.TokenFields[0].Field, fields.Quote(token)); err != nil {
		return rescued, err
	}
	for i := range r.TokenFields[1:] {
		f := &r.TokenFields[i+1]
		value := a.find(f)
		if value.Type == gjson.Null && r.refresh == nil {
			return rescued, &answerError{"without " + f.String() + " in it"}
		}
		if f.Field != r.spent {
			merged = fields.Put(merged, f.Field, value)
		}
	}
	if !r.tellsExpiry() {
		return merged, nil
	}
	if at := r.expiresAt(a); at != "" {
		return fields.SetOptional(merged, expiresAtField, fields.Quote(at)), nil
	}
	return fields.Remove(merged, expiresAtField), nil
}

// Schema implements [scheme.Describer]: what the login uses is required, and tokens are
// strings or null. They are writeOnly.
func (r *Renewer) Schema() json.RawMessage {
	b := new(template.SchemaBuilder)
	for _, step := range r.steps {
		b.Require(step.templates()...)
	}
	b.Token(r.TokenFields[0].Field, false)
	if r.spent != "" {
		b.Token(r.spent, false)
	}
	return b.Schema()
}

// CheckNew reports whether c, a new credential, can be logged in, and whether the tokens
// that it may have are as an answer would give them. The error is a
// [credential.FieldError], or says what else is wrong with the requests.
func (r *Renewer) CheckNew(c *credential.Credential) error {
	for _, step := range r.steps[1:] {
		for _, t := range step.templates() {
			if _, err := t.Execute(c); err != nil {
				return err
			}
		}
	}
	if _, err := r.build(r.steps[0], c); err != nil {
		if !errors.Is(err, credential.ErrInvalid) {
			err = &credential.FieldError{Path: strings.Join(r.steps[0].paths(), ", "), Reason: "makes no request: " + err.Error()}
		}
		return err
	}
	for _, path := range []string{r.TokenFields[0].Field, r.spent} {
		value := c.Get(path)
		if value.Type == gjson.Null { // missing, too
			continue
		}
		if wrong := template.Header(value.String()); value.Type != gjson.String || wrong != "" {
			return &credential.FieldError{Path: path, Reason: "is not a token"}
		}
	}
	if value := c.Get(expiresAtField); r.tellsExpiry() && value.Type != gjson.Null {
		if _, ok := fields.Time(value); !ok {
			return &credential.FieldError{Path: expiresAtField, Reason: "is not a time as in RFC 3339, nor in seconds or milliseconds since 1970"}
		}
	}
	return nil
}
