package refresh

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/sdk"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// way is one of a client's to authenticate.
type way struct {
	name       string         // of the provider, the site, the client, and its tenant
	registered map[string]any // what the authorization server knows of the client
	lines      string         // of oauth2
	document   map[string]any
	foreign    map[string]any // what is different for who is not the client
	by         string         // what comes at the authorization server
}

// bySecret is a way by a secret.
func bySecret(name, registered, lines, by string) way {
	secret := rand.Text() + rand.Text()
	return way{
		name: name, registered: map[string]any{"client_secret": secret, "token_endpoint_auth_method": registered},
		lines: "client_secret {credential.secret}\n" + lines, by: by,
		document: map[string]any{"secret": secret}, foreign: map[string]any{"secret": rand.Text() + rand.Text()},
	}
}

// byKey is private_key_jwt.
func byKey(w *world.World, name, algorithm, lines string) way {
	w.Helper()
	var texts []string
	var public crypto.PublicKey
	for range 2 {
		var private crypto.Signer
		var err error
		if algorithm == "ES256" {
			private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		} else {
			private, err = rsa.GenerateKey(rand.Reader, 2048)
		}
		w.Check(err)
		der, err := x509.MarshalPKCS8PrivateKey(private)
		w.Check(err)
		texts = append(texts, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
		if public == nil {
			public = private.Public()
		}
	}
	return way{
		name: name, registered: registeredKey(public, algorithm),
		lines: "client_auth private_key_jwt\nclient_key {credential.key}\n" + lines, by: "client_assertion",
		document: map[string]any{"key": texts[0]}, foreign: map[string]any{"key": texts[1]},
	}
}

func registeredKey(public crypto.PublicKey, algorithm string) map[string]any {
	return map[string]any{
		"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": algorithm,
		"jwks": jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, Use: "sig", Algorithm: algorithm}}},
	}
}

// An authorization server of another make lets the sidecar in by each way of client
// authentication that it has, and by the ones that it names in its metadata where nothing
// but the issuer is configured. Whoever has another secret, key or certificate gets 503,
// and asks once.
func TestOIDCProviderAuthenticatesTheClient(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Certificates("client")
	certificate := fmt.Sprintf("tls_ca %[1]s/ca.pem\ntls_client_cert %[1]s/client.pem\ntls_client_key %[1]s/client.key", w.Files)
	const issuer, endpoint = "issuer ISSUER", "token_url ISSUER/token"
	rs256 := "client_assertion {\nalgorithm RS256\n}\n"
	es256 := "client_assertion {\nalgorithm ES256\n}\n"
	ways := []way{
		bySecret("basic", "client_secret_basic", endpoint, "basic"),
		bySecret("post", "client_secret_post", "client_auth post\n"+endpoint, "client_secret"),
		bySecret("secret-jwt", "client_secret_jwt", "client_auth client_secret_jwt\n"+endpoint, "client_assertion"),
		bySecret("secret-jwt-of-issuer", "client_secret_jwt", "client_auth client_secret_jwt\n"+issuer, "client_assertion"),
		byKey(w, "es256", "ES256", es256+endpoint),
		byKey(w, "es256-of-issuer", "ES256", es256+issuer),
		byKey(w, "rs256", "RS256", rs256+endpoint),
		byKey(w, "rs256-of-issuer", "RS256", issuer),
		bySecret("issuer-alone", "client_secret_basic", issuer, "basic"),
		bySecret("issuer-that-names-post", "client_secret_post", "issuer POST_ISSUER", "client_secret"),
		{
			name: "tls", registered: map[string]any{"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_uri": "spiffe://example.org/tenant/client"},
			lines: "client_auth tls_client_auth\ntoken_url TLS_ISSUER/token\n" + certificate, by: "none", foreign: map[string]any{"client_id": "another"},
		},
	}
	clients := []map[string]any{{
		"client_id": "another", "token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_uri": "spiffe://example.org/tenant/another",
	}}
	var post []map[string]any
	for _, way := range ways {
		client := with(way.registered, map[string]any{"client_id": way.name})
		if way.name == "issuer-that-names-post" {
			post = append(post, client)
		} else {
			clients = append(clients, client)
		}
	}
	for _, client := range append(clients, post...) {
		client["grant_types"], client["response_types"], client["redirect_uris"] = []string{"client_credentials"}, []string{}, []string{}
	}
	p := startOIDCProvider(w, sdk.OIDCOptions{Clients: clients, Certificates: w.Files})
	postOnly := startOIDCProvider(w, sdk.OIDCOptions{Clients: post, ClientAuth: []string{"client_secret_post"}})
	w.API.Subject = subjectBy(w, p, postOnly)

	where := strings.NewReplacer("POST_ISSUER", postOnly.URL, "TLS_ISSUER", p.TLSURL, "ISSUER", p.URL)
	var others, beside strings.Builder
	for _, way := range ways {
		document := with(way.document, map[string]any{"client_id": way.name})
		for name, value := range way.document {
			w.Secrets.Add("a "+name, value.(string))
		}
		fmt.Fprintf(&others, "provider %s {\noauth2 {\ngrant client_credentials\nclient_id {credential.client_id}\n%s\n}\n}\n", way.name, where.Replace(way.lines))
		fmt.Fprintf(&beside, "http://%s {\nbind fd/3\nupstream_auth %s %s\n}\n", way.name, way.name, w.APIURL)
		for tenant, document := range map[string]map[string]any{way.name: document, "foreign": with(document, way.foreign)} {
			_, err := w.Vault.Root.KVv2("secret").Put(w.Ctx, "upstream-auth/"+way.name+"/"+tenant, document)
			w.Check(err)
		}
	}
	w.Start(world.Configuration{Store: world.PatientVault, Others: others.String(), Beside: beside.String()})

	for _, way := range ways {
		for i := range 2 {
			r := world.Request{Site: way.name, Tenant: way.name, ID: fmt.Sprint(way.name, i), Body: world.RandomBytes(world.KiB)}
			if err := w.Delivered(r, w.Must(r)); err != nil {
				t.Error(err)
			}
			r = world.Request{Site: way.name, Tenant: "foreign", ID: fmt.Sprint(way.name, " of another ", i)}
			res := w.Expect(r, http.StatusServiceUnavailable)
			if code := res.Header.Get("Upstream-Auth-Error"); code != "refresh_failed" || len(w.API.Attempts(r.ID)) > 0 {
				t.Errorf("%s: %s, the upstream was asked %d times", r.ID, code, len(w.API.Attempts(r.ID)))
			}
		}
	}
	answers := make(map[string]string)
	for _, p := range []*sdk.OIDCProvider{p, postOnly} {
		requests, err := p.Requests(w.Ctx)
		w.Check(err)
		for _, r := range requests {
			answers[r.Client] += fmt.Sprintf("%d %s %s; ", r.Status, r.Error, r.By)
		}
	}
	answers["tls"] += answers["another"]
	for _, way := range ways {
		if want := fmt.Sprintf("200  %s; 401 invalid_client %[1]s; ", way.by); answers[way.name] != want {
			t.Errorf("%s: token requests %q, not %q", way.name, answers[way.name], want)
		}
	}
}

// The client's key does not leave Vault: its Transit engine signs the assertion.
func TestVaultsTransitAuthenticatesTheClient(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.MountTransit()
	public := w.TransitKey("api-client", "ecdsa-p256")
	client := with(registeredKey(public, "ES256"), map[string]any{
		"client_id": "acme", "grant_types": []string{"client_credentials"}, "response_types": []string{}, "redirect_uris": []string{},
	})
	p := startOIDCProvider(w, sdk.OIDCOptions{Clients: []map[string]any{client}})
	w.AuthURL, w.API.Subject = p.URL, subjectBy(w, p)
	w.StoreRaw("acme", map[string]any{"client_id": "acme"})
	w.Start(world.Configuration{
		Store: world.PatientVault, OAuth2: "grant client_credentials",
		Client: "client_id {credential.client_id}\nclient_key vault_transit api-client\nclient_assertion {\nalgorithm ES256\n}",
	})
	res := w.Expect(world.Request{Tenant: "acme", ID: "not allowed"}, http.StatusServiceUnavailable)
	if code := res.Header.Get("Upstream-Auth-Error"); code != "store_unavailable" {
		t.Errorf("without the policy: %s", code)
	}
	w.Eventually(func() error { // the answer may be here before the line in the log
		if !bytes.Contains(w.Caddy.Output(), []byte("the store's policy does not allow update on transit/sign/api-client")) {
			return errors.New("the log does not say what is missing")
		}
		return nil
	})
	policy, err := world.PolicyText("upstream-auth-transit")
	w.Check(err)
	w.Check(w.Vault.Root.Sys().PutPolicyWithContext(w.Ctx, "upstream-auth-transit", policy))
	w.Check(w.Vault.Grant(w.Ctx, world.Policy, "upstream-auth-transit"))
	w.Recovers("acme")
	requests, err := p.Requests(w.Ctx)
	if err != nil || len(requests) != 1 || requests[0].By != "client_assertion" {
		t.Errorf("token requests: %+v, %v", requests, err)
	}
}

// startOIDCProvider starts one that ends with the test.
func startOIDCProvider(w *world.World, o sdk.OIDCOptions) *sdk.OIDCProvider {
	w.Helper()
	o.ClientID, o.ClientSecret = "sidecar", rand.Text()
	p, err := sdk.StartOIDCProvider(w.Ctx, o)
	w.Check(err)
	w.Cleanup(p.Kill)
	return p
}

// subjectBy asks authorization servers whose a token is.
func subjectBy(w *world.World, providers ...*sdk.OIDCProvider) func(access string) (tenant string, current bool) {
	return func(access string) (tenant string, current bool) {
		for _, p := range providers {
			if tenant, current, err := p.Subject(w.Ctx, access); err == nil && current {
				return tenant, true
			}
		}
		return "", false
	}
}

// with returns members and others that go before them.
func with(members, others map[string]any) map[string]any {
	all := make(map[string]any)
	for _, m := range []map[string]any{members, others} {
		for name, value := range m {
			all[name] = value
		}
	}
	return all
}
