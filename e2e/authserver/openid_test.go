package authserver

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// provider is how a client learns of the server. Its HTTP client leaves no connection.
func (f *flow) provider() (context.Context, *oidc.Provider) {
	f.Helper()
	ctx := oidc.ClientContext(f.Context(), &http.Client{Transport: &http.Transport{DisableKeepAlives: true}})
	provider, err := oidc.NewProvider(ctx, f.address)
	if err != nil {
		f.Fatal(err)
	}
	return ctx, provider
}

func TestIDToken(t *testing.T) {
	const nonce = "a nonce of enough characters"
	for name, c := range map[string]struct {
		behaviour      Behaviour
		refused        bool // by who verifies it
		nonce, subject string
	}{
		"as it should be":          {nonce: nonce, subject: "acme"},
		"for another nonce":        {behaviour: Behaviour{Claims: func(c map[string]any) { c["nonce"] = "another" }}, nonce: "another", subject: "acme"},
		"of another person":        {behaviour: Behaviour{Claims: func(c map[string]any) { c["sub"] = "globex" }}, nonce: nonce, subject: "globex"},
		"for another audience":     {behaviour: Behaviour{Claims: func(c map[string]any) { c["aud"] = "another" }}, refused: true},
		"by another issuer":        {behaviour: Behaviour{Claims: func(c map[string]any) { c["iss"] = "https://mallory.example" }}, refused: true},
		"expired":                  {behaviour: Behaviour{Claims: func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() }}, refused: true},
		"with another's signature": {behaviour: Behaviour{ForeignKey: true}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := begin(t, Config{})
			f.server.Play(func(Entry) Behaviour { return c.behaviour })
			a, err := f.exchange(f.code())
			if err != nil || a.Access == "" {
				t.Fatalf("%+v, %v", a, err)
			}
			ctx, provider := f.provider()
			token, err := provider.Verifier(&oidc.Config{ClientID: "sidecar"}).Verify(ctx, a.IDToken)
			if c.refused {
				if err == nil {
					t.Error("it was accepted")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var claims struct{ Tid string }
			if err := token.Claims(&claims); err != nil || claims.Tid != "tid-acme" {
				t.Errorf("%+v, %v", claims, err)
			}
			if token.Nonce != c.nonce || token.Subject != c.subject {
				t.Errorf("nonce %q, subject %q", token.Nonce, token.Subject)
			}
			if err := token.VerifyAccessToken(a.Access); err != nil {
				t.Error(err)
			}
		})
	}
}

// get returns the status and the JSON document at a path.
func (f *flow) get(path, token string) (status int, document map[string]any) {
	f.Helper()
	req, err := http.NewRequest(http.MethodGet, f.address+path, nil)
	if err != nil {
		f.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		f.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&document); err != nil && err != io.EOF {
		f.Fatal(err)
	}
	return res.StatusCode, document
}

func TestDiscovery(t *testing.T) {
	f := begin(t, Config{
		ClientAuth: Post,
		Metadata:   func(document map[string]any) { delete(document, "userinfo_endpoint") },
	})
	_, oauth := f.get("/.well-known/oauth-authorization-server", "")
	_, openid := f.get("/.well-known/openid-configuration", "")
	if !slices.Equal(slices.Sorted(maps.Keys(oauth)), slices.Sorted(maps.Keys(openid))) {
		t.Errorf("they differ: %v, %v", oauth, openid)
	}
	if _, ok := oauth["userinfo_endpoint"]; ok {
		t.Error("the test had no say")
	}
	for name, want := range map[string]any{
		"issuer": f.address, "token_endpoint": f.address + "/token", "revocation_endpoint": f.address + "/revoke",
		"authorization_response_iss_parameter_supported": true,
	} {
		if oauth[name] != want {
			t.Errorf("%s: %v", name, oauth[name])
		}
	}
	if methods, _ := oauth["token_endpoint_auth_methods_supported"].([]any); len(methods) != 1 || methods[0] != "client_secret_post" {
		t.Errorf("methods: %v", methods)
	}

	f = begin(t, Config{Issuer: "https://login.example"})
	if _, document := f.get("/.well-known/openid-configuration", ""); document["issuer"] != "https://login.example" {
		t.Errorf("issuer: %v", document)
	}
}

func TestUserinfoIsForItsOwner(t *testing.T) {
	f := begin(t, Config{Claims: func(account string) map[string]any { return map[string]any{"email": account + "@example.com"} }})
	a, err := f.exchange(f.code())
	if err != nil {
		t.Fatal(err)
	}
	if status, claims := f.get("/userinfo", a.Access); status != http.StatusOK || claims["sub"] != "acme" || claims["email"] != "acme@example.com" {
		t.Errorf("%d %v", status, claims)
	}
	for _, token := range []string{"", "another", a.Refresh} {
		if status, claims := f.get("/userinfo", token); status != http.StatusUnauthorized || claims != nil {
			t.Errorf("with %q: %d %v", token, status, claims)
		}
	}
}
