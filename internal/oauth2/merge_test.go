package oauth2

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/fields"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

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
			got, err := newRenewer(t, nil).Merge([]byte(test.document), granted(test.response))
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
		got, err := newRenewer(t, nil).Merge([]byte(`{"expires_at":"old","access_token":"a","refresh_token":"r"}`),
			granted(`{"access_token":"b","expires_in":`+expiresIn+`}`))
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
	const rescued = `{"access_token":"a1","refresh_token":"r2","expires_at":"x"}`
	for response, want := range map[string]string{
		`{}`:                                                    ``,
		`{"access_token":null}`:                                 ``,
		`{"access_token":""}`:                                   ``,
		`{"access_token":12}`:                                   ``,
		`{"access_token":"hunter2\r\nX: 1"}`:                    ``,
		`{"scope":"s","access_token":"hunter2`:                  ``,
		`{"refresh_token":"r2"}`:                                rescued,
		`{"refresh_token":"r2","access_token":"a b"}`:           rescued,
		`{"refresh_token":"r2","access_token":["hunter2"]}`:     rescued,
		`{"refresh_token":"r2","access_token":"hunter2`:         rescued,
		`{"refresh_token":"r2","access_token":"hunter2 ","x":[`: rescued,
		`{"refresh_token":"r2","access_token":"` + strings.Repeat("a", fields.MaxToken+1) + `"}`: rescued,
	} {
		got, err := newRenewer(t, nil).Merge(document, granted(response))
		if !errors.Is(err, ErrResponse) || string(got) != want {
			t.Errorf("%.60s: got %s, %v; want %s", response, got, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error quotes the answer: %v", response, err)
		}
	}
}

// What an endpoint sends with a 200 and is no object says nothing of the token.
func TestMergeOfWhatIsNoObject(t *testing.T) {
	for _, response := range []string{``, `null`, `[]`, `"hunter2"`, `hunter2`, `{`, `{"access_token":"hunter2`, `{"expires_in":3600`} {
		got, err := newRenewer(t, nil).Merge([]byte(`{"access_token":"a1","refresh_token":"r1"}`), granted(response))
		refused, ok := errors.AsType[*scheme.RefusedError](err)
		if got != nil || !ok || *refused != (scheme.RefusedError{}) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %s, %#v", response, got, err)
		}
	}
}

// What comes before the break in an answer may be all there will ever be of it.
func TestMergeTakesWhatIsCompleteInABrokenAnswer(t *testing.T) {
	const document, form = `{"access_token":"a1","refresh_token":"r1","expires_at":"old"}`, "application/x-www-form-urlencoded"
	for body, test := range map[string]struct {
		contentType string
		truncated   bool
		want        string
	}{
		`{"access_token":"a2"`:                                           {"application/json", true, `{"access_token":"a2","refresh_token":"r1"}`},
		`{"access_token":"a2","refresh_token":"r2"`:                      {"application/json", false, `{"access_token":"a2","refresh_token":"r2"}`},
		`{"access_token":"a2","refresh_token":"r2","expires_in":36`:      {"application/json", true, `{"access_token":"a2","refresh_token":"r2"}`},
		`{"access_token":"a2","refresh_token":"r2","expires_in":3600,`:   {"application/json", true, `{"access_token":"a2","refresh_token":"r2","expires_at":"2026-03-01T12:00:00Z"}`},
		`{"access_token":"a2","refresh_token":"r2","x":"` + "\n\"}":      {"application/json", false, `{"access_token":"a2","refresh_token":"r2"}`},
		`{"access_token":"a2","refresh_token":"r2"}<!-- served by x -->`: {"text/html", false, `{"access_token":"a2","refresh_token":"r2"}`},
		`access_token=a2&refresh_token=r2&expires_in=3600`:               {form, false, `{"access_token":"a2","refresh_token":"r2","expires_at":"2026-03-01T12:00:00Z"}`},
		`access_token=a2&refresh_token=r2&expires_in=36`:                 {form, true, `{"access_token":"a2","refresh_token":"r2"}`},
	} {
		response := scheme.Response{Status: 200, Header: http.Header{"Content-Type": {test.contentType}}, Body: []byte(body), Truncated: test.truncated, At: now}
		got, err := newRenewer(t, nil).Merge([]byte(document), response)
		if err != nil || !sameJSON(t, got, test.want) {
			t.Errorf("%s: got %s, %v; want %s", body, got, err, test.want)
		}
	}
}

func TestMergeTellsWhatWasRefused(t *testing.T) {
	retry := http.Header{"Retry-After": {"120"}}
	for _, test := range []struct {
		status  int
		header  http.Header
		body    string
		refused scheme.RefusedError
		want    string
	}{
		{400, nil, `{"error":"invalid_grant","access_token":"a2","refresh_token":"r2"}`, scheme.RefusedError{Code: "invalid_grant", Permanent: true}, ``},
		{401, nil, `{"error":"invalid_client"}`, scheme.RefusedError{Code: "invalid_client", Unspent: true}, ``},
		{400, nil, `{"error":"hunter2","error_description":"hunter2"}`, scheme.RefusedError{Code: "unknown_error", Unspent: true}, ``},
		{404, nil, `hunter2`, scheme.RefusedError{Unspent: true}, ``},
		{429, retry, `{"error":"invalid_grant"}`, scheme.RefusedError{Code: "invalid_grant", Unspent: true, RetryAfter: 2 * time.Minute}, ``},
		{503, retry, `hunter2`, scheme.RefusedError{Unspent: true, RetryAfter: 2 * time.Minute}, ``},
		{500, retry, `{"error":"server_error","refresh_token":"hunter2"}`, scheme.RefusedError{Code: "server_error"}, ``},
		{101, nil, ``, scheme.RefusedError{}, ``},
		// In spite of the status. Tokens that come with it are not lost.
		{200, nil, `{"error":"bad_refresh_token"}`, scheme.RefusedError{Code: "bad_refresh_token", Permanent: true}, ``},
		{200, nil, `{"error":"hunter2","refresh_token":"r2"}`, scheme.RefusedError{Code: "unknown_error", Unspent: true}, `{"access_token":"a1","refresh_token":"r2"}`},
		{200, nil, `{"error":"invalid_grant","access_token":"a2","refresh_token":"r2","host":"new"}`, scheme.RefusedError{Code: "invalid_grant", Permanent: true}, `{"access_token":"a2","refresh_token":"r2"}`},
	} {
		o := newRenewer(t, func(o *Config) { o.RefreshFields = []FieldMapping{{"host", "host"}} })
		got, err := o.Merge([]byte(`{"access_token":"a1","refresh_token":"r1"}`), scheme.Response{Status: test.status, Header: test.header, Body: []byte(test.body), At: now})
		refused, ok := errors.AsType[*scheme.RefusedError](err)
		if !ok || *refused != test.refused || string(got) != test.want || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%d %s: got %s, %v (%+v)", test.status, test.body, got, err, refused)
		}
	}
}

func TestMergeFollowsThePaths(t *testing.T) {
	o := newRenewer(t, func(o *Config) {
		o.Fields = Fields{AccessToken: `slack\.com.token`, RefreshToken: "accounts.1.refresh", ExpiresAt: `a\/b\:c\@d`, Scope: "meta.scope", TokenType: "meta.type"}
		o.ResponseFields = ResponseFields{AccessToken: "authed_user.access_token", RefreshToken: "tokens.#(kind==refresh).value", ExpiresIn: "authed_user.ttl"}
	})
	got, err := o.Merge([]byte(`{"slack.com":{"token":"a1","x":1},"accounts":[{"id":1},{"refresh":"r1","id":2}],"meta":"text"}`),
		granted(`{"authed_user":{"access_token":"a2","ttl":60},"tokens":[{"kind":"id","value":"i"},{"kind":"refresh","value":"r2"}],"token_type":"user"}`))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"slack.com":{"token":"a2","x":1},"accounts":[{"id":1},{"refresh":"r2","id":2}],"meta":{"type":"user"},"a/b:c@d":"2026-03-01T11:01:00Z"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	c := newCredential(t, string(got))
	access, err1 := o.Token(c)
	refresh, err2 := o.Spends(c)
	at, ok := o.ExpiresAt(c)
	if access != "a2" || refresh != "r2" || !ok || at.Sub(now).Round(time.Second) != time.Minute || errors.Join(err1, err2) != nil {
		t.Errorf("read back %q, %q, %v, %v: %v", access, refresh, at, ok, errors.Join(err1, err2))
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
			`{"refresh_token":"r2","access_token":"a2","expires_in":36`, `{"error":"invalid_grant","access_token":"a2","refresh_token":"r2"}`, `{"error":"x"}`,
		} {
			f.Add([]byte(document), []byte(response))
		}
	}
	flat := newRenewer(f, nil)
	deep := newRenewer(f, func(o *Config) {
		o.Fields = Fields{AccessToken: "tokens.access", RefreshToken: "list.0.r", ExpiresAt: "tokens.until"}
	})
	mapped := newRenewer(f, func(o *Config) {
		o.RefreshFields = []FieldMapping{{"host", "url|@host"}, {"all", "@this"}, {"sub.deep.er", "a.#(b>0)#.c"}, {"list.0.n", "list.#"}, {"list.1.all", "list"}}
		o.FirstFields = o.RefreshFields
	})
	mappedDeep := newRenewer(f, func(o *Config) {
		o.Fields = Fields{AccessToken: "tokens.access", RefreshToken: "list.0.r", ExpiresAt: "tokens.until"}
		o.RefreshFields = []FieldMapping{{"tokens.host", "url|@host"}, {"list.0.all", "@this"}, {"list.1.x", "url"}}
		o.FirstFields = o.RefreshFields
	})
	f.Fuzz(func(t *testing.T, document, body []byte) {
		before, err := credential.New(credential.Document{Data: document})
		if err != nil {
			return
		}
		original := bytes.Clone(document)
		response := granted(string(body))
		object, _, wrong := tokenrequest.ResponseOf(response).TokenResponse()
		for _, o := range []*Renewer{flat, deep, mapped, mappedDeep} {
			if first, err := o.NewDocument([]byte("{}"), body, now); err != nil && (first != nil || !errors.Is(err, ErrResponse)) {
				t.Fatalf("first: got %s, %v", first, err)
			} else if err == nil {
				c, err := credential.New(credential.Document{Data: first})
				if err != nil {
					t.Fatalf("first: %s: %v", first, err)
				}
				if token, _ := o.Token(c); token != gjson.GetBytes(body, "access_token").Str {
					t.Fatalf("first: access token is not in %s", first)
				}
			}
			got, err := o.Merge(document, response)
			if !bytes.Equal(document, original) {
				t.Fatal("the document was changed in place")
			}
			if _, refused := errors.AsType[*scheme.RefusedError](err); refused != (wrong != nil) {
				t.Fatalf("got %v of an answer that says %v", err, wrong)
			}
			if err == nil && got == nil {
				t.Fatal("neither document nor error")
			}
			if got == nil {
				continue
			}
			if object == nil {
				t.Fatalf("a document from an answer without an object: %q", body)
			}
			after, newErr := credential.New(credential.Document{Data: got})
			if newErr != nil {
				t.Fatalf("%s: %v", got, newErr)
			}
			// The tokens are there,
			given := gjson.GetBytes(object, "refresh_token")
			if given.Type == gjson.String && given.Str != "" {
				if kept, _ := o.Spends(after); kept != strings.ToValidUTF8(given.Str, "\ufffd") && kept != given.Str && !strings.Contains(kept, "\ufffd") {
					t.Fatalf("refresh token lost in %s", got)
				}
			} else if old, _ := o.Spends(before); old != "" {
				if kept, _ := o.Spends(after); kept != old {
					t.Fatalf("old refresh token lost in %s", got)
				}
			}
			if err == nil {
				if token, _ := o.Token(after); token != gjson.GetBytes(object, "access_token").Str {
					t.Fatalf("access token is not in %s", got)
				}
			}
			// and what is not ours is as it was.
			if o == flat {
				own := []string{"access_token", "refresh_token", "token_type", "expires_at", "scope", "refresh_token_expires_at"}
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
