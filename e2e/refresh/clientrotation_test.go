package refresh

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/sdk"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// ofClientCredentials makes a registered client one for client credentials alone.
func ofClientCredentials(client map[string]any) map[string]any {
	return with(client, map[string]any{"grant_types": []string{"client_credentials"}, "response_types": []string{}, "redirect_uris": []string{}})
}

// answersTo are the answers to the token requests of a client.
func answersTo(w *world.World, p *sdk.OIDCProvider, client string) (answers string) {
	w.Helper()
	requests, err := p.Requests(w.Ctx)
	w.Check(err)
	for _, r := range requests {
		if r.Client == client {
			answers += fmt.Sprintf("%d %s;", r.Status, r.Error)
		}
	}
	return answers
}

// While secrets are changed for others, clients whose server knows the new one and clients
// whose server knows the old one get their tokens, by two token requests at most, and the
// secret that was taken last is taken first. Who has neither is refused both.
func TestTwoSecretsDuringARotation(t *testing.T) {
	t.Parallel()
	for name, method := range map[string]string{"basic": "client_secret_basic", "post": "client_secret_post", "client_secret_jwt": "client_secret_jwt"} {
		t.Run(name, func(t *testing.T) {
			w := world.New(t)
			clients := []struct{ id, knows, answers string }{
				{"first", "new", "401 invalid_client;200 ;"},
				{"second", "new", "200 ;"},
				{"not-yet", "old", "401 invalid_client;200 ;"},
				{"third", "new", "401 invalid_client;200 ;"},
				{"foreign", "neither", "401 invalid_client;401 invalid_client;"},
			}
			var registered []map[string]any
			for _, c := range clients {
				document := map[string]any{"client_id": c.id}
				known := rand.Text() + rand.Text()
				for _, secret := range []string{"old", "new"} {
					document[secret] = rand.Text() + rand.Text()
					w.Secrets.Add("a secret", document[secret].(string))
					if secret == c.knows {
						known = document[secret].(string)
					}
				}
				w.StoreRaw(c.id, document)
				registered = append(registered, ofClientCredentials(map[string]any{"client_id": c.id, "client_secret": known, "token_endpoint_auth_method": method}))
			}
			p := startOIDCProvider(w, sdk.OIDCOptions{Clients: registered})
			w.AuthURL, w.API.Subject = p.URL, subjectBy(w, p)
			w.Start(world.Configuration{
				Store: world.PatientVault, OAuth2: "grant client_credentials",
				Client: "client_id {credential.client_id}\nclient_auth " + name + "\nclient_secret {credential.old}\nclient_secret {credential.new}",
			})
			for _, c := range clients {
				for i := range 2 {
					r := world.Request{Tenant: c.id, ID: fmt.Sprint(c.id, i), Body: world.RandomBytes(world.KiB)}
					if c.knows == "neither" {
						w.Expect(r, http.StatusServiceUnavailable)
					} else if err := w.Delivered(r, w.Must(r)); err != nil {
						t.Error(err)
					}
				}
				if got := answersTo(w, p, c.id); got != c.answers {
					t.Errorf("%s: token requests %q, not %q", c.id, got, c.answers)
				}
			}
		})
	}
}

// The JWT that authenticates the client lies in a file that is replaced while the sidecar
// runs, as Kubernetes replaces it. The authorization server takes each one once, so that a
// token shows which one was sent.
func TestClientAssertionFileIsReplaced(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.Check(err)
	client := ofClientCredentials(with(registeredKey(key.Public(), "ES256"), map[string]any{"client_id": "acme"}))
	p := startOIDCProvider(w, sdk.OIDCOptions{Clients: []map[string]any{client}})
	var rejected sync.Map
	subject := subjectBy(w, p)
	w.AuthURL, w.API.Subject = p.URL, func(access string) (string, bool) {
		tenant, current := subject(access)
		_, gone := rejected.Load(access)
		return tenant, current && !gone
	}
	reject := func() {
		t.Helper()
		stored, _, err := w.StoredRaw("acme")
		w.Check(err)
		rejected.Store(stored["access_token"], true)
	}
	dir := t.TempDir()
	replace := func(version string) {
		t.Helper()
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
		w.Check(err)
		token, err := jwt.Signed(signer).Claims(jwt.Claims{
			Issuer: "acme", Subject: "acme", Audience: jwt.Audience{p.URL}, ID: version,
			IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(time.Minute)),
		}).Serialize()
		w.Check(err)
		w.Secrets.Add("an assertion", token)
		w.Check(os.Mkdir(filepath.Join(dir, version), 0o700))
		w.Check(os.WriteFile(filepath.Join(dir, version, "token"), []byte(token), 0o600))
		w.Check(os.Symlink(version, filepath.Join(dir, "..next")))
		w.Check(os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data")))
	}
	replace("one")
	w.Check(os.Symlink(filepath.Join("..data", "token"), filepath.Join(dir, "token")))
	w.StoreRaw("acme", map[string]any{"account": "of acme"})
	w.Start(world.Configuration{
		Store: world.PatientVault, OAuth2: "grant client_credentials",
		Client: "client_id acme\nclient_assertion_file " + filepath.Join(dir, "token"),
	})
	w.Recovers("acme")
	reject()
	replace("two")
	w.Recovers("acme")
	if got := answersTo(w, p, "acme"); got != "200 ;200 ;" {
		t.Errorf("token requests %q", got)
	}
	reject()
	res := w.Expect(world.Request{Tenant: "acme", ID: "the same once more"}, http.StatusUnauthorized)
	if code := res.Header.Get("Upstream-Auth-Error"); code != "refresh_failed" {
		t.Errorf("code %q", code)
	}
	replace("three")
	w.Recovers("acme")
}
