package oauth2

import (
	"errors"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestNewDocumentIsAWholeOne(t *testing.T) {
	o := newRenewer(t, func(o *Config) {
		o.FirstFields = []FieldMapping{
			{"instance_host", "instance_url|@host"}, {"account.id", "id"}, {"account.admin", "user.admin"}, {"roles", "user.roles"}, {"first_role", "user.roles.0"}, {"absent", "nothing"}, {"none", "user.none"},
		}
		o.RefreshFields = []FieldMapping{{"only_on_refresh", "id"}}
	})
	got, err := o.NewDocument([]byte("{}"), []byte(`{"access_token":"a1","refresh_token":"r1","token_type":"Bearer","expires_in":60,"scope":"s",
		"instance_url":"https://na1.crm.example:8443/x","id":12345678901234567890,"user":{"admin":false,"none":null,"roles":["x","y"]},"_upstream_auth":{}}`), now)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"refresh_token":"r1","access_token":"a1","token_type":"Bearer","scope":"s","expires_at":"2026-03-01T11:01:00Z",` +
		`"instance_host":"na1.crm.example","account":{"id":"12345678901234567890","admin":false},"roles":["x","y"],"first_role":"x"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestNewDocumentWithoutUsableTokensIsNone(t *testing.T) {
	o := newRenewer(t, func(o *Config) { o.FirstFields = []FieldMapping{{"id", "id"}} })
	for _, response := range []string{``, `[]`, `{"id":1}`, `{"refresh_token":"r","id":1}`, `{"access_token":"hunter2 \n"}`, `{"access_token":`} {
		got, err := o.NewDocument([]byte("{}"), []byte(response), now)
		if got != nil || !errors.Is(err, ErrResponse) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %s, %v", response, got, err)
		}
	}
}

func TestMergeAppliesRefreshFields(t *testing.T) {
	o := newRenewer(t, func(o *Config) {
		o.FirstFields = []FieldMapping{{"only_at_first", "host"}}
		o.RefreshFields = []FieldMapping{{"host", "host"}, {"sub.plan", "plan"}}
	})
	const document = `{"access_token":"a1","refresh_token":"r1","host":"old","sub":{"plan":"old","x":1}}`
	for name, test := range map[string]struct{ response, host, plan string }{
		"given":            {`{"access_token":"a2","host":"new","plan":{"n":1}}`, `"new"`, `{"n":1}`},
		"absent":           {`{"access_token":"a2"}`, `"old"`, `"old"`},
		"null":             {`{"access_token":"a2","host":null,"plan":null}`, `"old"`, `"old"`},
		"empty and false":  {`{"access_token":"a2","host":"","plan":false}`, `""`, `false`},
		"too large":        {`{"access_token":"a2","host":"` + strings.Repeat("x", credential.MaxSize-2000) + `","plan":"new"}`, `"old"`, `"new"`},
		"too deep":         {`{"access_token":"a2","host":"new","plan":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, `"new"`, `"old"`},
		"as deep as it is": {`{"access_token":"a2","host":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, strings.Repeat("[", 63) + strings.Repeat("]", 63), `"old"`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := o.Merge([]byte(document), granted(test.response))
			if err != nil {
				t.Fatal(err)
			}
			c := newCredential(t, string(got))
			if token := c.Get("access_token").Str; token != "a2" {
				t.Errorf("access token %s", token)
			}
			if host, plan := c.Get("host").Raw, c.Get("sub.plan").Raw; host != test.host || plan != test.plan || c.Get("sub.x").Raw != "1" || c.Get("only_at_first").Exists() {
				t.Errorf("got %.200s", got)
			}
		})
	}
}

func TestRescuedRefreshTokenComesWithoutRefreshFields(t *testing.T) {
	o := newRenewer(t, func(o *Config) { o.RefreshFields = []FieldMapping{{"host", "host"}} })
	got, err := o.Merge([]byte(`{"access_token":"a1","refresh_token":"r1"}`), granted(`{"refresh_token":"r2","host":"new"}`))
	if !errors.Is(err, ErrResponse) || string(got) != `{"access_token":"a1","refresh_token":"r2"}` {
		t.Errorf("got %s, %v", got, err)
	}
}
