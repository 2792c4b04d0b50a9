package scheme

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func oauth2Options(t testing.TB, change func(*OAuth2)) *OAuth2 {
	t.Helper()
	o := &OAuth2{TokenURL: "https://as.example/token", ClientID: template(t, "id"), ClientSecret: template(t, "secret")}
	if change != nil {
		change(o)
	}
	return o
}

func TestSchema(t *testing.T) {
	const scalar, text, draft = `{"type":["string","number","boolean"]}`, `{"type":["string","null"]}`, `"$schema":"https://json-schema.org/draft/2020-12/schema",`
	for name, test := range map[string]struct {
		options Options
		want    string
	}{
		"header, query and basic": {
			Options{
				Headers: []Header{{"X-Key", template(t, "k {credential.api-key}")}},
				Queries: []Query{{"q", template(t, "{credential.account.id}-{credential.account.name_2}")}},
				Basic:   &Basic{template(t, "{credential.account.id}"), template(t, "fixed")},
			},
			`{` + draft + `"properties":{"account":{"properties":{"id":` + scalar + `,"name_2":` + scalar + `},"required":["id","name_2"],"type":"object"},
				"api-key":` + scalar + `},"required":["account","api-key"],"type":"object"}`,
		},
		"nothing of the credential": {
			Options{Headers: []Header{{"X-Key", template(t, "fixed")}}}, `{"$schema":"https://json-schema.org/draft/2020-12/schema"}`,
		},
		"paths that are not plain": {
			Options{Headers: []Header{{"X-Key", template(t, `{credential.keys.0.value}{credential.a\.b}{credential.list.#(x=="y").z}{credential.a|b}{credential.@this.x}{credential.a..b}{credential.k*}{credential.é}{credential.0.x}`)}}},
			`{` + draft + `"properties":{"0":{"properties":{"x":` + scalar + `},"required":["x"],"type":"object"}},"required":["0"],"type":"object"}`,
		},
		"both an object and a value": {
			Options{Headers: []Header{{"X-Key", template(t, `{credential.a}{credential.a.b}`)}}},
			`{` + draft + `"properties":{"a":{"not":{},"properties":{"b":` + scalar + `}}},"required":["a"],"type":"object"}`,
		},
		"oauth2": {
			Options{OAuth2: oauth2Options(t, nil)},
			`{` + draft + `"properties":{"access_token":{"minLength":1,"type":["string","number","boolean"],"writeOnly":true},
				"refresh_token":{"type":["string","null"],"writeOnly":true}},"required":["access_token"],"type":"object"}`,
		},
		"oauth2 with paths and a client of its own": {
			Options{OAuth2: oauth2Options(t, func(o *OAuth2) {
				o.ClientID, o.ClientSecret = template(t, "{credential.client.id}"), template(t, "{credential.client.secret}")
				o.Fields = Fields{AccessToken: "tokens.access", RefreshToken: `a\.b`, TokenType: "list.0.type", ExpiresAt: "tokens.until", Scope: "meta.scope"}
			})},
			`{` + draft + `"properties":{
				"tokens":{"properties":{"access":{"minLength":1,"type":["string","number","boolean"],"writeOnly":true}},"required":["access"],"type":"object"}},
				"required":["tokens"],"type":"object"}`,
		},
		"oauth2 with a header of what is else optional": {
			Options{OAuth2: oauth2Options(t, nil), Headers: []Header{{"X", template(t, "{credential.token_type} {credential.refresh_token}")}}},
			`{` + draft + `"properties":{"access_token":{"minLength":1,"type":["string","number","boolean"],"writeOnly":true},
				"refresh_token":{"minLength":1,"type":"string","writeOnly":true},"token_type":` + scalar + `},"required":["access_token","refresh_token","token_type"],"type":"object"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := newScheme(t, test.options).Schema()
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

// TestSchemaAgreesWithResolve holds, with random schemes and documents, that what can
// be used fits the schema, and that no field at a plain path is missing from what
// fits.
func TestSchemaAgreesWithResolve(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	paths := []string{"a", "b", "sub.a", "sub.b", "sub.deep.er", "k-1", "tokens.access", `x\.y`, "list.0.a", "list.#.b", "access_token", "scope"}
	values := []string{``, ``, `null`, `""`, `"s"`, `"ü"`, `12`, `1e999`, `true`, `{}`, `[]`, `{"a":1}`, `[{"a":"x","b":null}]`}
	text := func() *Template {
		var b strings.Builder
		for range 1 + dice.IntN(3) {
			b.WriteString("x{credential." + paths[dice.IntN(len(paths))] + "}")
		}
		return template(t, b.String())
	}
	accepted, refused := 0, 0
	for range 100 {
		options := Options{Queries: []Query{{"q", text()}}}
		if dice.IntN(2) == 0 {
			options.Basic = &Basic{text(), text()}
		}
		if dice.IntN(2) == 0 {
			options.OAuth2 = oauth2Options(t, func(o *OAuth2) {
				o.ClientSecret = text()
				o.Fields.AccessToken = []string{"", "tokens.access", `x\.y`}[dice.IntN(3)]
			})
		}
		s := newScheme(t, options)
		compiled, err := credential.CompileSchema(s.Schema())
		if err != nil {
			t.Fatalf("%s: %v", s.Schema(), err)
		}
		for range 50 {
			document := []byte(`{}`)
			for _, i := range dice.Perm(len(paths)) {
				value := values[dice.IntN(len(values))]
				if value == "" || strings.Contains(paths[i], "#") {
					value = `"present"`
				}
				if dice.IntN(12) > 0 {
					if changed, err := sjson.SetRawBytes(document, paths[i], []byte(value)); err == nil && json.Valid(changed) {
						document = changed
					}
				}
			}
			c := newCredential(t, string(document))
			schemaErr := compiled.Check(c)
			useErr := use(s, c)
			if useErr == nil && schemaErr != nil && optionalIsText(s, c) {
				t.Fatalf("%s can be used, but does not fit %s: %v", document, s.Schema(), schemaErr)
			}
			if field, ok := errors.AsType[*credential.FieldError](useErr); ok && schemaErr == nil {
				_, plain := plainKeys(field.Path)
				if plain && slices.Contains([]string{"is missing", "is null", "is not a string, number or boolean"}, field.Reason) {
					t.Fatalf("%s fits %s, but: %v", document, s.Schema(), useErr)
				}
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

// use does all that a request does with a credential.
func use(s *Scheme, c *credential.Credential) error {
	if _, err := s.Resolve(c); err != nil {
		return err
	}
	if s.OAuth2() == nil {
		return nil
	}
	_, err := s.OAuth2().AccessToken(c)
	return err
}

// optionalIsText reports whether the refresh token, which need not be there, is a
// string or null, the one thing that the schema asks beyond use.
func optionalIsText(s *Scheme, c *credential.Credential) bool {
	o := s.OAuth2()
	if o == nil {
		return true
	}
	value := c.Get(o.Fields.RefreshToken)
	return !value.Exists() || value.Type == gjson.String || value.Type == gjson.Null
}

func TestStoredTimesThatAreNoneFitTheSchema(t *testing.T) {
	s := newScheme(t, Options{OAuth2: oauth2Options(t, nil)})
	compiled, err := credential.CompileSchema(s.Schema())
	if err != nil {
		t.Fatal(err)
	}
	c := newCredential(t, `{"access_token":"a","expires_at":"tomorrow"}`)
	if err := compiled.Check(c); err != nil {
		t.Errorf("a stored credential that was used before is refused: %v", err)
	}
	if err := s.Check(c); err == nil {
		t.Error("a new credential with such a time passes")
	}
}

func TestCheckOfNewCredentials(t *testing.T) {
	oauth2 := newScheme(t, Options{OAuth2: oauth2Options(t, func(o *OAuth2) { o.ClientID = template(t, "{credential.client}") })})
	plain := newScheme(t, Options{Headers: []Header{{"X-Key", template(t, "{credential.key}")}}})
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
		`{"client":"c","access_token":"a","expires_at":1777}`:                `field "expires_at" is not a time as in RFC 3339`,
		`{"client":"c","access_token":"a","expires_at":""}`:                  `field "expires_at" is not a time as in RFC 3339`,
		`{"client":"c","access_token":"a","expires_at":"77-01-02 03:04:05"}`: `field "expires_at" is not a time as in RFC 3339`,
	} {
		err := oauth2.Check(newCredential(t, document))
		if want == "" && err != nil || want != "" && (!errors.Is(err, credential.ErrInvalid) || err.Error() != want) {
			t.Errorf("%s: got %v", document, err)
		}
	}
	if err := plain.Check(newCredential(t, `{"key":"k","expires_at":1}`)); err != nil {
		t.Errorf("a key: %v", err)
	}
	if err := plain.Check(newCredential(t, `{}`)); fmt.Sprint(err) != `field "key" is missing` {
		t.Errorf("no key: %v", err)
	}
}

func FuzzSchema(f *testing.F) {
	f.Add("{credential.a}", "access_token", `{"a":1}`)
	f.Add("{credential.a.b}{credential.a}", "a.b.c", `{"a":{"b":{"c":"x"}}}`)
	f.Add("{credential.0}x{credential.1.2}{credential._-}", "a.1.b", `{"0":false,"1":[1,2,3],"_-":""}`)
	f.Fuzz(func(t *testing.T, text, access, document string) {
		parsed, err := ParseTemplate(text, nil)
		if err != nil {
			return
		}
		s, err := New(Options{
			Queries: []Query{{"q", parsed}},
			OAuth2:  oauth2Options(t, func(o *OAuth2) { o.Fields.AccessToken = access }),
		})
		if err != nil {
			return
		}
		compiled, err := credential.CompileSchema(s.Schema())
		if err != nil {
			t.Fatalf("%s: %v", s.Schema(), err)
		}
		c, err := credential.New(credential.Document{Data: []byte(document)})
		if err != nil || use(s, c) != nil || !optionalIsText(s, c) {
			return
		}
		err = compiled.Check(c)
		broken, _ := errors.AsType[*credential.SchemaError](err)
		if err != nil && broken.Rule != "uniqueKeys" {
			t.Fatalf("%s can be used, but does not fit %s: %v", document, s.Schema(), err)
		}
	})
}
