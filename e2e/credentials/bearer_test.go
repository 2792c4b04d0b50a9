package credentials

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// Tokens and bodies that are not as they have to be change nothing, and what is wrong
// is said.
func TestForgedTokensAndHostileBodies(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Start(w.WithAPI(world.Configuration{Keys: true, Store: world.PatientVault}, "audience credentials-api"))
	key := w.NewKey("acme")
	w.StoreRaw("acme", world.KeyDocument{APIKey: key})
	good := func() world.Claims { return world.ClaimsOf("acme").With("aud", "credentials-api") }
	other := func(algorithm jose.SignatureAlgorithm, secret string) string {
		return w.SignedWith(jose.SigningKey{Algorithm: algorithm, Key: []byte(secret)}, good())
	}
	secret := w.Read(world.WorkspaceSecret)
	padded := secret + strings.Repeat("\x00", 64) // of the same HMAC key, if it is shorter than a block
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." +
		strings.Split(w.Signed(good()), ".")[1] + "."
	anHourAgo := time.Now().Add(-time.Hour).Unix()
	for name, c := range map[string]struct{ token, code string }{
		"none at all":             {"", "token_missing"},
		"no JWT":                  {"a token of no kind", "token_invalid"},
		"alg none":                {unsigned, "token_invalid"},
		"alg none with signature": {unsigned + "c2lnbmF0dXJl", "token_invalid"},
		"another algorithm":       {other(jose.HS512, padded), "token_invalid"},
		"another secret":          {other(jose.HS256, "a secret of somebody else's, as long as it needs to be"), "token_invalid"},
		"another issuer":          {w.Signed(good().With("iss", "somebody else")), "token_invalid"},
		"no issuer":               {w.Signed(good().Without("iss")), "token_invalid"},
		"another audience":        {w.Signed(good().With("aud", []string{"another-api"})), "token_invalid"},
		"no audience":             {w.Signed(good().Without("aud")), "token_invalid"},
		"expired":                 {w.Signed(good().With("exp", anHourAgo)), "token_expired"},
		"no expiry":               {w.Signed(good().Without("exp")), "token_invalid"},
		"not yet":                 {w.Signed(good().With("nbf", time.Now().Add(time.Hour).Unix())), "token_invalid"},
		"no tenant":               {w.Signed(good().Without("id")), "token_invalid"},
		"a tenant out of bounds":  {w.Signed(good().With("id", "../acme")), "token_invalid"},
		"a list of tenants":       {w.Signed(good().With("id", []string{"acme"})), "token_invalid"},
		"the tenant's name alone": {"acme", "token_invalid"},
		"changed by one":          {flipped(w.Signed(good())), "token_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.Within(t)
			a := w.Answers(world.Call{Token: c.token, Patch: world.KeyDocument{APIKey: "a key of whoever forged this"}}, http.StatusUnauthorized, c.code)
			if !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") || a.Message == "" {
				t.Errorf("challenge %q, message %q", a.Header.Get("WWW-Authenticate"), a.Message)
			}
		})
	}
	token := w.Signed(good())
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"too large":           {`{"credentials":{"apiKey":"` + strings.Repeat("x", 2*world.MiB) + `"}}`, http.StatusRequestEntityTooLarge, "request_too_large"},
		"too deep":            {`{"credentials":` + strings.Repeat(`{"a":`, 50_000) + "1" + strings.Repeat("}", 50_000) + "}", http.StatusBadRequest, "request_invalid"},
		"no JSON":             {`{"credentials":{"apiKey":`, http.StatusBadRequest, "request_invalid"},
		"a member twice":      {`{"credentials":{"apiKey":"one"},"credentials":{"apiKey":"two"}}`, http.StatusBadRequest, "request_invalid"},
		"a field twice":       {`{"credentials":{"apiKey":"one","apiKey":"two"}}`, http.StatusUnprocessableEntity, "credential_invalid"},
		"unknown member":      {`{"credentials":{"apiKey":"x"},"tenant":"globex"}`, http.StatusBadRequest, "request_invalid"},
		"no credentials":      {`{}`, http.StatusBadRequest, "request_invalid"},
		"no object":           {`{"credentials":["apiKey"]}`, http.StatusUnprocessableEntity, "credential_invalid"},
		"a field is missing":  {`{"credentials":{"key":"x"}}`, http.StatusUnprocessableEntity, "credential_invalid"},
		"a header in a field": {`{"credentials":{"apiKey":"x\r\nX-Injected: y"}}`, http.StatusUnprocessableEntity, "credential_invalid"},
		"our own key":         {`{"credentials":{"apiKey":"x","_upstream_auth":{"disabled":"true"}}}`, http.StatusUnprocessableEntity, "credential_invalid"},
	} {
		t.Run(name, func(t *testing.T) { w.Within(t).Answers(world.Call{Token: token, Body: c.body}, c.status, c.code) })
	}
	w.Check(w.HoldsKey("acme", key))
	if _, version, err := w.StoredRaw("acme"); err != nil || version != 1 {
		t.Errorf("version %d, %v", version, err)
	}
	w.Answers(world.Call{Token: token, Patch: world.KeyDocument{APIKey: key}}, http.StatusOK, "")
}

// flipped is a token with another signature.
func flipped(token string) string {
	at := strings.LastIndexByte(token, '.') + 1
	digit := byte('A')
	if token[at] == digit {
		digit = 'B'
	}
	return token[:at] + string(digit) + token[at+1:]
}

// A key set in a file counts as it is, and one that is fetched is fetched again for a
// key that is new. A key that was removed from either counts no longer, and a public
// key is never taken for a shared secret.
func TestKeySetsAreRotated(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	first, second := newSigningKey(t, "first"), newSigningKey(t, "second")
	var published atomic.Pointer[signingKey]
	var fetched atomic.Int64
	server := w.Serve(httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		_, _ = rw.Write(keySet(published.Load()))
	})))
	file := filepath.Join(w.Files, "jwks.json")
	publish := func(key *signingKey) {
		published.Store(key)
		w.Check(os.WriteFile(file+".new", keySet(key), 0o600))
		w.Check(os.Rename(file+".new", file))
	}
	publish(first)
	const byURL, byFile, algorithms = world.APISite, "keys-in-a-file", "\nalgorithms RS256\n}"
	w.Start(world.Configuration{Keys: true, Store: world.PatientVault}.With(byURL, "token jwks {\nurl "+server+algorithms).With(byFile, "token jwks {\nfile "+file+algorithms))
	key := w.NewKey("acme")
	calls := func(site string, signer *signingKey) world.Call {
		return world.Call{Site: site, Token: w.SignedWith(signer.private(), world.ClaimsOf("acme")), Patch: world.KeyDocument{APIKey: key}}
	}
	accepted := func(c world.Call) { t.Helper(); w.Answers(c, http.StatusOK, "") }
	refused := func(c world.Call) { t.Helper(); w.Answers(c, http.StatusUnauthorized, "token_invalid") }

	for _, site := range []string{byURL, byFile} {
		accepted(calls(site, first))
		refused(calls(site, second))
		for name, public := range first.asSecrets(t) {
			forged := jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: public, KeyID: "first"}}
			c := world.Call{Site: site, Token: w.SignedWith(forged, world.ClaimsOf("acme")), Patch: world.KeyDocument{APIKey: "a forged key"}}
			if a := w.Answers(c, http.StatusUnauthorized, "token_invalid"); a.Message == "" {
				t.Errorf("%s: no message", name)
			}
		}
	}

	publish(second)
	begun := time.Now()
	accepted(calls(byFile, second))
	refused(calls(byFile, first))

	// However many ask for it, a key set is fetched again after ten seconds at the
	// earliest.
	w.Soon(15*time.Second, func() error {
		var all sync.WaitGroup
		var served atomic.Bool
		for range 10 {
			c := calls(byURL, second)
			all.Go(func() {
				if a, err := w.Call(c); err == nil && a.StatusCode == http.StatusOK {
					served.Store(true)
				}
			})
		}
		all.Wait()
		if !served.Load() {
			return fmt.Errorf("the new key is not accepted after %v", time.Since(begun))
		}
		return nil
	})
	refused(calls(byURL, first))
	accepted(calls(byURL, second))
	if got := fetched.Load(); got > 3 {
		t.Errorf("the key set was fetched %d times", got)
	}
	t.Logf("the new key counts after %v and %d fetches", time.Since(begun).Round(time.Millisecond), fetched.Load())
	w.Check(w.HoldsKey("acme", key))
}

// signingKey is a key pair with a name.
type signingKey struct {
	id  string
	key *rsa.PrivateKey
}

func newSigningKey(t *testing.T, id string) *signingKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &signingKey{id, key}
}

func (k *signingKey) private() jose.SigningKey {
	return jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k.key, KeyID: k.id}}
}

// asSecrets are the forms of the public key that somebody may take for a secret.
func (k *signingKey) asSecrets(t *testing.T) map[string][]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&k.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return map[string][]byte{"DER": der, "PEM": block, "PEM without its last newline": bytes.TrimSpace(block), "key set": keySet(k)}
}

// keySet is a JWK set of one public key.
func keySet(k *signingKey) []byte {
	set, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &k.key.PublicKey, KeyID: k.id, Use: "sig", Algorithm: "RS256"}}})
	return set
}
