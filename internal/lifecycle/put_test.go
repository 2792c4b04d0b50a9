package lifecycle

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

func TestPutIsUsedByTheNextRequest(t *testing.T) {
	s := newSetup(t)
	if s.used("api_key") != "" { // "there is none" is remembered for a while
		t.Fatal("there is a credential")
	}
	for _, key := range []string{"one", "two"} {
		cred, err := s.put(`{"api_key":"` + key + `"}`)
		s.check(err)
		if got := s.used("api_key"); got != key || cred.Get("api_key").String() != key {
			t.Errorf("requests use %q after %q", got, key)
		}
		if by := record(t, s.stored())["by"]; by != "api" {
			t.Errorf("written by %q", by)
		}
	}
}

func TestPutRefusesWhatCannotServe(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)
	for name, document := range map[string]string{
		"no JSON":                   `{"api_key":`,
		"no object":                 `["key-of-acme"]`,
		"a field is missing":        `{"api":"key-of-acme"}`,
		"a field is null":           `{"api_key":null}`,
		"no scalar":                 `{"api_key":{"a":"key-of-acme"}}`,
		"a control character":       `{"api_key":"key-of-acme\n"}`,
		"the reserved key":          `{"api_key":"key-of-acme","_upstream_auth":{"disabled":"true"}}`,
		"the reserved key, escaped": `{"api_key":"key-of-acme","\u005fupstream_auth":{}}`,
		"a key twice":               `{"api_key":"key-of-acme","api_key":"other"}`,
		"too deep":                  `{"api_key":"key-of-acme","x":` + deep + `}`,
		"too large":                 `{"api_key":"key-of-acme","x":"` + strings.Repeat("x", credential.MaxSize) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t)
			_, err := s.put(document)
			if !errors.Is(err, credential.ErrInvalid) {
				t.Fatalf("got %v", err)
			}
			if holdsSecret(err) {
				t.Errorf("the error tells a secret: %v", err)
			}
			if s.store.Puts() != 0 {
				t.Error("something was written")
			}
		})
	}
}

func TestPutChecksBothSchemas(t *testing.T) {
	s := newSetup(t)
	own, err := credential.CompileSchema([]byte(`{"required":["account"],"properties":{"account":{"type":"integer"}}}`))
	s.check(err)
	s.provider.Schemas = append([]*credential.Schema{own}, s.provider.Schemas...)
	for document, valid := range map[string]bool{
		`{"api_key":"k"}`:               false,
		`{"account":1}`:                 false,
		`{"api_key":"k","account":"1"}`: false,
		`{"api_key":"k","account":1}`:   true,
	} {
		if _, err := s.put(document); valid != (err == nil) {
			t.Errorf("%s: %v", document, err)
		}
	}
}

func TestPutRefusesACredentialWithoutWhatTheSiteUses(t *testing.T) {
	s := newSetup(t)
	s.provider.Expose = []string{"account.id"}
	for document, valid := range map[string]bool{
		`{"api_key":"k"}`:                          false,
		`{"api_key":"k","account":{"id":{"a":1}}}`: false,
		`{"api_key":"k","account":{"id":42}}`:      true,
	} {
		if _, err := s.put(document); valid != (err == nil) || !valid && !errors.Is(err, credential.ErrInvalid) {
			t.Errorf("%s: %v", document, err)
		}
	}
}

func TestPutRefusesMalformedExpiry(t *testing.T) {
	s := newSetup(t)
	s.provider = s.newOAuth2(oauth2.ClientAuthNone)
	if _, err := s.put(`{"access_token":"access-1","refresh_token":"refresh-1","expires_at":"tomorrow"}`); !errors.Is(err, credential.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestPutUnderPreconditions(t *testing.T) {
	for name, c := range map[string]struct {
		present bool // there is a credential, of version 1
		If      Precondition
		written bool
	}{
		"nothing demanded, none there": {false, Precondition{}, true},
		"nothing demanded":             {true, Precondition{}, true},
		"this version":                 {true, Precondition{Versions: []uint64{1}}, true},
		"one of these":                 {true, Precondition{Versions: []uint64{7, 1}}, true},
		"another version":              {true, Precondition{Versions: []uint64{2}}, false},
		"a version, none there":        {false, Precondition{Versions: []uint64{1}}, false},
		"no version is good enough":    {true, Precondition{Versions: []uint64{}}, false},
		"present":                      {true, Precondition{Present: true}, true},
		"present, none there":          {false, Precondition{Present: true}, false},
		"absent":                       {false, Precondition{Absent: true}, true},
		"absent, but there":            {true, Precondition{Absent: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t)
			if c.present {
				_, err := s.put(`{"api_key":"old"}`)
				s.check(err)
			}
			before := s.stored()
			_, err := s.service.Put(t.Context(), s.provider, acme, Change{Document: []byte(`{"api_key":"new"}`), If: c.If})
			if c.written != (err == nil) || !c.written && (!errors.Is(err, ErrPrecondition) || s.stored() != before) {
				t.Errorf("%v, %s", err, s.stored())
			}
		})
	}
}

// unreadable is a store with a document, of version 1, that is no credential.
type unreadable struct{ *storetest.Memory }

func (s unreadable) Get(context.Context, credential.Key) (credential.Document, error) {
	return credential.Document{Version: 1, Data: []byte(strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100))}, nil
}

// What is there is there, though it is no credential.
func TestPreconditionsOnWhatIsNoCredential(t *testing.T) {
	s := newSetup(t)
	_, err := s.store.Put(t.Context(), s.key(), []byte(`{}`), 0)
	s.check(err)
	s.service = New(credential.NewCache(unreadable{s.store}, credential.CacheOptions{}))
	put := func(condition Precondition) error {
		_, err := s.service.Put(t.Context(), s.provider, acme, Change{Document: []byte(`{"api_key":"k"}`), If: condition})
		return err
	}
	if err := put(Precondition{Absent: true}); !errors.Is(err, ErrPrecondition) {
		t.Errorf("absent: %v", err)
	}
	if _, err := s.service.Delete(t.Context(), s.provider, acme, Precondition{Absent: true}, false); !errors.Is(err, ErrPrecondition) {
		t.Errorf("absent, to delete: %v", err)
	}
	if err := put(Precondition{Versions: []uint64{2}}); !errors.Is(err, ErrPrecondition) {
		t.Errorf("another version: %v", err)
	}
	s.check(put(Precondition{Present: true}))
}

// Two writes: the one that the store took first is answered last. Requests use the
// other's.
func TestWriteThatIsAnsweredLate(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(s *setup)
		want      string
	}{
		"another write": {func(s *setup) {
			_, err := s.put(`{"api_key":"second"}`)
			s.check(err)
		}, "second"},
		"a deletion": {func(s *setup) {
			_, err := s.delete(false)
			s.check(err)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t)
			first := true
			s.store.After = func(op string, _ credential.Key) error {
				if op == storetest.OpPut && first {
					first = false
					c.meanwhile(s)
				}
				return nil
			}
			_, err := s.put(`{"api_key":"first"}`)
			s.check(err)
			if got := s.used("api_key"); got != c.want {
				t.Errorf("requests use %q, not %q", got, c.want)
			}
		})
	}
}

func TestPutOverARefreshKeepsItsRecord(t *testing.T) {
	s := newSetup(t)
	s.provider = s.newOAuth2(oauth2.ClientAuthNone)
	_, err := s.store.Put(t.Context(), s.key(), []byte(`{"access_token":"access-1","refresh_token":"refresh-1",
		"_upstream_auth":{"status":"spending","fingerprint":"f","nonce":"n","owner":"o","disabled":"true"}}`), 0)
	s.check(err)
	_, err = s.put(`{"access_token":"access-2","refresh_token":"refresh-1"}`)
	s.check(err)
	got := record(t, s.stored())
	for name, want := range map[string]string{"status": "spending", "nonce": "n", "disabled": "true", "by": "api"} {
		if got[name] != want {
			t.Errorf("%s is %q, not %q", name, got[name], want)
		}
	}
}

func TestPutOfTheSameIsNotWrittenAgain(t *testing.T) {
	s := newSetup(t)
	first, err := s.put(`{"api_key":"k","n":1.0}`)
	s.check(err)
	again, err := s.put(` {"n":1.0, "api_key":"\u006b"} `)
	s.check(err)
	if first.Version() != again.Version() || s.store.Puts() != 1 {
		t.Errorf("version %d after %d", again.Version(), first.Version())
	}
	other, err := s.put(`{"n":1, "api_key":"k"}`)
	s.check(err)
	if other.Version() == first.Version() {
		t.Error("another spelling of a number is another document, and was not written")
	}
}

func TestPutSwitchesRefreshes(t *testing.T) {
	s := newSetup(t)
	s.provider = s.newOAuth2(oauth2.ClientAuthNone)
	set := func(disabled bool) error {
		_, err := s.service.Put(t.Context(), s.provider, acme, Change{Disabled: &disabled})
		return err
	}
	if err := set(true); !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("switched off what is not there: %v", err)
	}
	_, err := s.put(`{"access_token":"access-1","refresh_token":"refresh-1"}`)
	s.check(err)
	for _, disabled := range []bool{true, true, false} {
		s.check(set(disabled))
		cred, err := s.service.Get(t.Context(), s.provider, acme)
		s.check(err)
		if got := Describe(s.provider, cred); got.Disabled != disabled || cred.Get("access_token").String() != "access-1" {
			t.Errorf("after %t: %+v", disabled, got)
		}
	}
}

// Somebody else writes between the read and the write, as often as the table says.
func TestPutRacesWithOthers(t *testing.T) {
	for name, c := range map[string]struct {
		others int
		If     Precondition
		want   error
	}{
		"once":                          {1, Precondition{}, nil},
		"once, and the version matters": {1, Precondition{Versions: []uint64{1}}, ErrPrecondition},
		"without end":                   {1000, Precondition{}, credential.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t)
			_, err := s.put(`{"api_key":"old"}`)
			s.check(err)
			left, within := c.others, false
			s.store.Fault = func(op string, key credential.Key) error {
				if op != storetest.OpPut || left == 0 || within {
					return nil
				}
				left--
				within = true
				defer func() { within = false }()
				doc, err := s.store.Get(context.Background(), key)
				s.check(err)
				_, err = s.store.Put(context.Background(), key, []byte(`{"api_key":"theirs"}`), doc.Version)
				s.check(err)
				return nil
			}
			_, err = s.service.Put(t.Context(), s.provider, acme, Change{Document: []byte(`{"api_key":"mine"}`), If: c.If})
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if mine := strings.Contains(s.stored(), "mine"); mine != (c.want == nil) {
				t.Errorf("stored is %s", s.stored())
			}
		})
	}
}

func TestPutWhoseOutcomeIsUnknownForgetsWhatWasCached(t *testing.T) {
	s := newSetup(t)
	_, err := s.put(`{"api_key":"old"}`)
	s.check(err)
	s.store.After = func(op string, _ credential.Key) error {
		if op == storetest.OpPut {
			return credential.ErrUnavailable // it was made, and nobody knows
		}
		return nil
	}
	if _, err := s.put(`{"api_key":"new"}`); !errors.Is(err, credential.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	if got := s.used("api_key"); got != "new" {
		t.Errorf("requests use %q", got)
	}
}

func TestNewCredentialHasToPassItsTest(t *testing.T) {
	for name, c := range map[string]struct {
		status   int
		statuses []int
		accepted bool
		rejected bool
	}{
		"200":                   {200, nil, true, false},
		"204":                   {204, nil, true, false},
		"401":                   {401, nil, false, true},
		"302 is not followed":   {302, nil, false, true},
		"503 says nothing":      {503, nil, false, false},
		"429 says nothing":      {429, nil, false, false},
		"200 is not 404":        {200, []int{404}, false, true},
		"404 is what is wanted": {404, []int{200, 404}, true, false},
		"an empty list":         {200, []int{}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t)
			api := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
			})
			s.provider.Test = &upstream.Request{URL: s.template(api.URL + "/me?of={credential.account}"), Statuses: c.statuses}
			_, err := s.put(`{"api_key":"key-of-acme","account":42}`)
			if c.accepted != (err == nil) {
				t.Fatalf("got %v", err)
			}
			if test, ok := errors.AsType[*upstream.TestError](err); !c.accepted && (!ok || test.Rejected() != c.rejected || errors.Is(err, credential.ErrInvalid) != c.rejected || holdsSecret(err)) {
				t.Errorf("got %v", err)
			}
			if c.accepted != (s.stored() != "") {
				t.Errorf("stored is %q", s.stored())
			}
			r := <-api.requests
			if r.Header.Get("X-Api-Key") != "key-of-acme" || r.URL.RequestURI() != "/me?of=42" || api.count() != 0 {
				t.Errorf("the API saw %s %s %v", r.Method, r.URL, r.Header)
			}
		})
	}
}

func TestNewCredentialIsTestedWhereItMayGo(t *testing.T) {
	s := newSetup(t)
	api := newServer(t, answer(200, ""))
	var err error
	s.provider.Hosts, err = hosts.Parse([]string{"api.example.com:443"})
	s.check(err)
	for name, c := range map[string]struct{ url, document string }{
		"another host":        {api.URL, `{"api_key":"key-of-acme"}`},
		"host by credential":  {"https://{credential.host}/", `{"api_key":"key-of-acme","host":"evil.example"}`},
		"host with a path":    {"https://{credential.host}/", `{"api_key":"key-of-acme","host":"api.example.com/"}`},
		"host with user info": {"https://{credential.host}/", `{"api_key":"key-of-acme","host":"api.example.com@evil.example"}`},
		"path that climbs":    {api.URL + "/{credential.id}/x", `{"api_key":"key-of-acme","id":".."}`},
		"path with a query":   {api.URL + "/{credential.id}", `{"api_key":"key-of-acme","id":"a?b=c"}`},
		"nobody is there":     {gone(t), `{"api_key":"key-of-acme"}`},
	} {
		s.provider.Test = &upstream.Request{URL: s.template(c.url)}
		_, err := s.put(c.document)
		if err == nil || holdsSecret(err) || strings.Contains(err.Error(), "evil") {
			t.Errorf("%s: %v", name, err)
		}
		if n := api.count(); n != 0 || s.stored() != "" {
			t.Errorf("%s: %d requests, stored %q", name, n, s.stored())
		}
	}
}
