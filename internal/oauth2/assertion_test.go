package oauth2

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/upstreamauth/caddy-upstream-auth/internal/jwt"
	"github.com/upstreamauth/caddy-upstream-auth/internal/template"
)

// newKey makes a key and writes it into a file, as PEM.
func newKey(t *testing.T) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return key, file
}

// claims verifies a JWT by a key, and returns what it claims.
func claims(t *testing.T, text string, algorithm jose.SignatureAlgorithm, key any) (claimed josejwt.Claims, header jose.Header, more map[string]any) {
	t.Helper()
	parsed, err := josejwt.ParseSigned(text, []jose.SignatureAlgorithm{algorithm})
	if err == nil {
		err = parsed.Claims(key, &claimed, &more)
	}
	if err == nil {
		err = claimed.ValidateWithLeeway(josejwt.Expected{Time: time.Now()}, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claimed, parsed.Headers[0], more
}

func TestAnAssertionIsExchangedForAToken(t *testing.T) {
	key, file := newKey(t)
	r := newRenewer(t, func(c *Config) {
		c.Grant = GrantJWTBearer
		c.Client = Client{ClientID: text(t, "id"), ClientAuth: ClientAuthNone}
		c.Scopes = []*template.Template{text(t, "read")}
		c.Assertion = &jwt.Config{Algorithm: "ES256", KeyFile: file, Lifetime: time.Hour, Header: []jwt.Field{{Name: "kid", Value: text(t, "{credential.kid}")}}, Claims: []jwt.Field{
			{Name: "iss", Value: text(t, "{credential.client_email}")}, {Name: "scope", Value: text(t, "read")},
		}}
	})
	_, body := request(t, r, `{"client_email":"robot@example","kid":"k1"}`)
	form, err := url.ParseQuery(body)
	if err != nil || form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || form.Get("scope") != "read" || form.Get("client_id") != "id" {
		t.Fatalf("%s, %v", body, err)
	}
	claimed, header, more := claims(t, form.Get("assertion"), jose.ES256, &key.PublicKey)
	if claimed.Issuer != "robot@example" || len(claimed.Audience) != 1 || claimed.Audience[0] != "https://as.example/token" || header.KeyID != "k1" || more["scope"] != "read" {
		t.Errorf("%+v %+v %v", claimed, header, more)
	}
	if spent, err := r.Spends(newCredential(t, `{"refresh_token":"r"}`)); spent != "" || err != nil {
		t.Errorf("spends %q, %v", spent, err)
	}
	if _, _, err := r.Request(t.Context(), newCredential(t, `{"kid":"k1"}`)); err == nil || !strings.Contains(err.Error(), "client_email") {
		t.Errorf("without a field: %v", err)
	}
}

const longSecret = "a secret of more than thirty-two bytes"

func TestAClientAuthenticatesByAJWT(t *testing.T) {
	key, file := newKey(t)
	private := newRenewer(t, func(c *Config) {
		c.Grant = GrantClientCredentials
		c.Client = Client{ClientID: text(t, "{credential.client}"), ClientKey: &jwt.Config{Algorithm: "ES256", KeyFile: file}}
	})
	secret := newRenewer(t, func(c *Config) {
		c.Grant, c.ClientAuth, c.Issuer = GrantClientCredentials, ClientAuthSecretJWT, "https://as.example"
		c.ClientID, c.ClientSecrets = text(t, "{credential.client}"), []Secret{{Text: text(t, longSecret)}}
	})
	ids := make(map[string]bool)
	for range 2 {
		for r, verify := range map[*Renewer]struct {
			algorithm jose.SignatureAlgorithm
			key       any
			audience  string
		}{
			private: {jose.ES256, &key.PublicKey, "https://as.example/token"},
			secret:  {jose.HS256, []byte(longSecret), "https://as.example"},
		} {
			req, body := request(t, r, `{"client":"acme"}`)
			form, err := url.ParseQuery(body)
			if err != nil || form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" ||
				form.Get("client_id") != "acme" || form.Has("client_secret") || req.Header.Get("Authorization") != "" {
				t.Fatalf("%s, %v", body, err)
			}
			claimed, _, _ := claims(t, form.Get("client_assertion"), verify.algorithm, verify.key)
			if claimed.Issuer != "acme" || claimed.Subject != "acme" || len(claimed.Audience) != 1 || claimed.Audience[0] != verify.audience || claimed.ID == "" || ids[claimed.ID] {
				t.Errorf("%+v", claimed)
			}
			ids[claimed.ID] = true
		}
	}
}
