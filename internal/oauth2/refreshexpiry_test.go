package oauth2

import (
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Authorization servers say in several words how long a refresh token lives.
func TestMergeReadsTheRefreshTokensLifetime(t *testing.T) {
	const removed = ""
	for says, want := range map[string]string{
		`"refresh_token_expires_in":15811200`:                         "2026-08-31T11:00:00Z", // GitHub
		`"refresh_token_expires_in":"3600"`:                           "2026-03-01T12:00:00Z",
		`"refresh_expires_in":1800`:                                   "2026-03-01T11:30:00Z", // Keycloak
		`"x_refresh_token_expires_in":8726400`:                        "2026-06-10T11:00:00Z", // Intuit
		`"refresh_token_expires_at":"2026-04-01T00:00:00+02:00"`:      "2026-03-31T22:00:00Z",
		`"refresh_token_expires_at":1775000000`:                       "2026-03-31T23:33:20Z",
		`"refresh_token_expires_at":1775000000000`:                    "2026-03-31T23:33:20Z",
		`"refresh_expires_in":0`:                                      removed, // Keycloak's offline tokens
		`"refresh_token_expires_in":-1`:                               removed,
		`"refresh_token_expires_in":1e300`:                            removed,
		`"refresh_token_expires_in":99999999999999999999`:             removed,
		`"refresh_token_expires_in":"NaN"`:                            removed,
		`"refresh_token_expires_in":"Inf"`:                            removed,
		`"refresh_token_expires_in":"soon"`:                           removed,
		`"refresh_token_expires_in":[3600]`:                           removed,
		`"refresh_token_expires_in":true`:                             removed,
		`"refresh_token_expires_in":null`:                             removed,
		`"refresh_token_expires_at":"9999-01-01T00:00:00Z"`:           removed,
		`"refresh_token_expires_at":"soon"`:                           removed,
		`"refresh_token_expires_at":"x","refresh_expires_in":1800`:    "2026-03-01T11:30:00Z",
		`"refresh_token_expires_in":"soon","refresh_expires_in":1800`: "2026-03-01T11:30:00Z",
		`"other":1`: removed,
	} {
		got, err := newRenewer(t, nil).Merge([]byte(`{"access_token":"a1","refresh_token":"r1","refresh_token_expires_at":"old"}`),
			granted(`{"access_token":"a2","refresh_token":"r2",`+says+`}`))
		if err != nil {
			t.Fatal(err)
		}
		at := gjson.GetBytes(got, "refresh_token_expires_at")
		if at.Str != want || at.Exists() != (want != removed) {
			t.Errorf("%s: got %s, want %q", says, got, want)
		}
	}
}

// The time is that of the token beside it.
func TestRefreshTokensExpiryGoesWithTheToken(t *testing.T) {
	for name, test := range map[string]struct {
		document, response, want string
	}{
		"another token, and nothing said": {
			`{"refresh_token":"r1","refresh_token_expires_at":"2026-05-01T00:00:00Z"}`, `{"access_token":"a2","refresh_token":"r2"}`,
			`{"refresh_token":"r2","access_token":"a2"}`,
		},
		"no token, and nothing said": {
			`{"refresh_token":"r1","refresh_token_expires_at":"2026-05-01T00:00:00Z"}`, `{"access_token":"a2"}`,
			`{"refresh_token":"r1","refresh_token_expires_at":"2026-05-01T00:00:00Z","access_token":"a2"}`,
		},
		"the same token, and nothing said": {
			`{"refresh_token":"r1","refresh_token_expires_at":"2026-05-01T00:00:00Z"}`, `{"access_token":"a2","refresh_token":"r1"}`,
			`{"refresh_token":"r1","refresh_token_expires_at":"2026-05-01T00:00:00Z","access_token":"a2"}`,
		},
		"no token, and another time": {
			`{"refresh_token":"r1","refresh_token_expires_at":"2026-05-01T00:00:00Z"}`, `{"access_token":"a2","refresh_token_expires_in":60}`,
			`{"refresh_token":"r1","refresh_token_expires_at":"2026-03-01T11:01:00Z","access_token":"a2"}`,
		},
		"a token that escapes": {
			`{"refresh_token":"r\u0031","refresh_token_expires_at":"2026-05-01T00:00:00Z"}`, `{"access_token":"a2","refresh_token":"r1"}`,
			`{"refresh_token":"r1","refresh_token_expires_at":"2026-05-01T00:00:00Z","access_token":"a2"}`,
		},
		"for the first time": {
			`{"refresh_token":"r1"}`, `{"access_token":"a2","refresh_token":"r2","refresh_expires_in":60}`,
			`{"refresh_token":"r2","refresh_token_expires_at":"2026-03-01T11:01:00Z","access_token":"a2"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := newRenewer(t, nil).Merge([]byte(test.document), granted(test.response))
			if err != nil || string(got) != test.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, test.want)
			}
		})
	}
	got, err := newRenewer(t, nil).Merge([]byte(`{"access_token":"a1","refresh_token":"r1","refresh_token_expires_at":"old"}`),
		granted(`{"refresh_token":"r2","refresh_expires_in":60}`))
	if want := `{"access_token":"a1","refresh_token":"r2","refresh_token_expires_at":"2026-03-01T11:01:00Z"}`; err == nil || string(got) != want {
		t.Errorf("rescued without an access token: got %s, %v", got, err)
	}
}

func TestRefreshTokensExpiryByOtherNames(t *testing.T) {
	o := newRenewer(t, func(c *Config) {
		c.ExpiresInUnit = time.Millisecond
		c.Fields.RefreshTokenExpiresAt = "tokens.ends"
		c.ResponseFields.RefreshTokenExpiresIn = "data.lives"
		c.ResponseFields.RefreshTokenExpiresAt = "data.ends"
	})
	for response, want := range map[string]string{
		`{"access_token":"a","refresh_token":"r","data":{"lives":60000}}`:                                          "2026-03-01T11:01:00Z",
		`{"access_token":"a","refresh_token":"r","data":{"lives":60000,"ends":"2026-03-02T00:00:00Z"}}`:            "2026-03-02T00:00:00Z",
		`{"access_token":"a","refresh_token":"r","refresh_token_expires_in":60000,"refresh_token_expires_at":1e9}`: "",
	} {
		got, err := o.NewDocument([]byte("{}"), []byte(response), now)
		if err != nil || gjson.GetBytes(got, "tokens.ends").Str != want {
			t.Errorf("%s: got %s, %v", response, got, err)
		}
	}
}

func TestRefreshTokensExpiryOfACredential(t *testing.T) {
	written := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for document, want := range map[string]string{
		`{"refresh_token":"r","refresh_token_expires_at":"2026-05-01T00:00:00Z"}`:                    "2026-05-01T00:00:00Z",
		`{"refresh_token":"r","refresh_token_expires_at":1775000000}`:                                "2026-03-31T23:33:20Z",
		`{"refresh_token":"r","refresh_token_expires_at":"soon"}`:                                    "",
		`{"refresh_token":"r","refresh_token_expires_at":null}`:                                      "",
		`{"refresh_token":"r","refresh_token_expires_in":86400}`:                                     "2026-01-02T00:00:00Z", // as it came
		`{"refresh_token":"r","refresh_token_expires_in":86400,"_upstream_auth":{"status":"ready"}}`: "",
		`{"refresh_token":"r","refresh_token_expires_in":1e300}`:                                     "",
		`{"refresh_token":"r"}`: "",
	} {
		c, err := credential.New(credential.Document{Data: []byte(document), WrittenAt: written})
		if err != nil {
			t.Fatal(err)
		}
		at, known := newRenewer(t, nil).RefreshTokenExpiresAt(c)
		if known != (want != "") || known && at.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s: got %v, %v", document, at, known)
		}
	}
}

// With another grant nobody spends a refresh token, and nothing is said of one.
func TestNoExpiryOfARefreshTokenThatIsNotKept(t *testing.T) {
	o := newRenewer(t, func(c *Config) { c.Grant = GrantClientCredentials })
	got, err := o.Merge([]byte(`{}`), granted(`{"access_token":"a","refresh_token":"r","refresh_token_expires_in":60}`))
	if want := `{"access_token":"a"}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
}
