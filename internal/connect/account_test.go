package connect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The account that is connected is the one that the link is for, by its id token or its
// userinfo.
func TestAccountOfALink(t *testing.T) {
	for name, test := range map[string]struct {
		account map[string]string
		change  func(*server)
		good    bool
		asked   int // for the userinfo
	}{
		"the subject":                    {map[string]string{"sub": "person-canary"}, nil, true, 0},
		"another subject":                {map[string]string{"sub": "person-other"}, nil, false, 0},
		"a claim":                        {map[string]string{"tid": "org-canary"}, nil, true, 0},
		"of the userinfo":                {map[string]string{"tenant.id": "12345678901234567"}, nil, true, 1},
		"another of the userinfo":        {map[string]string{"tenant.id": "12345678901234568"}, nil, false, 1},
		"of both":                        {map[string]string{"sub": "person-canary", "tenant.id": "12345678901234567"}, nil, true, 1},
		"one of two":                     {map[string]string{"sub": "person-canary", "tenant.id": "7"}, nil, false, 1},
		"a claim that is not there":      {map[string]string{"nowhere": "x"}, nil, false, 1},
		"null":                           {map[string]string{"gone": "null"}, nil, false, 1},
		"an object":                      {map[string]string{"tenant": `{"id":12345678901234567}`}, nil, false, 1},
		"an address":                     {map[string]string{"email": "jo@acme.example"}, claiming("email", "jo@acme.example"), true, 0},
		"an address that is unverified":  {map[string]string{"email": "jo@acme.example"}, claiming("email", "jo@acme.example", "email_verified", false), false, 0},
		"the id token goes before":       {map[string]string{"tenant.id": "7"}, claiming("tenant", map[string]any{"id": "8"}), false, 0},
		"the id token of another person": {map[string]string{"sub": "person-canary"}, claiming("sub", "person-other"), false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var revoked []string
			f := newFixture(t, func(c *Config) {
				c.Revoke = func(_ context.Context, document []byte) error {
					revoked = append(revoked, string(document))
					return nil
				}
			})
			if test.change != nil {
				test.change(f.server)
			}
			link := f.linkWith(LinkOptions{Account: test.account}).URL
			response := f.browser.get(t, f.Flow, f.server.consent(t, f.start(link)))
			if n := f.server.count("/userinfo"); n != test.asked {
				t.Errorf("userinfo was asked for %d times", n)
			}
			if test.good {
				f.wantConnected(response)
				if len(revoked) > 0 {
					t.Error("it was revoked all the same")
				}
				return
			}
			f.wantFailure(response, ErrOtherAccount)
			if len(revoked) != 1 || !strings.Contains(revoked[0], "canary-r1") {
				t.Errorf("revoked %s", revoked)
			}
			f.start(link) // and signs in with the right one
		})
	}
}

func claiming(names ...any) func(*server) {
	return func(s *server) {
		for i := 0; i < len(names); i += 2 {
			s.claims[fmt.Sprint(names[i])] = names[i+1]
		}
	}
}

func TestAccountThatCannotBeRevoked(t *testing.T) {
	silent := errors.New("no answer")
	for name, revoke := range map[string]func(context.Context, []byte) error{
		"no way to":  nil,
		"no success": func(context.Context, []byte) error { return silent },
	} {
		f := newFixture(t, func(c *Config) { c.Revoke = revoke })
		link := f.linkWith(LinkOptions{Account: map[string]string{"sub": "person-other"}}).URL
		f.wantFailure(f.browser.get(t, f.Flow, f.server.consent(t, f.start(link))), ErrOtherAccount)
		if revoke != nil && !errors.Is(f.log.last(), silent) {
			t.Errorf("%s: %v", name, f.log.last())
		}
	}
}

func TestAccountsThatCannotBeTold(t *testing.T) {
	f := newFixture(t, nil)
	withoutIssuer := f.newFlow(func(c *Config) { c.Issuer, c.AuthorizationURL = "", literal("https://as.example/authorize") })
	if _, err := withoutIssuer.Link(t.Context(), tenant, LinkOptions{Account: map[string]string{"sub": "x"}}); !errors.Is(err, ErrAccount) {
		t.Errorf("without an issuer: %v", err)
	}
	for _, account := range []map[string]string{
		{"": "x"}, {"sub": ""}, {"a.#": "x"}, {"@this": "x"}, {"a|b": "x"}, {"a*": "x"}, {"a..b": "x"}, {"sub": long("x", 257)},
		{"a": "x", "b": "x", "c": "x", "d": "x", "e": "x"},
	} {
		if _, err := f.Link(t.Context(), tenant, LinkOptions{Account: account}); !errors.Is(err, ErrAccount) {
			t.Errorf("%v: %v", account, err)
		}
	}
}
