package lifecycle

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

const tokens = `{"access_token":"access-1","refresh_token":"refresh-1"}`

func (s *setup) delete(force bool) (bool, error) {
	return s.service.Delete(s.Context(), s.provider, acme, Precondition{}, force)
}

func TestDeletedCredentialIsNotUsedAnyMore(t *testing.T) {
	s := newSetup(t)
	if _, err := s.delete(false); !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("deleted what is not there: %v", err)
	}
	_, err := s.put(`{"api_key":"k"}`)
	s.check(err)
	revoked, err := s.delete(false)
	if err != nil || revoked {
		t.Fatalf("%t, %v", revoked, err)
	}
	if s.stored() != "" || s.used("api_key") != "" {
		t.Errorf("stored %q, used %q", s.stored(), s.used("api_key"))
	}
}

// A read of the store that began before the deletion must not bring the credential
// back into the cache.
func TestDeletionBeatsAReadUnderWay(t *testing.T) {
	s := newSetup(t)
	_, err := s.store.Put(t.Context(), s.key(), []byte(`{"api_key":"k"}`), 0)
	s.check(err)
	reading, proceed := make(chan struct{}), make(chan struct{})
	first := true
	s.store.After = func(op string, _ credential.Key) error {
		if op == storetest.OpGet && first {
			first = false
			close(reading)
			<-proceed
		}
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = s.cache.Get(context.Background(), s.key())
	}()
	<-reading
	_, err = s.delete(false)
	s.check(err)
	close(proceed)
	<-done
	if got := s.used("api_key"); got != "" {
		t.Errorf("requests use %q", got)
	}
}

func TestDeletionUnderAPrecondition(t *testing.T) {
	s := newSetup(t)
	_, err := s.put(`{"api_key":"k"}`)
	s.check(err)
	if _, err := s.service.Delete(t.Context(), s.provider, acme, Precondition{Versions: []uint64{2}}, false); !errors.Is(err, ErrPrecondition) || s.stored() == "" {
		t.Errorf("%v, stored %q", err, s.stored())
	}
	_, err = s.service.Delete(t.Context(), s.provider, acme, Precondition{Versions: []uint64{1}}, false)
	if err != nil || s.stored() != "" {
		t.Errorf("%v, stored %q", err, s.stored())
	}
}

func TestDeletionRevokesTokens(t *testing.T) {
	for _, auth := range []oauth2.ClientAuth{oauth2.ClientAuthBasic, oauth2.ClientAuthPost, oauth2.ClientAuthNone} {
		t.Run(string(auth), func(t *testing.T) {
			s := newSetup(t)
			s.provider = s.newOAuth2(auth)
			server := newServer(t, answer(200, ""))
			s.provider.Revocation = &upstream.Revocation{URL: s.template(server.URL + "/revoke")}
			_, err := s.put(tokens)
			s.check(err)
			revoked, err := s.delete(false)
			if err != nil || !revoked || s.stored() != "" {
				t.Fatalf("%t, %v, stored %q", revoked, err, s.stored())
			}
			for _, want := range []struct{ token, hint string }{{"refresh-1", "refresh_token"}, {"access-1", "access_token"}} {
				r := <-server.requests
				if r.Method != http.MethodPost || r.PostForm.Get("token") != want.token || r.PostForm.Get("token_type_hint") != want.hint {
					t.Errorf("%s %v", r.Method, r.PostForm)
				}
				id, secret, basic := r.BasicAuth()
				switch auth {
				case oauth2.ClientAuthBasic:
					if !basic || id != "my+client" || secret != "s3cret%2B%26" || r.PostForm.Has("client_id") {
						t.Errorf("client %q %q, form %v", id, secret, r.PostForm)
					}
				default:
					if basic || r.PostForm.Get("client_id") != "my client" || (r.PostForm.Get("client_secret") == "s3cret+&") != (auth == oauth2.ClientAuthPost) {
						t.Errorf("form %v", r.PostForm)
					}
				}
			}
		})
	}
}

func TestDeletionThatCannotRevoke(t *testing.T) {
	for name, c := range map[string]struct {
		url     func(t *testing.T) string
		request string // a configured request instead, by its path
		revoked bool
	}{
		"nobody is there": {gone, "", false},
		"500":             {serving(500, ""), "", false},
		"401":             {serving(401, `{"error":"invalid_client"}`), "", false},
		"redirect":        {serving(302, ""), "", false},
		"access tokens are not its": {func(t *testing.T) string {
			return newServer(t, func(w http.ResponseWriter, r *http.Request) {
				if r.PostForm.Get("token_type_hint") == "access_token" {
					w.WriteHeader(400)
					_, _ = w.Write([]byte(`{"error":"unsupported_token_type"}`))
				}
			}).URL
		}, "", true},
		"refresh tokens are not its": {serving(400, `{"error":"unsupported_token_type"}`), "", false},
		"request: 204":               {serving(204, ""), "/keys/{credential.id}", true},
		"request: gone already":      {serving(404, ""), "/keys/{credential.id}", true},
		"request: 403":               {serving(403, ""), "/keys/{credential.id}", false},
		"request: field is missing":  {serving(204, ""), "/keys/{credential.nothing}", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t)
			s.provider = s.newOAuth2(oauth2.ClientAuthBasic)
			address := c.url(t)
			s.provider.Revocation = &upstream.Revocation{URL: s.template(address)}
			if c.request != "" {
				s.provider.Revocation = &upstream.Revocation{Request: &upstream.Request{Method: http.MethodDelete, URL: s.template(address + c.request)}}
			}
			_, err := s.put(`{"access_token":"access-1","refresh_token":"refresh-1","id":"k1"}`)
			s.check(err)
			revoked, err := s.delete(false)
			if revoked != c.revoked || (err == nil) != c.revoked {
				t.Fatalf("%t, %v", revoked, err)
			}
			if c.revoked {
				return
			}
			if _, ok := errors.AsType[*upstream.RevocationError](err); !ok || holdsSecret(err) || s.stored() == "" {
				t.Errorf("%v, stored %q", err, s.stored())
			}
			if err := s.service.Revoke(t.Context(), s.provider, acme); err == nil {
				t.Error("revoking by itself does it")
			}
			revoked, err = s.delete(true)
			if err != nil || revoked || s.stored() != "" {
				t.Errorf("by force: %t, %v, stored %q", revoked, err, s.stored())
			}
		})
	}
}

// revoking is a setup whose provider revokes tokens at a server that does what else
// is asked when it is asked first.
func revoking(t *testing.T, meanwhile func(s *setup)) (*setup, *server) {
	s := newSetup(t)
	s.provider = s.newOAuth2(oauth2.ClientAuthNone)
	first := true
	server := newServer(t, func(http.ResponseWriter, *http.Request) {
		if first {
			first = false
			meanwhile(s)
		}
	})
	s.provider.Revocation = &upstream.Revocation{URL: s.template(server.URL)}
	_, err := s.put(tokens)
	s.check(err)
	return s, server
}

// Revoking takes a while. What comes meanwhile is revoked too before it is deleted.
func TestDeletionOfWhatIsReplacedMeanwhile(t *testing.T) {
	s, server := revoking(t, func(s *setup) {
		_, err := s.put(`{"access_token":"access-2","refresh_token":"refresh-2"}`)
		s.check(err)
	})
	revoked, err := s.delete(false)
	if err != nil || !revoked || s.stored() != "" {
		t.Fatalf("%t, %v, stored %q", revoked, err, s.stored())
	}
	var sent []string
	for range len(server.requests) {
		sent = append(sent, (<-server.requests).PostForm.Get("token"))
	}
	if want := []string{"refresh-1", "access-1", "refresh-2", "access-2"}; !slices.Equal(sent, want) {
		t.Errorf("revoked %v, want %v", sent, want)
	}
}

func TestDeletionOfOneVersionLeavesTheNext(t *testing.T) {
	s, _ := revoking(t, func(s *setup) {
		_, err := s.put(`{"access_token":"access-2","refresh_token":"refresh-2"}`)
		s.check(err)
	})
	_, err := s.service.Delete(t.Context(), s.provider, acme, Precondition{Versions: []uint64{1}}, false)
	if !errors.Is(err, ErrPrecondition) || s.used("access_token") != "access-2" {
		t.Errorf("%v, requests use %q", err, s.used("access_token"))
	}
}

// Whoever asked may go away in mid-deletion: a credential that is revoked must not stay.
func TestDeletionGoesOnWithoutItsCaller(t *testing.T) {
	ctx, hangUp := context.WithCancel(t.Context())
	s, server := revoking(t, func(*setup) { hangUp() })
	revoked, err := s.service.Delete(ctx, s.provider, acme, Precondition{}, false)
	if err != nil || !revoked || s.stored() != "" || server.count() != 2 {
		t.Errorf("%t, %v, stored %q", revoked, err, s.stored())
	}
}

func serving(status int, body string) func(*testing.T) string {
	return func(t *testing.T) string { return newServer(t, answer(status, body)).URL }
}

func TestRevocationAloneKeepsTheCredential(t *testing.T) {
	s := newSetup(t)
	s.provider = s.newOAuth2(oauth2.ClientAuthNone)
	if err := s.service.Revoke(t.Context(), s.provider, acme); !errors.Is(err, upstream.ErrNoRevocation) {
		t.Errorf("got %v", err)
	}
	server := newServer(t, answer(200, ""))
	s.provider.Revocation = &upstream.Revocation{URL: s.template(server.URL)}
	_, err := s.put(tokens)
	s.check(err)
	s.check(s.service.Revoke(t.Context(), s.provider, acme))
	if s.stored() == "" || server.count() != 2 {
		t.Error("it is gone, or nothing was revoked")
	}
}
