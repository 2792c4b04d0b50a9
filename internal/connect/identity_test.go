package connect

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
)

// mapped wants fields of the id token and of the userinfo.
func mapped(c *Config) {
	c.IDTokenFields = []oauth2.FieldMapping{{Field: "org", From: "tid"}, {Field: "person.mail", From: "email"}}
	c.UserinfoFields = []oauth2.FieldMapping{{Field: "person.tenant", From: "tenant.id"}, {Field: "gone", From: "gone"}}
}

func TestMappedFields(t *testing.T) {
	f := newFixture(t, mapped)
	f.wantConnected(f.connect(""))
	wantDocument(t, f.accepted[0], `{"access_token":"canary-a1","refresh_token":"canary-r1","token_type":"Bearer","expires_at":"some",
		"org":"org-canary","person":{"tenant":"12345678901234567"}}`)
	if !strings.Contains(f.accepted[0], "12345678901234567") {
		t.Errorf("the number was mangled: %s", f.accepted[0])
	}
}

func TestIDTokensThatAreRefused(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	unsigned := func(algorithm string) func(map[string]any) string {
		return func(claims map[string]any) string {
			payload, err := json.Marshal(claims)
			if err != nil {
				t.Fatal(err)
			}
			b64 := base64.RawURLEncoding.EncodeToString
			return b64([]byte(`{"alg":"`+algorithm+`","kid":"1"}`)) + "." + b64(payload) + "."
		}
	}
	for name, change := range map[string]func(s *server){
		"another issuer":       func(s *server) { s.claims["iss"] = "https://canary.example" },
		"another audience":     func(s *server) { s.claims["aud"] = "canary" },
		"no audience":          func(s *server) { s.claims["aud"] = nil },
		"two, and no party":    func(s *server) { s.claims["aud"] = []string{"client", "canary"} },
		"another party":        func(s *server) { s.claims["azp"] = "canary" },
		"party is a list":      func(s *server) { s.claims["azp"] = []string{"client"} },
		"expired":              func(s *server) { s.claims["exp"] = time.Now().Add(-time.Second).Unix() },
		"never expires":        func(s *server) { s.claims["exp"] = nil },
		"not valid yet":        func(s *server) { s.claims["nbf"] = time.Now().Add(time.Hour).Unix() },
		"another nonce":        func(s *server) { s.claims["nonce"] = "canary" },
		"no nonce":             func(s *server) { s.claims["nonce"] = nil },
		"no subject":           func(s *server) { s.claims["sub"] = nil },
		"another access token": func(s *server) { s.claims["at_hash"] = "canary" },
		"deep":                 func(s *server) { s.claims["x"] = json.RawMessage(long("[", 100) + long("]", 100)) },
		"not a token":          func(s *server) { s.tokens["id_token"] = "canary" },
		"not a string":         func(s *server) { s.tokens["id_token"] = 7 },
		"missing":              func(s *server) { s.tokens["id_token"] = nil },
		"empty":                func(s *server) { s.tokens["id_token"] = "" },
		"alg none":             func(s *server) { s.sign = unsigned("none") },
		"alg None":             func(s *server) { s.sign = unsigned("None") },
		"unsigned":             func(s *server) { s.sign = unsigned("ES256") },
		"no keys":              func(s *server) { s.metadata["jwks_uri"] = nil },
		"keys are not there":   func(s *server) { s.at("/keys", http.NotFound) },
		"keys are a page":      func(s *server) { s.at("/keys", always(200, "text/html", "canary")) },
		"keys are too large": func(s *server) {
			s.at("/keys", always(200, "application/json", `{"keys":[],"x":"`+long("x", (256<<10))+`"}`))
		},
		"keys are elsewhere":     func(s *server) { s.at("/keys", http.RedirectHandler("https://canary.example/", 302).ServeHTTP) },
		"algorithm not named":    func(s *server) { s.metadata["id_token_signing_alg_values_supported"] = []string{"RS256"} },
		"RS256 unless they name": func(s *server) { s.metadata["id_token_signing_alg_values_supported"] = nil },
		"RS256 though they name unsafe ones": func(s *server) {
			s.metadata["id_token_signing_alg_values_supported"] = []string{"none", "HS256"}
			s.signWith(jose.RS256, rsaKey, rsaKey.Public())
		},
		"a secret that is published": func(s *server) {
			secret := []byte(clientSecret + clientSecret)
			s.signWith(jose.HS256, secret, secret)
		},
		"another key": func(s *server) {
			s.sign = func(claims map[string]any) string {
				return signed(s.t, jose.ES256, jose.JSONWebKey{Key: other, KeyID: "1"}, claims)
			}
		},
		"the client secret for a key": func(s *server) {
			s.sign = func(claims map[string]any) string {
				return signed(s.t, jose.HS256, []byte(clientSecret+clientSecret), claims)
			}
		},
		"the public key for a secret": func(s *server) {
			s.sign = func(claims map[string]any) string {
				public, err := x509.MarshalPKIXPublicKey(s.key.Public())
				if err != nil {
					t.Fatal(err)
				}
				return signed(s.t, jose.HS256, jose.JSONWebKey{Key: public, KeyID: "1"}, claims)
			}
		},
		"a changed claim": func(s *server) {
			s.sign = func(claims map[string]any) string {
				parts := strings.Split(signed(s.t, jose.ES256, jose.JSONWebKey{Key: s.key, KeyID: "1"}, claims), ".")
				claims["tid"] = "canary"
				payload, err := json.Marshal(claims)
				if err != nil {
					t.Fatal(err)
				}
				return parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload) + "." + parts[2]
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, mapped)
			change(f.server)
			f.wantFailure(f.connect(""), ErrIDToken)
			if n := f.server.count("/userinfo"); n != 0 {
				t.Error("userinfo was asked for all the same")
			}
		})
	}
}

func TestWhyAnIDTokenIsRefused(t *testing.T) {
	for reason, change := range map[string]func(s *server){
		"expired":   func(s *server) { s.claims["exp"] = 1 },
		"issuer":    func(s *server) { s.claims["iss"] = "https://canary.example" },
		"audience":  func(s *server) { s.claims["aud"] = "canary" },
		"signature": func(s *server) { s.at("/keys", always(200, "application/json", `{"keys":[]}`)) },
		"nonce":     func(s *server) { s.claims["nonce"] = "canary" },
	} {
		f := newFixture(t, nil)
		change(f.server)
		f.wantFailure(f.connect(""), ErrIDToken)
		if err := f.log.last(); !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

func TestIDTokensThatAreTaken(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(s *server){
		"several audiences and a party": func(s *server) { s.claims["aud"], s.claims["azp"] = []string{"x", "client"}, "client" },
		"RS256 if they name nothing": func(s *server) {
			s.metadata["id_token_signing_alg_values_supported"] = nil
			s.signWith(jose.RS256, rsaKey, rsaKey.Public())
		},
		// The left half of the SHA-256 of canary-a1.
		"hash of the access token": func(s *server) { s.claims["at_hash"] = "8TiaMqrufRmgIzP62Rngcw" },
		"none, if no field needs it": func(s *server) {
			s.tokens["id_token"] = nil
		},
		"userinfo without a subject": func(s *server) { s.at("/userinfo", always(200, "application/json", `{"x":1}`)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(c *Config) {
				if mapped(c); strings.HasPrefix(name, "none") {
					c.IDTokenFields = nil
				}
			})
			change(f.server)
			f.wantConnected(f.connect(""))
		})
	}
}

func TestUserinfoThatIsRefused(t *testing.T) {
	for name, change := range map[string]func(s *server){
		"another person":      func(s *server) { s.at("/userinfo", always(200, "application/json", `{"sub":"canary"}`)) },
		"subject is a number": func(s *server) { s.at("/userinfo", always(200, "application/json", `{"sub":7}`)) },
		"401":                 func(s *server) { s.at("/userinfo", always(401, "application/json", `{"sub":"person-canary"}`)) },
		"204":                 func(s *server) { s.at("/userinfo", always(204, "", "")) },
		"201":                 func(s *server) { s.at("/userinfo", always(201, "application/json", `{"sub":"person-canary"}`)) },
		"a token":             func(s *server) { s.at("/userinfo", always(200, "application/jwt", "canary.canary.canary")) },
		"an array":            func(s *server) { s.at("/userinfo", always(200, "application/json", `[{"sub":"person-canary"}]`)) },
		"too large": func(s *server) {
			s.at("/userinfo", always(200, "application/json", `{"x":"`+long("x", (256<<10))+`"}`))
		},
		"deep": func(s *server) {
			s.at("/userinfo", always(200, "application/json", `{"x":`+long("[", 99)+long("]", 99)+"}"))
		},
		"elsewhere":              func(s *server) { s.at("/userinfo", http.RedirectHandler("https://canary.example/", 307).ServeHTTP) },
		"no endpoint":            func(s *server) { s.metadata["userinfo_endpoint"] = nil },
		"not for this token":     func(s *server) { s.tokens["access_token"] = "canary-a2" },
		"nothing, cut off early": func(s *server) { s.at("/userinfo", always(200, "application/json", `{"sub":"person-canary"`)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, mapped)
			change(f.server)
			f.wantFailure(f.connect(""), ErrUserinfo)
		})
	}
}

func TestUserinfoWithoutAnIssuer(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		plain(c)
		c.UserinfoURL = literal("https://as.example/userinfo?fields=tenant")
		c.UserinfoFields = []oauth2.FieldMapping{{Field: "org", From: "tenant"}}
	})
	f.wantConnected(f.connect(""))
	wantDocument(t, f.accepted[0], `{"access_token":"canary-a1","refresh_token":"canary-r1","token_type":"Bearer","expires_at":"some",
		"org":{"id":12345678901234567}}`)
}

func TestMappedFieldsThatMakeTheDocumentTooLargeAreLeftOut(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		plain(c)
		c.UserinfoURL = literal("https://as.example/userinfo")
		for _, field := range []string{"a", "b", "c", "d", "e"} {
			c.UserinfoFields = append(c.UserinfoFields, oauth2.FieldMapping{Field: field, From: "@this"})
		}
	})
	f.server.at("/userinfo", always(200, "application/json", `{"x":"`+long("x", (256<<10)-100)+`"}`))
	f.wantConnected(f.connect(""))
	if !strings.Contains(f.accepted[0], `"c":`) || strings.Contains(f.accepted[0], `"e":`) || !strings.Contains(f.accepted[0], "canary-r1") {
		t.Errorf("a document of %d bytes", len(f.accepted[0]))
	}
}

func TestFieldsOfTheFirstTokenResponse(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.OAuth2 = newOAuth2(t, "https://as.example/token", func(o *oauth2.Config) {
			o.FirstFields = []oauth2.FieldMapping{{Field: "instance_host", From: "instance_url|@host"}}
		})
		c.IDTokenFields = []oauth2.FieldMapping{{Field: "org", From: "tid"}}
	})
	f.server.tokens["instance_url"] = "https://eu7.example:8443/"
	f.wantConnected(f.connect(""))
	wantDocument(t, f.accepted[0], `{"access_token":"canary-a1","refresh_token":"canary-r1","token_type":"Bearer","expires_at":"some",
		"instance_host":"eu7.example","org":"org-canary"}`)
}
