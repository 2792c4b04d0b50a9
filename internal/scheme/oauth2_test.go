package scheme

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func newOAuth2(t testing.TB, change func(*OAuth2)) *OAuth2 {
	t.Helper()
	o := &OAuth2{TokenURL: "https://as.example/token", ClientID: template(t, "id"), ClientSecret: template(t, "secret")}
	if change != nil {
		change(o)
	}
	return newScheme(t, Options{OAuth2: o}).OAuth2()
}

var now = time.Date(2026, 3, 1, 12, 0, 0, 999, time.FixedZone("", 3600))

func TestMerge(t *testing.T) {
	for name, test := range map[string]struct {
		document, response, want string
	}{
		"rotation": {
			`{"access_token":"a1","refresh_token":"r1","expires_at":"2026-01-01T00:00:00Z","account":{"id":12345678901234567890}}`,
			`{"access_token":"a2","refresh_token":"r2","token_type":"bearer","expires_in":3600,"scope":"x y","extra":1}`,
			`{"access_token":"a2","refresh_token":"r2","expires_at":"2026-03-01T12:00:00Z","account":{"id":12345678901234567890},"token_type":"bearer","scope":"x y"}`,
		},
		"no new refresh token": {
			`{"access_token":"a1","refresh_token":"r1"}`, `{"access_token":"a2"}`,
			`{"access_token":"a2","refresh_token":"r1"}`,
		},
		"empty and null": {
			`{"access_token":"a1","refresh_token":"r1","token_type":"t","scope":"s"}`,
			`{"access_token":"a2","refresh_token":"","token_type":null,"scope":""}`,
			`{"access_token":"a2","refresh_token":"r1","token_type":"t","scope":"s"}`,
		},
		"refresh token of another type": {
			`{"access_token":"a1","refresh_token":"r1"}`, `{"access_token":"a2","refresh_token":["x"]}`,
			`{"access_token":"a2","refresh_token":"r1"}`,
		},
		"whitespace and the reserved key stay": {
			"\n{ \"z\" : 1.0 ,\"_upstream_auth\" : { \"n\":\"1\" },\t\"access_token\" : \"a1\" , \"refresh_token\":\"r1\" }",
			`{"access_token":"a2"}`,
			"\n{ \"z\" : 1.0 ,\"_upstream_auth\" : { \"n\":\"1\" },\t\"access_token\" : \"a2\" , \"refresh_token\":\"r1\" }",
		},
		"escaped spelling of the key": {
			`{"access\u005ftoken":"a1","refresh_token":"r1"}`, `{"access_token":"a2"}`,
			`{"access\u005ftoken":"a2","refresh_token":"r1"}`,
		},
		"characters that JSON escapes": {
			`{"access_token":"a1","refresh_token":"r1"}`, `{"access_token":"a\"\\","refresh_token":"r\u00e9\n"}`,
			`{"access_token":"a\"\\","refresh_token":"r\u00e9\n"}`,
		},
		"an old time twice": {
			`{"expires_at":"x","access_token":"a1","expires_at":"y","refresh_token":"r1"}`, `{"access_token":"a2"}`,
			`{"access_token":"a2","refresh_token":"r1"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newOAuth2(t, nil).Merge([]byte(test.document), []byte(test.response), now)
			if err != nil {
				t.Fatal(err)
			}
			if want := test.want; string(got) != want && !sameJSON(t, got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if strings.Contains(test.document, " ") && string(got) != test.want {
				t.Errorf("got  %s\nwant %s, byte for byte", got, test.want)
			}
		})
	}
}

func sameJSON(t *testing.T, got []byte, want string) bool {
	t.Helper()
	parse := func(data []byte) (value any) {
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
		return value
	}
	a := parse(got)
	if strings.Count(string(got), "access_token") != 1 {
		return false
	}
	return reflect.DeepEqual(a, parse([]byte(want)))
}

func TestMergeReadsTheLifetime(t *testing.T) {
	const removed = ""
	for expiresIn, want := range map[string]string{
		`3600`:                 "2026-03-01T12:00:00Z",
		`3600.9`:               "2026-03-01T12:00:00Z",
		`"3600"`:               "2026-03-01T12:00:00Z",
		`" 3600 "`:             "2026-03-01T12:00:00Z",
		`"3600.5"`:             "2026-03-01T12:00:00Z",
		`3.6e3`:                "2026-03-01T12:00:00Z",
		`1`:                    "2026-03-01T11:00:01Z",
		`31536000`:             "2027-03-01T11:00:00Z",
		`0`:                    removed,
		`0.5`:                  removed,
		`-1`:                   removed,
		`""`:                   removed,
		`"soon"`:               removed,
		`"NaN"`:                removed,
		`"Inf"`:                removed,
		`1e300`:                removed,
		`99999999999999999999`: removed,
		`null`:                 removed,
		`true`:                 removed,
		`[3600]`:               removed,
		`{"seconds":3600}`:     removed,
	} {
		got, err := newOAuth2(t, nil).Merge([]byte(`{"expires_at":"old","access_token":"a","refresh_token":"r"}`),
			[]byte(`{"access_token":"b","expires_in":`+expiresIn+`}`), now)
		if err != nil {
			t.Fatal(err)
		}
		at := gjson.GetBytes(got, "expires_at")
		if at.Str != want || at.Exists() != (want != removed) {
			t.Errorf("expires_in %s: got %s, want %q", expiresIn, got, want)
		}
	}
}

func TestMergeWithoutUsableAccessToken(t *testing.T) {
	document := []byte(`{"access_token":"a1","refresh_token":"r1","expires_at":"x"}`)
	for response, want := range map[string]string{
		``:                                   ``,
		`null`:                               ``,
		`[]`:                                 ``,
		`"x"`:                                ``,
		`{"access_token":"hunter2"`:          ``,
		`{}`:                                 ``,
		`{"access_token":""}`:                ``,
		`{"access_token":12}`:                ``,
		`{"access_token":"hunter2\r\nX: 1"}`: ``,
		`{"access_token":"hunter2","x":"` + "\n\"}":                                             ``,
		`{"refresh_token":"r2"}`:                                                                `{"access_token":"a1","refresh_token":"r2","expires_at":"x"}`,
		`{"refresh_token":"r2","access_token":"a b"}`:                                           `{"access_token":"a1","refresh_token":"r2","expires_at":"x"}`,
		`{"refresh_token":"r2","access_token":"` + strings.Repeat("a", maxAccessToken+1) + `"}`: `{"access_token":"a1","refresh_token":"r2","expires_at":"x"}`,
	} {
		got, err := newOAuth2(t, nil).Merge(document, []byte(response), now)
		if !errors.Is(err, ErrResponse) || string(got) != want {
			t.Errorf("%.60s: got %s, %v; want %s", response, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error quotes the answer: %v", response, err)
		}
	}
}

func TestMergeFollowsThePaths(t *testing.T) {
	o := newOAuth2(t, func(o *OAuth2) {
		o.Fields = Fields{AccessToken: `slack\.com.token`, RefreshToken: "accounts.1.refresh", ExpiresAt: `a\/b\:c\@d`, Scope: "meta.scope", TokenType: "meta.type"}
		o.ResponseFields = ResponseFields{AccessToken: "authed_user.access_token", RefreshToken: "tokens.#(kind==refresh).value", ExpiresIn: "authed_user.ttl"}
	})
	got, err := o.Merge([]byte(`{"slack.com":{"token":"a1","x":1},"accounts":[{"id":1},{"refresh":"r1","id":2}],"meta":"text"}`),
		[]byte(`{"authed_user":{"access_token":"a2","ttl":60},"tokens":[{"kind":"id","value":"i"},{"kind":"refresh","value":"r2"}],"token_type":"user"}`), now)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"slack.com":{"token":"a2","x":1},"accounts":[{"id":1},{"refresh":"r2","id":2}],"meta":{"type":"user"},"a/b:c@d":"2026-03-01T11:01:00Z"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	c := newCredential(t, string(got))
	access, err1 := o.AccessToken(c)
	refresh, err2 := o.RefreshToken(c)
	at, ok, err3 := o.ExpiresAt(c)
	if access != "a2" || refresh != "r2" || !ok || at.Sub(now).Round(time.Second) != time.Minute || errors.Join(err1, err2, err3) != nil {
		t.Errorf("read back %q, %q, %v, %v: %v", access, refresh, at, ok, errors.Join(err1, err2, err3))
	}
}

func TestExpiresAt(t *testing.T) {
	o := newOAuth2(t, nil)
	want := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for document, ok := range map[string]bool{
		`{"expires_at":"2026-01-02T03:04:05Z"}`:      true,
		`{"expires_at":"2026-01-02T04:04:05+01:00"}`: true,
		`{}`:                  false,
		`{"expires_at":null}`: false,
	} {
		at, found, err := o.ExpiresAt(newCredential(t, document))
		if err != nil || found != ok || ok && !at.Equal(want) {
			t.Errorf("%s: got %v, %v, %v", document, at, found, err)
		}
	}
	for _, document := range []string{`{"expires_at":""}`, `{"expires_at":"tomorrow"}`, `{"expires_at":1767323045}`, `{"expires_at":{}}`, `{"expires_at":false}`} {
		at, found, err := o.ExpiresAt(newCredential(t, document))
		if !errors.Is(err, credential.ErrInvalid) || found || !at.IsZero() {
			t.Errorf("%s: got %v, %v, %v", document, at, found, err)
		}
	}
}

func TestClientSecretFileIsReadAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	o := newOAuth2(t, func(o *OAuth2) {
		o.ClientID, o.ClientSecret, o.ClientSecretFile = template(t, "{credential.client}"), nil, file
	})
	c := newCredential(t, `{"client":"acme"}`)
	if _, _, err := o.Client(c); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
	for content, want := range map[string]string{"one\n": "one", "two": "two", "three\r\n": "three", " four \n\n": " four \n"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if id, secret, err := o.Client(c); id != "acme" || secret != want || err != nil {
			t.Errorf("%q: got %q, %q, %v", content, id, secret, err)
		}
	}
	if err := os.WriteFile(file, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.Client(c); err == nil {
		t.Error("an empty file is taken for a secret")
	}
	if _, _, err := o.Client(newCredential(t, `{}`)); !errors.Is(err, credential.ErrInvalid) {
		t.Errorf("without the client id: %v", err)
	}
}

func FuzzMerge(f *testing.F) {
	for _, document := range []string{
		`{}`, `{"access_token":"a","refresh_token":"r","other":[1,2.50,{"x":null}]}`, ` { "_upstream_auth":{"n":"1"} , "refresh_token" : "r" } `,
		`{"tokens":{"access":"a"},"list":[{"r":"r"}]}`, `{"tokens":"text","list":{}}`, `{"tokens":[],"list":[1]}`, `{"expires_at":"x","expires_at":"y"}`,
		`{"refresh\u005ftoken":"r","\\\"":"q\\","":0}`,
	} {
		for _, response := range []string{
			`{"access_token":"a2","refresh_token":"r2","expires_in":3600,"token_type":"b","scope":"s"}`,
			`{"access_token":"a2","url":"https://u:p@x.example:444/y","a":[{"b":1,"c":{}}],"list":[[],"x"]}`,
			`{"access_token":"a2","expires_in":"3600.5"}`, `{"refresh_token":"r2"}`, `{"access_token":"\ud800","refresh_token":"\"\\\u0000"}`, `{`, `[]`, ``,
		} {
			f.Add([]byte(document), []byte(response))
		}
	}
	flat := newOAuth2(f, nil)
	deep := newOAuth2(f, func(o *OAuth2) {
		o.Fields = Fields{AccessToken: "tokens.access", RefreshToken: "list.0.r", ExpiresAt: "tokens.until"}
	})
	mapped := newOAuth2(f, func(o *OAuth2) {
		o.RefreshFields = []FieldMapping{{"host", "url|@host"}, {"all", "@this"}, {"sub.deep.er", "a.#(b>0)#.c"}, {"list.0.n", "list.#"}, {"list.1.all", "list"}}
		o.FirstFields = o.RefreshFields
	})
	mappedDeep := newOAuth2(f, func(o *OAuth2) {
		o.Fields = Fields{AccessToken: "tokens.access", RefreshToken: "list.0.r", ExpiresAt: "tokens.until"}
		o.RefreshFields = []FieldMapping{{"tokens.host", "url|@host"}, {"list.0.all", "@this"}, {"list.1.x", "url"}}
		o.FirstFields = o.RefreshFields
	})
	f.Fuzz(func(t *testing.T, document, response []byte) {
		before, err := credential.New(credential.Document{Data: document})
		if err != nil {
			return
		}
		original := bytes.Clone(document)
		for _, o := range []*OAuth2{flat, deep, mapped, mappedDeep} {
			if first, err := o.First(response, now); err != nil && (first != nil || !errors.Is(err, ErrResponse)) {
				t.Fatalf("first: got %s, %v", first, err)
			} else if err == nil {
				c, err := credential.New(credential.Document{Data: first})
				if err != nil {
					t.Fatalf("first: %s: %v", first, err)
				}
				if token, _ := o.AccessToken(c); token != gjson.GetBytes(response, "access_token").Str {
					t.Fatalf("first: access token is not in %s", first)
				}
			}
			got, err := o.Merge(document, response, now)
			if !bytes.Equal(document, original) {
				t.Fatal("the document was changed in place")
			}
			if err == nil && got == nil {
				t.Fatal("neither document nor error")
			}
			if got == nil {
				continue
			}
			if !json.Valid(response) {
				t.Fatalf("a document from an answer that is not JSON: %q", response)
			}
			after, newErr := credential.New(credential.Document{Data: got})
			if newErr != nil {
				t.Fatalf("%s: %v", got, newErr)
			}
			// The tokens are there,
			given := gjson.GetBytes(response, "refresh_token")
			if given.Type == gjson.String && given.Str != "" {
				if kept, _ := o.RefreshToken(after); kept != strings.ToValidUTF8(given.Str, "\ufffd") && kept != given.Str && !strings.Contains(kept, "\ufffd") {
					t.Fatalf("refresh token lost in %s", got)
				}
			} else if old, _ := o.RefreshToken(before); old != "" {
				if kept, _ := o.RefreshToken(after); kept != old {
					t.Fatalf("old refresh token lost in %s", got)
				}
			}
			if err == nil {
				if token, _ := o.AccessToken(after); token != gjson.GetBytes(response, "access_token").Str {
					t.Fatalf("access token is not in %s", got)
				}
			}
			// and what is not ours is as it was.
			if o == flat {
				own := []string{"access_token", "refresh_token", "token_type", "expires_at", "scope"}
				if a, b := others(document, own), others(got, own); !reflect.DeepEqual(a, b) {
					t.Fatalf("others were %q, are %q", a, b)
				}
			}
		}
	})
}

// others are the members of an object but those of own, as written.
func others(object []byte, own []string) (members []string) {
	gjson.ParseBytes(object).ForEach(func(key, value gjson.Result) bool {
		for _, name := range own {
			if key.Str == name {
				return true
			}
		}
		members = append(members, key.Raw+":"+value.Raw)
		return true
	})
	return members
}
