package ownschemes

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

func init() { caddy.RegisterModule(new(Session)) }

// Session sends the credential's session in the header X-Session, and gets a new one for
// its ticket when the upstream answers 401, or before it expires. A login server takes
//
//	POST {"ticket": "…"}
//
// and answers 200 with
//
//	{"session": "…", "lifetime": 900, "next_ticket": "…"}
//
// The credential's fields are session, ticket, and expires_at (RFC 3339), which need not be
// there.
type Session struct {
	// Where tickets are handed in: https, or http on a loopback host.
	Login string `json:"login"`

	// Whether a ticket can be handed in again and again. Without it, it is worth nothing
	// after its first use, and the next one is in the answer.
	Reusable bool `json:"reusable,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Session) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "upstream_auth.schemes.session", New: func() caddy.Module { return new(Session) }}
}

// UnmarshalCaddyfile reads:
//
//	session {
//	    login    <url>
//	    reusable
//	}
func (s *Session) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the scheme's name
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "login":
			if !d.AllArgs(&s.Login) {
				return d.ArgErr()
			}
		case "reusable":
			if s.Reusable = true; d.NextArg() {
				return d.ArgErr()
			}
		default:
			return d.Errf("unrecognized subdirective '%s' of session", d.Val())
		}
	}
	if err := s.check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Provision checks the settings once more: they may come from JSON, and no Caddyfile.
func (s *Session) Provision(caddy.Context) error { return s.check() }

func (s *Session) check() error {
	if _, err := credential.ParseEndpoint(s.Login); err != nil {
		return fmt.Errorf("session: login: %w", err)
	}
	return nil
}

// Names says what Authenticate sets. A Renewer that leaves this to others has no names:
// then its token goes out as Authorization: Bearer, or as a scheme beside it says.
func (*Session) Names() scheme.Names { return scheme.Names{Header: []string{"X-Session"}} }

// Bind prepares one version of a credential.
func (s *Session) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	session, err := s.Token(c)
	if err != nil {
		return nil, err
	}
	if strings.ContainsFunc(session, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, &credential.FieldError{Path: "session", Reason: "is not visible ASCII"}
	}
	return sessionHeader(session), nil
}

type sessionHeader string

// Authenticate implements [scheme.Authenticator].
func (v sessionHeader) Authenticate(req *http.Request, _ scheme.Body) error {
	req.Header.Set("X-Session", string(v))
	return nil
}

// Token is what changes when a credential is renewed.
func (*Session) Token(c *credential.Credential) (string, error) { return c.Text("session") }

// ExpiresAt is when it does so by itself. Without it the upstream's 401 tells.
func (*Session) ExpiresAt(c *credential.Credential) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, c.Get("expires_at").Str)
	return at, err == nil
}

// Spends returns the ticket, of which the sidecar sees to it that it is handed in once, by
// any number of replicas: it claims it in the store first. A reusable one needs no claim.
// A credential without a ticket cannot be renewed, and the error says so.
func (s *Session) Spends(c *credential.Credential) (string, error) {
	ticket, err := c.Text("ticket")
	if err == nil && ticket == "" {
		err = &credential.FieldError{Path: "ticket", Reason: "is empty"} // without it, "" would spend nothing
	}
	if err != nil || s.Reusable {
		return "", err
	}
	return ticket, nil
}

// Request makes the request for a new session. The sidecar sends it, once.
func (s *Session) Request(ctx context.Context, c *credential.Credential) (*http.Request, *tls.Config, error) {
	ticket, err := c.Text("ticket")
	if err != nil {
		return nil, nil, err
	}
	body, _ := json.Marshal(map[string]string{"ticket": ticket}) // of texts, which never fails
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Login, bytes.NewReader(body))
	if err == nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil, err
}

// Merge brings an answer into a document. It is asked more than once about one answer: with
// an empty object, to know what the answer says, and with the document as it is by then,
// perhaps by another process. So it depends on nothing but its arguments.
func (*Session) Merge(document []byte, r scheme.Response) ([]byte, error) {
	switch r.Status {
	case http.StatusOK:
	case http.StatusForbidden, http.StatusGone: // the ticket is of no use any more
		return nil, &scheme.RefusedError{Permanent: true}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable: // it was not looked at
		seconds, _ := strconv.Atoi(r.Header.Get("Retry-After"))
		return nil, &scheme.RefusedError{Unspent: true, RetryAfter: time.Duration(seconds) * time.Second}
	default: // nobody knows what became of it
		return nil, &scheme.RefusedError{}
	}
	var answer struct {
		Session    string `json:"session"`
		NextTicket string `json:"next_ticket"`
		Lifetime   int    `json:"lifetime"` // in seconds
	}
	fields := make(map[string]json.RawMessage) // what is not ours stays as it was written
	if json.Unmarshal(r.Body, &answer) != nil || json.Unmarshal(document, &fields) != nil {
		return nil, errors.New("the answer is not as expected") // quotes nothing of it
	}
	set(fields, "ticket", answer.NextTicket)
	if answer.Session == "" {
		rescued, _ := json.Marshal(fields) // lest the next ticket be lost with the rest
		return rescued, errors.New("the answer has no session")
	}
	set(fields, "session", answer.Session)
	delete(fields, "expires_at") // it spoke of the old session
	if answer.Lifetime > 0 {
		set(fields, "expires_at", r.At.Add(time.Duration(answer.Lifetime)*time.Second).UTC().Format(time.RFC3339))
	}
	return json.Marshal(fields)
}

// set sets a field to a text, if there is one.
func set(fields map[string]json.RawMessage, name, text string) {
	if text != "" {
		fields[name], _ = json.Marshal(text)
	}
}

var _ scheme.Renewer = (*Session)(nil)
