package authserver

import (
	"net/http"
	"net/url"
	"testing"
)

func TestRevocationEndsTheFamily(t *testing.T) {
	s, address := start(t, Config{})
	for hint, token := range map[string]func(Tokens) string{
		"refresh_token": func(t Tokens) string { return t.Refresh },
		"access_token":  func(t Tokens) string { return t.Access },
	} {
		before := len(s.Revocations())
		tokens, other := seed(t, s, "acme"), seed(t, s, "globex")
		form := url.Values{"token": {token(tokens)}, "token_type_hint": {hint}}
		if a, err := post(t, address+"/revoke", form, "sidecar", "another secret"); err != nil || a.Status != http.StatusUnauthorized {
			t.Errorf("another client: %+v, %v", a, err)
		}
		if _, ok := s.Spendable(tokens.Refresh); !ok {
			t.Fatal("revoked by a stranger")
		}
		if a, err := post(t, address+"/revoke", form, "sidecar", "s3cret/+%: ü"); err != nil || a.Status != http.StatusOK {
			t.Errorf("%+v, %v", a, err)
		}
		if _, ok := s.Spendable(tokens.Refresh); ok {
			t.Error("the refresh token can be spent")
		}
		if _, ok := s.Subject(tokens.Access); ok {
			t.Error("the access token is current")
		}
		if _, ok := s.Subject(other.Access); !ok {
			t.Error("another tenant's token died of it")
		}
		got := s.Revocations()[before:]
		if len(got) != 2 || got[0].Accepted || !got[1].Accepted || got[1].Tenant != "acme" || got[1].Hint != hint || got[1].Token != fingerprint(token(tokens)) {
			t.Errorf("ledger: %+v", got)
		}
	}
	form := url.Values{"token": {"nobody's"}}
	if a, err := post(t, address+"/revoke", form, "sidecar", "s3cret/+%: ü"); err != nil || a.Status != http.StatusOK {
		t.Errorf("nobody's token: %+v, %v", a, err)
	}
}
