package login_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/login"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// A challenge is answered in a second step, and what that says is used in a third.
func TestStepsUseTheAnswersBefore(t *testing.T) {
	url := serve(t, map[string]http.HandlerFunc{
		"GET /challenge": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"nonce":"n1","_upstream_auth":{},"by":"`+r.URL.Query().Get("user")+`"}`)
		},
		"POST /code": func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("nonce") != "n1" || r.FormValue("user") != "ann" {
				w.WriteHeader(http.StatusTeapot)
			}
			_, _ = io.WriteString(w, `code-7`)
		},
	})
	r := newRenewer(t, login.Config{Requests: []login.Request{
		{Method: "GET", URL: url + "/challenge?user={credential.user}"},
		{URL: url + "/code", Form: fields{"nonce": "{step1.nonce}", "user": "{step1.by}"}},
		{URL: url + "/{step2.@this}/session", JSON: fields{"nonce": "{step1.nonce}", "user": "{credential.user}", "password": "{credential.password}"}},
	}})
	// Nothing in the credential stands in for an answer.
	c := newCredential(t, ` { "user":"ann","password":"secret-1","step1":{"nonce":"forged"},"st\u0065p2":"forged" } `)
	if err := r.CheckNew(c); err != nil {
		t.Error(err)
	}
	req, _, err := r.Request(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if got := bodyOf(t, req); req.URL.Path != "/code-7/session" || got != `{"nonce":"n1","password":"secret-1","user":"ann"}` {
		t.Errorf("asked %s with %s", req.URL, got)
	}
	for _, path := range []string{"step1", "nonce"} {
		if schema := string(r.Schema()); strings.Contains(schema, path) {
			t.Errorf("the credential is to have answers in it: %s", schema)
		}
	}
}

func TestStepThatFailsEndsTheLogin(t *testing.T) {
	reached := false
	url := serve(t, map[string]http.HandlerFunc{
		"/wrong":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no hunter2", http.StatusUnauthorized) },
		"/busy":   func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "7"); w.WriteHeader(429) },
		"/moved":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/reached", http.StatusFound) },
		"/empty":  func(http.ResponseWriter, *http.Request) {},
		"/broken": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"/reached": func(http.ResponseWriter, *http.Request) {
			reached = true
		},
	})
	allowed, err := hosts.Parse([]string{"api.example"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]struct {
		told string
		as   tokenrequest.Error
	}{
		"/wrong":  {"step 1: token endpoint answered 401, it is refused", tokenrequest.Error{Permanent: true}},
		"/busy":   {"step 1: token endpoint answered 429, it is refused", tokenrequest.Error{Unspent: true, RetryAfter: 7e9}},
		"/moved":  {"step 1: token endpoint answered 302, it is refused", tokenrequest.Error{Unspent: true}},
		"/broken": {"step 1: token endpoint: connection ended", tokenrequest.Error{NoResponse: true}},
		"/empty":  {`field "step1.nonce" is missing`, tokenrequest.Error{}},
	} {
		r := newRenewer(t, login.Config{Requests: []login.Request{
			{URL: url + path, Form: fields{"user": "{credential.user}"}}, {URL: url + "/reached", Form: fields{"nonce": "{step1.nonce}"}},
		}})
		_, _, err := r.Request(t.Context(), newCredential(t, `{"user":"hunter2"}`))
		if err == nil || !strings.Contains(err.Error(), want.told) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", path, err)
		}
		wrong, ok := errors.AsType[*tokenrequest.Error](err)
		if ok != (want.as != (tokenrequest.Error{})) || ok && (wrong.Permanent != want.as.Permanent || wrong.Unspent != want.as.Unspent || wrong.RetryAfter != want.as.RetryAfter || wrong.NoResponse != want.as.NoResponse) {
			t.Errorf("%s: got %+v", path, wrong)
		}
	}
	r := newRenewer(t, login.Config{TokenHosts: allowed, Requests: []login.Request{{URL: url + "/reached", Form: fields{"user": "{credential.user}"}}, userAndPassword}})
	if _, _, err := r.Request(t.Context(), newCredential(t, `{"user":"ann","password":"p"}`)); err == nil || !strings.Contains(err.Error(), "not among token_hosts") {
		t.Errorf("another host: %v", err)
	}
	if reached {
		t.Error("a request went on")
	}
}

// A step whose server is silent ends when who asks for it does.
func TestStepWithoutAnAnswerEndsWithItsCoordinator(t *testing.T) {
	asked := make(chan struct{})
	url := serve(t, map[string]http.HandlerFunc{"/": func(_ http.ResponseWriter, r *http.Request) { close(asked); <-r.Context().Done() }})
	r := newRenewer(t, login.Config{Requests: []login.Request{{Method: "GET", URL: url + "/?user={credential.user}"}, userAndPassword}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, _, err := r.Request(ctx, newCredential(t, `{"user":"ann","password":"p"}`)); err == nil {
		t.Error("it has an answer")
	}
}
