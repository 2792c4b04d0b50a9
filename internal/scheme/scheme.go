package scheme

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Options are the settings of a [Scheme].
type Options struct {
	Headers []Header
	Queries []Query
	Basic   *Basic
	OAuth2  *OAuth2 // nil: the credential is not refreshed
}

// Scheme is how a provider's credential is applied to a request. It is never
// changed once made.
type Scheme struct {
	headers []Header // with canonical names
	queries []Query
	basic   *Basic
	oauth2  *OAuth2

	// What Apply sets: the headers, then Authorization if there is a basic.
	headerNames []string
	queryNames  []string
}

const authorization = "Authorization"

// New checks o and makes a scheme of it. An OAuth2 without a header, query or
// basic of its own gets the header Authorization: Bearer and its access token
// (RFC 6750 section 2.1).
//
// Errors: nothing to apply; a header or query parameter set twice, Authorization
// by a basic included; a name that is not valid; a header that frames the message
// or belongs to the connection; literal text that cannot be sent; what
// [OAuth2] says of its fields.
func New(o Options) (*Scheme, error) {
	s := &Scheme{queries: o.Queries, basic: o.Basic}
	if o.OAuth2 != nil {
		oauth2, err := o.OAuth2.checked()
		if err != nil {
			return nil, err
		}
		s.oauth2 = oauth2
	}
	if s.oauth2 != nil && len(o.Headers) == 0 && len(o.Queries) == 0 && o.Basic == nil {
		o.Headers = []Header{s.oauth2.bearer()}
	}
	for _, h := range o.Headers {
		if err := h.check(); err != nil {
			return nil, err
		}
		h.Name = http.CanonicalHeaderKey(h.Name)
		if err := s.addHeaderName(h.Name); err != nil {
			return nil, err
		}
		s.headers = append(s.headers, h)
	}
	if s.basic != nil {
		if err := s.basic.check(); err != nil {
			return nil, err
		}
		if err := s.addHeaderName(authorization); err != nil {
			return nil, fmt.Errorf("basic: %w", err)
		}
	}
	for _, q := range s.queries {
		if err := q.check(); err != nil {
			return nil, err
		}
		for _, name := range s.queryNames {
			if strings.EqualFold(name, q.Name) {
				return nil, fmt.Errorf("query parameter %s is set twice", q.Name)
			}
		}
		s.queryNames = append(s.queryNames, q.Name)
	}
	if len(s.headerNames) == 0 && len(s.queryNames) == 0 {
		return nil, errors.New("nothing to apply: neither header, query, basic nor oauth2")
	}
	return s, nil
}

func (s *Scheme) addHeaderName(name string) error {
	for _, other := range s.headerNames {
		if spelledAlike(other, name) {
			return fmt.Errorf("header %s is set twice", name)
		}
	}
	s.headerNames = append(s.headerNames, name)
	return nil
}

// OAuth2 returns how the credential is refreshed, with its defaults filled in;
// nil if it is not.
func (s *Scheme) OAuth2() *OAuth2 { return s.oauth2 }

// Resolve executes every template and checks that the values can be sent: header
// values without control characters, a user name without a colon, all of them
// UTF-8 and at most 16 KiB. The error is a [credential.FieldError].
func (s *Scheme) Resolve(c *credential.Credential) (*Values, error) {
	v := &Values{scheme: s}
	v.headers = v.oneHeader[:0]
	if len(s.headerNames) > len(v.oneHeader) {
		v.headers = make([]string, 0, len(s.headerNames))
	}
	for _, h := range s.headers {
		value, err := h.Value.execute(c, validHeader)
		if err != nil {
			return nil, err
		}
		v.headers = append(v.headers, value)
	}
	if s.basic != nil {
		value, err := s.basic.authorization(c)
		if err != nil {
			return nil, err
		}
		v.headers = append(v.headers, value)
	}
	for i, q := range s.queries {
		value, err := q.Value.execute(c, validText)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			v.query += "&"
		}
		v.query += parameter(q.Name, value)
	}
	return v, nil
}
