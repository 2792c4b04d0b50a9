package refresh

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// ofTheTenant is a client that each tenant has for itself.
const ofTheTenant = "client_id {credential.client_id}\nclient_secret {credential.client_secret}"

// registers makes a tenant's client, and stores its credential, without a token or with one
// that has expired.
func registers(w *world.World, tenant string, expired bool) {
	w.Helper()
	secret := rand.Text()
	w.Secrets.Add("a client secret", secret)
	w.Check(w.Auth.Register(tenant, secret))
	document := map[string]any{"client_id": tenant, "client_secret": secret}
	if expired {
		document["access_token"], document["expires_at"] = "one-that-has-expired", time.Now().Add(-time.Minute).Format(time.RFC3339)
	}
	w.StoreRaw(tenant, document)
}

// Without a refresh token a token is obtained before the first request, is stored for
// everybody, and is obtained anew when the upstream rejects it. What the grant takes stays
// as it is, and a refresh token that comes with a token is not kept.
func TestGrantsWithoutARefreshToken(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pemOfKey := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	for name, grant := range map[string]struct {
		c        world.Configuration
		document map[string]any
		prepare  func(w *world.World)
		wrong    string // a field that the authorization server knows another value of
	}{
		"client_credentials": {
			world.Configuration{Client: ofTheTenant, OAuth2: "grant client_credentials"},
			map[string]any{"client_id": "acme", "client_secret": "s3cret/of=acme's &ü"},
			func(w *world.World) { w.Check(w.Auth.Register("acme", "s3cret/of=acme's &ü")) },
			"client_secret",
		},
		"password": {
			world.Configuration{OAuth2: "grant password\nusername {credential.user}\npassword {credential.password}\nscopes api"},
			map[string]any{"user": "acme", "password": "correct horse & battery=stäple"},
			func(w *world.World) { w.Auth.SetPassword("acme", "correct horse & battery=stäple") },
			"password",
		},
		"jwt_bearer": {
			world.Configuration{OAuth2: "grant jwt_bearer\nscopes api\nassertion {\nalgorithm ES256\nkey {credential.key}\nclaim iss {credential.service}\nclaim sub {credential.account}\n}"},
			map[string]any{"service": "robot@example.com", "account": "acme", "key": pemOfKey},
			func(w *world.World) { w.Auth.Trust("robot@example.com", "acme", "", key.Public()) },
			"service",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := world.New(t)
			grant.prepare(w)
			w.StoreRaw("acme", grant.document)
			w.StoreRaw("foreign", with(grant.document, map[string]any{grant.wrong: "another"}))
			grant.c.Store = world.PatientVault
			w.Start(grant.c)
			send := func(id string, attempts int) {
				t.Helper()
				r := world.Request{Tenant: "acme", ID: id, Body: world.RandomBytes(world.KiB)}
				if err := w.Delivered(r, w.Must(r)); err != nil || len(w.API.Attempts(id)) != attempts {
					t.Errorf("%d attempts, %v", len(w.API.Attempts(id)), err)
				}
			}
			send("first", 1)
			send("second", 1)
			w.Check(w.Auth.Expire("acme"))
			send("rejected", 2)
			w.Asked("acme", authserver.Granted, authserver.Granted)

			stored, _, err := w.StoredRaw("acme")
			w.Check(err)
			token, _ := stored["access_token"].(string)
			if tenant, current := w.Auth.Subject(token); !current || tenant != "acme" {
				t.Errorf("the access token in Vault is %q's, current: %t", tenant, current)
			}
			for field, want := range grant.document {
				if stored[field] != want {
					t.Errorf("%s is another than it was", field)
				}
			}
			if stored["refresh_token"] != nil {
				t.Error("a refresh token was kept")
			}
			if twice := w.Auth.PresentedTwice(); len(twice) > 0 {
				t.Errorf("presented twice: %+v", twice)
			}

			before := len(w.Auth.Ledger())
			for i := range 3 {
				res := w.Must(world.Request{Tenant: "foreign", ID: fmt.Sprint("foreign ", i)})
				code := res.Header.Get("Upstream-Auth-Error")
				// A client that is not known may be so by a mistake that is mended there; a
				// grant that is refused is refused for good.
				if name == "client_credentials" && (res.StatusCode != http.StatusServiceUnavailable || code != "refresh_failed") ||
					name != "client_credentials" && (res.StatusCode != http.StatusUnauthorized || code != "reauthorization_required") {
					t.Errorf("of another: %d %s", res.StatusCode, code)
				}
			}
			if asked := len(w.Auth.Ledger()) - before; asked != 1 {
				t.Errorf("%d token requests for what is refused", asked)
			}
		})
	}
}

// A thousand requests at three replicas for a tenant whose token by client credentials has
// expired are all answered, with no more token requests than replicas.
func TestAThousandRequestsObtainATokenOnceAReplica(t *testing.T) {
	f := world.NewFleet(t, world.Configuration{Quiet: true, Store: "timeout 20s", Client: ofTheTenant, OAuth2: "grant client_credentials"})
	const count = 1000
	registers(f.World, "acme", true)
	var all sync.WaitGroup
	failures := make([]error, count)
	for i := range count {
		w := f.Replicas()[i%3]
		r := world.Request{
			Proto:  []string{"HTTP/1.1", "h2c"}[i%2],
			Tenant: "acme", ID: fmt.Sprint("request ", i), Body: world.RandomBytes(1 + i%7*world.KiB), Chunked: i%5 == 0,
		}
		all.Go(func() {
			res, err := w.Send(w.Ctx, r)
			if err == nil {
				err = w.Delivered(r, res)
			}
			failures[i] = err
		})
	}
	all.Wait()
	failed := 0
	for _, err := range failures {
		if err != nil {
			if failed++; failed <= 5 {
				t.Error(err)
			}
		}
	}
	asked := len(f.Auth.Of("acme"))
	if failed > 0 || asked < 1 || asked > 3 {
		t.Errorf("%d requests failed, %d token requests", failed, asked)
	}
	t.Logf("%d requests, %d token requests", count, asked)
}
