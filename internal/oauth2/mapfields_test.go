package oauth2

import (
	"strings"
	"testing"
)

func TestCheckMappings(t *testing.T) {
	o := newRenewer(t, func(o *Config) { o.FirstFields = []FieldMapping{{Field: "host", From: "instance_url|@host"}} })
	for want, lists := range map[string][][]FieldMapping{
		"":                         {{{Field: "org", From: "tid"}}, {{Field: "person.mail", From: "email"}, {Field: "person.name", From: "name"}}},
		"is missing":               {{{Field: "org"}}},
		"unknown modifier":         {{{Field: "org", From: "tid|@nobody"}}},
		"index 0":                  {{{Field: "org.0", From: "tid"}}},
		"is reserved":              {{{Field: "_upstream_auth", From: "tid"}}},
		`"access_token" overlap`:   {{{Field: "access_token", From: "tid"}}},
		`"host" and "host" over`:   {{{Field: "host", From: "tid"}}},
		`"org" and "org.x" overla`: {{{Field: "org", From: "tid"}}, {{Field: "org.x", From: "tid"}}},
	} {
		err := o.CheckMappings(lists...)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

func TestMapFields(t *testing.T) {
	got := MapFields([]byte(`{"access_token":"a","org":"old"}`), []byte(`{"tid":null,"n":12345678901234567890}`),
		[]FieldMapping{{Field: "org", From: "tid"}, {Field: "n.of", From: "n"}, {Field: "x", From: "missing"}})
	if want := `{"access_token":"a","org":"old","n":{"of":"12345678901234567890"}}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
