package oauth2

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
	xoauth2 "golang.org/x/oauth2"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestExpiresAt(t *testing.T) {
	o := newRenewer(t, nil)
	want := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for document, ok := range map[string]bool{
		`{"expires_at":"2026-01-02T03:04:05Z"}`:                   true,
		`{"expires_at":"2026-01-02T04:04:05+01:00"}`:              true,
		`{"expires_at":1767323045}`:                               true,
		`{"expires_at":1767323045000}`:                            true,
		`{"expires_at":"1767323045"}`:                             true,
		`{"expires_in":3600}`:                                     true, // written an hour before
		`{"expires_in":"3600"}`:                                   true,
		`{"expires_in":0}`:                                        false,
		`{"expires_in":-5}`:                                       false,
		`{"expires_in":1e99}`:                                     false,
		`{"expires_in":"NaN"}`:                                    false,
		`{"expires_in":3600,"_upstream_auth":{"status":"ready"}}`: false, // written since
		`{}`:                  false,
		`{"expires_at":null}`: false,
	} {
		c, err := credential.New(credential.Document{Data: []byte(document), Version: 1, WrittenAt: want.Add(-time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		at, found := o.ExpiresAt(c)
		if found != ok || at.IsZero() == ok || ok && !at.Equal(want) {
			t.Errorf("%s: got %v, %v", document, at, found)
		}
	}
	for _, document := range []string{`{"expires_at":""}`, `{"expires_at":"tomorrow"}`, `{"expires_at":1767}`, `{"expires_at":1e300}`, `{"expires_at":"1e5"}`, `{"expires_at":{}}`, `{"expires_at":false}`} {
		// It is as if it did not say.
		if at, found := o.ExpiresAt(newCredential(t, document)); found || !at.IsZero() {
			t.Errorf("%s: got %v, %v", document, at, found)
		}
	}
}

func TestParametersFollowTheConfiguration(t *testing.T) {
	c := newCredential(t, `{"client":"of acme"}`)
	for auth, style := range map[ClientAuth]xoauth2.AuthStyle{
		ClientAuthBasic: xoauth2.AuthStyleInHeader, ClientAuthPost: xoauth2.AuthStyleInParams, ClientAuthNone: xoauth2.AuthStyleInParams,
	} {
		o := newRenewer(t, func(o *Config) {
			o.ClientID, o.ClientAuth = text(t, "{credential.client}"), auth
			if auth == ClientAuthNone {
				o.ClientSecrets = nil
			}
		})
		p, err := o.Parameters(t.Context(), c)
		if err != nil || p.URL != o.Endpoint() || p.ClientID != "of acme" || (p.ClientSecret == "secret") != (auth != ClientAuthNone) ||
			p.AuthStyle != style {
			t.Errorf("%s: got %+v, %v", auth, p, err)
		}
	}
	missing := newRenewer(t, func(o *Config) { o.ClientID = text(t, "{credential.missing}") })
	if _, err := missing.Parameters(t.Context(), c); !errors.Is(err, credential.ErrInvalid) {
		t.Errorf("a field that is missing: %v", err)
	}
}

func TestSchema(t *testing.T) {
	const draft = `"$schema":"https://json-schema.org/draft/2020-12/schema",`
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"defaults": {
			nil,
			`{` + draft + `"properties":{"access_token":{"minLength":1,"type":["string","number","boolean"],"writeOnly":true},
				"refresh_token":{"type":["string","null"],"writeOnly":true}},"required":["access_token"],"type":"object"}`,
		},
		"paths and a client of its own": {
			func(o *Config) {
				o.ClientID, o.ClientSecrets = text(t, "{credential.client.id}"), []Secret{{Text: text(t, "{credential.client.secret}")}}
				o.Fields = Fields{AccessToken: "tokens.access", RefreshToken: `a\.b`, TokenType: "list.0.type", ExpiresAt: "tokens.until", Scope: "meta.scope"}
			},
			`{` + draft + `"properties":{
				"tokens":{"properties":{"access":{"minLength":1,"type":["string","number","boolean"],"writeOnly":true}},"required":["access"],"type":"object"}},
				"required":["tokens"],"type":"object"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := newRenewer(t, test.change).Schema()
			var want strings.Builder
			for line := range strings.Lines(test.want) {
				want.WriteString(strings.TrimSpace(line))
			}
			if string(got) != want.String() {
				t.Errorf("got  %s\nwant %s", got, want.String())
			}
			if _, err := credential.CompileSchema(got); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSchemaAgreesWithToken holds, with random documents, that what has a token fits
// the schema, and that no access token at a plain path is missing from what fits.
func TestSchemaAgreesWithToken(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	places := []string{"access_token", "tokens", "tokens.access", `x\.y`, "refresh_token", "scope"}
	values := []string{`"s"`, `"s"`, `null`, `""`, `"ü"`, `12`, `1e999`, `true`, `{}`, `[]`, `{"access":1}`, `[{"a":"x","b":null}]`}
	accepted, refused := 0, 0
	for _, path := range []string{"", "tokens.access", `x\.y`} {
		o := newRenewer(t, func(o *Config) { o.Fields.AccessToken = path })
		compiled, err := credential.CompileSchema(o.Schema())
		if err != nil {
			t.Fatalf("%s: %v", o.Schema(), err)
		}
		for range 1000 {
			document := []byte(`{}`)
			for _, i := range dice.Perm(len(places)) {
				if dice.IntN(6) > 0 {
					value := values[dice.IntN(len(values))]
					if changed, err := sjson.SetRawBytes(document, places[i], []byte(value)); err == nil && json.Valid(changed) {
						document = changed
					}
				}
			}
			c := newCredential(t, string(document))
			schemaErr := compiled.Check(c)
			_, useErr := o.Token(c)
			if useErr == nil && schemaErr != nil && optionalIsText(o, c) {
				t.Fatalf("%s can be used, but does not fit %s: %v", document, o.Schema(), schemaErr)
			}
			if field, ok := errors.AsType[*credential.FieldError](useErr); ok && schemaErr == nil && !strings.Contains(field.Path, `\`) &&
				slices.Contains([]string{"is missing", "is null", "is not a string, number or boolean"}, field.Reason) {
				t.Fatalf("%s fits %s, but: %v", document, o.Schema(), useErr)
			}
			if schemaErr == nil {
				accepted++
			} else {
				refused++
			}
		}
	}
	if accepted < 200 || refused < 200 {
		t.Errorf("%d accepted, %d refused: the dice are loaded", accepted, refused)
	}
}

// optionalIsText reports whether the refresh token, which need not be there, is a
// string or null, the one thing that the schema asks beyond use.
func optionalIsText(o *Renewer, c *credential.Credential) bool {
	value := c.Get(o.Fields.RefreshToken)
	return !value.Exists() || value.Type == gjson.String || value.Type == gjson.Null
}

func TestStoredTimesThatAreNoneFitTheSchema(t *testing.T) {
	o := newRenewer(t, nil)
	compiled, err := credential.CompileSchema(o.Schema())
	if err != nil {
		t.Fatal(err)
	}
	c := newCredential(t, `{"access_token":"a","expires_at":"tomorrow"}`)
	if err := compiled.Check(c); err != nil {
		t.Errorf("a stored credential that was used before is refused: %v", err)
	}
	if err := o.CheckNew(c); err == nil {
		t.Error("a new credential with such a time passes")
	}
}

func TestCheckOfNewCredentials(t *testing.T) {
	o := newRenewer(t, func(o *Config) { o.ClientID = text(t, "{credential.client}") })
	for document, want := range map[string]string{
		`{"client":"c","access_token":"a"}`: "",
		`{"client":"c","access_token":"a","refresh_token":null,"token_type":null,"scope":null,"expires_at":null}`:                "",
		`{"client":"c","access_token":"a","refresh_token":"r","token_type":"t","scope":"s","expires_at":"2026-01-02T03:04:05Z"}`: "",
		`{"client":"c"}`:                                                     `field "access_token" is missing`,
		`{"client":"c","access_token":""}`:                                   `field "access_token" is empty`,
		`{"client":"c","access_token":null}`:                                 `field "access_token" is null`,
		`{"client":"c","access_token":77}`:                                   `field "access_token" is missing or not a string`,
		`{"client":"c","access_token":"a 77"}`:                               `field "access_token" is empty or not visible ASCII`,
		`{"client":"c","access_token":"a\n77"}`:                              `field "access_token" has a control character in it`,
		`{"access_token":"a"}`:                                               `field "client" is missing`,
		`{"client":"c","access_token":"a","refresh_token":77}`:               `field "refresh_token" is not a string`,
		`{"client":"c","access_token":"a","token_type":["77"]}`:              `field "token_type" is not a string`,
		`{"client":"c","access_token":"a","scope":{"77":1}}`:                 `field "scope" is not a string`,
		`{"client":"c","access_token":"a","expires_at":1777}`:                `field "expires_at" is not a time as in RFC 3339, nor in seconds or milliseconds since 1970`,
		`{"client":"c","access_token":"a","expires_at":""}`:                  `field "expires_at" is not a time as in RFC 3339, nor in seconds or milliseconds since 1970`,
		`{"client":"c","access_token":"a","expires_at":"77-01-02 03:04:05"}`: `field "expires_at" is not a time as in RFC 3339, nor in seconds or milliseconds since 1970`,
	} {
		err := o.CheckNew(newCredential(t, document))
		if want == "" && err != nil || want != "" && (!errors.Is(err, credential.ErrInvalid) || err.Error() != want) {
			t.Errorf("%s: got %v", document, err)
		}
	}
}

func FuzzSchema(f *testing.F) {
	f.Add("access_token", `{"access_token":1,"refresh_token":null}`)
	f.Add("a.b.c", `{"a":{"b":{"c":"x"}}}`)
	f.Add("a.1.b", `{"a":[1,{"b":"x"}],"refresh_token":"r"}`)
	f.Fuzz(func(t *testing.T, access, document string) {
		o, err := New(Config{
			TokenURL: text(t, "https://as.example/token"), Client: Client{ClientID: text(t, "id"), ClientAuth: ClientAuthNone},
			Fields: Fields{AccessToken: access},
		})
		if err != nil {
			return
		}
		compiled, err := credential.CompileSchema(o.Schema())
		if err != nil {
			t.Fatalf("%s: %v", o.Schema(), err)
		}
		c, err := credential.New(credential.Document{Data: []byte(document)})
		if err != nil || !optionalIsText(o, c) {
			return
		}
		if _, err := o.Token(c); err != nil {
			return
		}
		err = compiled.Check(c)
		broken, _ := errors.AsType[*credential.SchemaError](err)
		if err != nil && broken.Rule != "uniqueKeys" {
			t.Fatalf("%s can be used, but does not fit %s: %v", document, o.Schema(), err)
		}
	})
}
