package refresh

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/zitadel"
)

// exchanging starts an authorization server of another make that exchanges tokens, and
// stores what tenants bring: acme a token of its own, which an actor has to stand beside;
// others one that the server does not know, another secret, or no actor.
func exchanging(w *world.World) (s *zitadel.Server, exchange string) {
	w.Helper()
	secret := rand.Text()
	s, err := zitadel.Start("home", secret, "acme", "robot")
	w.Check(err)
	w.Cleanup(s.Close)
	document := map[string]any{"home_secret": secret}
	for field, user := range map[string]string{"subject": "acme", "actor": "robot"} {
		token, err := s.Token(w.Ctx, user)
		w.Check(err)
		document[field] = token
	}
	for field, value := range document {
		w.Secrets.Add("the "+field, value.(string))
	}
	w.StoreRaw("acme", document)
	w.StoreRaw("foreign-subject", with(document, map[string]any{"subject": "not." + rand.Text() + ".token"}))
	w.StoreRaw("foreign-secret", with(document, map[string]any{"home_secret": rand.Text()}))
	w.StoreRaw("foreign-actor", with(document, map[string]any{"actor": "not." + rand.Text() + ".token"}))
	return s, `
		grant token_exchange
		token_url ` + s.URL + `/oauth/token
		client_id home
		client_secret {credential.home_secret}
		subject_token {credential.subject}
		param actor_token {credential.actor}
		param actor_token_type urn:ietf:params:oauth:token-type:access_token
		param requested_token_type urn:ietf:params:oauth:token-type:access_token
		scopes openid`
}

// served checks that acme is served, by one attempt.
func served(w *world.World, id string) {
	w.Helper()
	r := world.Request{Tenant: "acme", ID: id, Body: world.RandomBytes(world.KiB)}
	if err := w.Delivered(r, w.Must(r)); err != nil || len(w.API.Attempts(id)) != 1 {
		w.Errorf("%s: %d attempts, %v", id, len(w.API.Attempts(id)), err)
	}
}

// refusedOnce checks that those whose exchange is refused get 503, and are asked for once.
func refusedOnce(w *world.World, s *zitadel.Server, told string) {
	w.Helper()
	for tenant, code := range map[string]string{"foreign-subject": "invalid_request", "foreign-secret": "invalid_client", "foreign-actor": "invalid_request"} {
		before := len(s.Requests())
		for i := range 3 {
			res := w.Expect(world.Request{Tenant: tenant, ID: fmt.Sprint(tenant, i)}, http.StatusServiceUnavailable)
			if got := res.Header.Get("Upstream-Auth-Error"); got != "refresh_failed" {
				w.Errorf("%s: %s", tenant, got)
			}
		}
		asked := s.Requests()[before:]
		if len(asked) != 1 || asked[0].Error != code {
			w.Errorf("%s: token requests %+v", tenant, asked)
		}
		w.Eventually(func() error { // the answer may be here before the line in the log
			if !bytes.Contains(w.Caddy.Output(), fmt.Appendf(nil, "%s%d, %s", told, asked[0].Status, code)) {
				return errors.New("the log does not say who refused what")
			}
			return nil
		})
	}
}

// The tenant's token is exchanged for one that the API takes (RFC 8693), with that of an actor.
func TestATokenIsExchanged(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	s, exchange := exchanging(w)
	w.API.Subject = s.Subject
	w.Start(world.Configuration{Store: world.PatientVault, Schemes: "oauth2 {" + exchange + "\n}"})
	served(w, "first")
	served(w, "second")
	if asked := s.Requests(); len(asked) != 1 || asked[0].Client != "home" || !strings.HasSuffix(asked[0].GrantType, "token-exchange") {
		t.Errorf("token requests %+v", asked)
	}
	refusedOnce(w, s, "token endpoint answered ")
}

// The tenant's token is exchanged for an assertion at its own authorization server, and that
// at the API's, of a third make, for a token (draft-ietf-oauth-identity-chaining).
func TestAnExchangedTokenIsAnAssertionElsewhere(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	s, exchange := exchanging(w)
	id, public, err := s.Key(w.Ctx)
	w.Check(err)
	w.Auth.Trust(s.URL, "acme", id, public)
	w.Start(world.Configuration{
		Store:  world.PatientVault,
		OAuth2: "grant jwt_bearer\nscopes api\nassertion_from {" + exchange + "\naudience " + w.AuthURL + "/token\n}",
	})
	served(w, "first")
	served(w, "second")
	w.Asked("acme", authserver.Granted)
	w.Check(w.Auth.Expire("acme"))
	w.Recovers("acme") // by another assertion: one is taken once
	w.Asked("acme", authserver.Granted, authserver.Granted)
	if asked := s.Requests(); len(asked) != 2 {
		t.Errorf("token requests for assertions %+v", asked)
	}
	before := len(w.Auth.Ledger())
	refusedOnce(w, s, "assertion_from: token endpoint answered ")
	if asked := len(w.Auth.Ledger()) - before; asked != 0 {
		t.Errorf("%d token requests without an assertion", asked)
	}
}
