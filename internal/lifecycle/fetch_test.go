package lifecycle

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/budget"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// fetching makes an application the provider's, until the end of the test.
func (s *setup) fetching(f upstream.Fetch) {
	s.Helper()
	s.provider.Fetch = &f
	s.check(f.Prepare())
	s.Cleanup(f.Close)
}

func (s *setup) fetch(rejected *credential.Credential) (*credential.Credential, error) {
	return s.service.Fetch(s.Context(), s.provider, acme, rejected, quiet)
}

func TestFetchAsksForTheTenant(t *testing.T) {
	for path, want := range map[string]string{
		"/credentials":                        "/credentials?tenant=acme",
		"/credentials?v=1":                    "/credentials?tenant=acme&v=1",
		"/{provider}/{tenant}":                "/billing/acme",
		"/credentials?of={tenant}&{provider}": "/credentials?of=acme&billing",
	} {
		s := newSetup(t)
		app := newServer(t, answer(200, `{"api_key":"key-of-acme"}`))
		s.fetching(upstream.Fetch{URL: app.URL + path, Header: http.Header{"Authorization": {"Bearer app-secret"}}})
		cred, err := s.fetch(nil)
		s.check(err)
		if cred.Get("api_key").String() != "key-of-acme" || !strings.Contains(s.stored(), "key-of-acme") || s.used("api_key") != "key-of-acme" {
			t.Errorf("%s: stored %s", path, s.stored())
		}
		r := <-app.requests
		if r.Method != http.MethodGet || r.URL.RequestURI() != want || r.Header.Get(upstream.HeaderTenant) != "acme" || r.Header.Get("Authorization") != "Bearer app-secret" {
			t.Errorf("%s: the application saw %s %s %v", path, r.Method, r.URL, r.Header)
		}
		if by := record(t, s.stored())["by"]; by != "fetch" {
			t.Errorf("written by %q", by)
		}
	}
}

func TestManyRequestsFetchOnce(t *testing.T) {
	s := newSetup(t)
	release := make(chan struct{})
	app := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = w.Write([]byte(`{"api_key":"key-of-acme"}`))
	})
	s.fetching(upstream.Fetch{URL: app.URL})
	const calls = 100
	errs := make(chan error, calls)
	var started sync.WaitGroup
	started.Add(calls)
	for range calls {
		go func() {
			started.Done()
			cred, err := s.fetch(nil)
			if err == nil && cred.Get("api_key").String() != "key-of-acme" {
				err = errors.New("another credential")
			}
			errs <- err
		}()
	}
	started.Wait()
	close(release)
	for range calls {
		s.check(<-errs)
	}
	if n := app.count(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestFetchGoesOnWithoutItsCaller(t *testing.T) {
	s := newSetup(t)
	asked, release := make(chan struct{}), make(chan struct{})
	app := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-release
		_, _ = w.Write([]byte(`{"api_key":"key-of-acme"}`))
	})
	s.fetching(upstream.Fetch{URL: app.URL})
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := s.service.Fetch(ctx, s.provider, acme, nil, quiet)
		left <- err
	}()
	<-asked
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
	if _, err := s.fetch(nil); err != nil || app.count() != 1 {
		t.Errorf("got %v", err)
	}
}

func TestApplicationWithoutAnAnswerOfUse(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    error
	}{
		"404":           {answer(404, ""), credential.ErrNotFound},
		"204":           {answer(204, ""), credential.ErrNotFound},
		"410":           {answer(410, ""), credential.ErrNotFound},
		"500":           {answer(500, "key-of-acme"), credential.ErrUnavailable},
		"401":           {answer(401, ""), credential.ErrUnavailable},
		"redirect":      {answer(302, ""), credential.ErrUnavailable},
		"hang-up":       {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, credential.ErrUnavailable},
		"cut off":       {cutOff, credential.ErrUnavailable},
		"breaks schema": {answer(200, `{"key":"key-of-acme"}`), credential.ErrInvalid},
		"reserved key":  {answer(200, `{"api_key":"key-of-acme","_upstream_auth":{}}`), credential.ErrInvalid},
		"no JSON":       {answer(200, `<html>key-of-acme`), credential.ErrInvalid},
		"too large":     {answer(200, `{"api_key":"`+strings.Repeat("x", credential.MaxSize)+`"}`), credential.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t)
			app := newServer(t, c.handler)
			s.fetching(upstream.Fetch{URL: app.URL})
			for range 3 {
				if _, err := s.fetch(nil); !errors.Is(err, c.want) || holdsSecret(err) {
					t.Fatalf("got %v, want %v", err, c.want)
				}
			}
			if n := app.count(); n != 1 {
				t.Errorf("%d requests: the answer was not remembered", n)
			}
			if s.stored() != "" {
				t.Errorf("stored %q", s.stored())
			}
		})
	}
}

func cutOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = w.Write([]byte(`{"api_key":"key-of-acme"}`))
}

func TestApplicationThatDoesNotAnswerInTime(t *testing.T) {
	s := newSetup(t)
	release := make(chan struct{})
	app := newServer(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	s.fetching(upstream.Fetch{URL: app.URL, Timeout: 50 * time.Millisecond})
	if _, err := s.fetch(nil); !errors.Is(err, credential.ErrUnavailable) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("got %v", err)
	}
}

func TestFetchedCredentialHasToPassTheTest(t *testing.T) {
	s := newSetup(t)
	api := newServer(t, answer(401, ""))
	app := newServer(t, answer(200, `{"api_key":"key-of-acme"}`))
	s.provider.Test = &upstream.Request{URL: s.template(api.URL)}
	s.fetching(upstream.Fetch{URL: app.URL})
	_, err := s.fetch(nil)
	if _, ok := errors.AsType[*upstream.TestError](err); !ok || s.stored() != "" {
		t.Errorf("%v, stored %q", err, s.stored())
	}
}

// The application is asked again after a while, and at once if its answer was used
// and is gone.
func TestApplicationIsAskedAgain(t *testing.T) {
	answers := []http.HandlerFunc{answer(404, ""), answer(200, `{"api_key":"one"}`), answer(200, `{"api_key":"two"}`)}
	// It is outside of the bubble, and no connection to it is kept: the clock stands
	// still while somebody waits for the network.
	app := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		next := answers[0]
		answers = answers[1:]
		next(w, r)
	})
	app.Config.SetKeepAlivesEnabled(false)
	synctest.Test(t, func(t *testing.T) {
		s := newSetup(t)
		s.fetching(upstream.Fetch{URL: app.URL, NegativeTTL: 10 * time.Second})
		for range 3 {
			if _, err := s.fetch(nil); !errors.Is(err, credential.ErrNotFound) {
				t.Fatal(err)
			}
		}
		time.Sleep(11 * time.Second)
		one, err := s.fetch(nil)
		s.check(err)
		if _, err := s.fetch(one); !errors.Is(err, ErrSame) {
			t.Errorf("asked again at once for a rejected one: %v", err)
		}
		_, err = s.delete(false)
		s.check(err)
		two, err := s.fetch(nil)
		if err != nil || two.Get("api_key").String() != "two" {
			t.Errorf("got %v", err)
		}
	})
}

func TestRejectedCredentialIsFetchedAnew(t *testing.T) {
	s := newSetup(t)
	old, err := s.put(`{"api_key":"old"}`)
	s.check(err)
	app := newServer(t, answer(200, `{"api_key":"new"}`))
	s.fetching(upstream.Fetch{URL: app.URL})
	for range 3 { // requests that were sent with the old one come late
		fresh, err := s.fetch(old)
		s.check(err)
		if fresh.Get("api_key").String() != "new" || fresh.Version() != old.Version()+1 {
			t.Errorf("version %d: %s", fresh.Version(), fresh.JSON())
		}
	}
	if n := app.count(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestApplicationWithNothingNewIsLeftAlone(t *testing.T) {
	s := newSetup(t)
	old, err := s.put(`{"api_key":"old"}`)
	s.check(err)
	app := newServer(t, answer(200, `{ "api_key": "old" }`))
	s.fetching(upstream.Fetch{URL: app.URL})
	for range 5 {
		if _, err := s.fetch(old); !errors.Is(err, ErrSame) {
			t.Errorf("got %v", err)
		}
	}
	if n := app.count(); n != 1 || s.store.Puts() != 1 {
		t.Errorf("%d requests, %d writes", n, s.store.Puts())
	}
}

// What another process stored while the application was asked goes before its answer.
func TestFetchThatComesSecond(t *testing.T) {
	for name, rejected := range map[string]bool{"instead of none": false, "instead of a rejected one": true} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t)
			var old *credential.Credential
			if rejected {
				var err error
				old, err = s.put(`{"api_key":"old"}`)
				s.check(err)
			}
			app := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
				doc, _ := s.store.Get(context.Background(), s.key())
				_, err := s.store.Put(context.Background(), s.key(), []byte(`{"api_key":"theirs"}`), doc.Version)
				if err != nil {
					t.Error(err)
				}
				_, _ = w.Write([]byte(`{"api_key":"mine"}`))
			})
			s.fetching(upstream.Fetch{URL: app.URL})
			cred, err := s.fetch(old)
			s.check(err)
			if cred.Get("api_key").String() != "theirs" || !strings.Contains(s.stored(), "theirs") || s.used("api_key") != "theirs" {
				t.Errorf("%s, stored %s", cred.JSON(), s.stored())
			}
		})
	}
}

func TestOutageOfTheStoreIsNotRemembered(t *testing.T) {
	s := newSetup(t)
	app := newServer(t, answer(200, `{"api_key":"k"}`))
	s.fetching(upstream.Fetch{URL: app.URL})
	s.store.Fault = func(string, credential.Key) error { return credential.ErrUnavailable }
	if _, err := s.fetch(nil); !errors.Is(err, credential.ErrUnavailable) || app.count() != 0 {
		t.Errorf("got %v", err)
	}
	s.store.Fault = nil
	if _, err := s.fetch(nil); err != nil {
		t.Error(err)
	}
}

func TestFetchByMutualTLS(t *testing.T) {
	s := newSetup(t)
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) != 1 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte(`{"api_key":"k"}`))
	}))
	app.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	app.StartTLS()
	defer app.Close()
	roots := x509.NewCertPool()
	roots.AddCert(app.Certificate())

	s.fetching(upstream.Fetch{URL: app.URL})
	if _, err := s.fetch(nil); err == nil || !strings.Contains(err.Error(), "certificate is not trusted") {
		t.Errorf("an unknown authority is trusted: %v", err)
	}
	s = newSetup(t)
	s.fetching(upstream.Fetch{URL: app.URL, TLS: &tls.Config{RootCAs: roots}})
	if _, err := s.fetch(nil); !errors.Is(err, credential.ErrUnavailable) {
		t.Errorf("without a certificate: %v", err)
	}
	s = newSetup(t)
	s.fetching(upstream.Fetch{URL: app.URL, TLS: &tls.Config{RootCAs: roots, Certificates: app.TLS.Certificates}})
	_, err := s.fetch(nil)
	s.check(err)
}

// That there is no room for a lookup says nothing of the application.
func TestShortageOfLookupsIsNotRemembered(t *testing.T) {
	app := newServer(t, answer(200, `{"api_key":"key-of-acme"}`))
	app.Config.SetKeepAlivesEnabled(false) // as in TestApplicationIsAskedAgain
	synctest.Test(t, func(t *testing.T) {
		s := newSetup(t)
		s.fetching(upstream.Fetch{URL: app.URL, NegativeTTL: time.Hour})
		s.provider.Budget = new(budget.Usage).Provider("billing", budget.Limits{Lookups: []*budget.Line{budget.NewLine(1)}})
		leave, err := s.provider.Budget.Enter(t.Context())
		s.check(err)
		if _, err := s.fetch(nil); !errors.As(err, new(*budget.Error)) {
			t.Errorf("got %v without room for a lookup", err)
		}
		leave()
		cred, err := s.fetch(nil)
		if err != nil || cred.Get("api_key").String() != "key-of-acme" {
			t.Errorf("got %v once there was room", err)
		}
	})
}
