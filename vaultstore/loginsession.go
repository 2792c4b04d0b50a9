package vaultstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

// Timing of logins and renewals.
const (
	loginTimeout  = 10 * time.Second
	firstRest     = time.Second // after a failed login; doubles
	longestRest   = 15 * time.Second
	neverDue      = 365 * 24 * time.Hour
	revokeTimeout = 2 * time.Second
)

// loginSession is the session of a method that logs in. One goroutine, run,
// makes all logins and renewals, one after the other; requests wait for it.
type loginSession struct {
	auth   *AuthConfig
	client *api.Client
	log    func() *slog.Logger
	life   context.Context // done when the store is closed
	wake   chan struct{}   // to run: refused is set

	mu      sync.Mutex
	current *vaultToken   // nil: none
	refused *vaultToken   // a token that a request says was refused, until run has seen to it
	err     error         // of the last login, if it failed
	restEnd time.Time     // when the next login may be, if the last one failed
	changed chan struct{} // closed when a login ends

	failing string // run's: how logins have been failing, as far as logged
}

func newLoginSession(life context.Context, auth *AuthConfig, client *api.Client, log func() *slog.Logger) *loginSession {
	return &loginSession{
		auth: auth, client: client, log: log, life: life,
		wake: make(chan struct{}, 1), changed: make(chan struct{}),
	}
}

func (s *loginSession) token(ctx context.Context) (*vaultToken, error) {
	for {
		s.mu.Lock()
		current, err, changed := s.current, s.restingError(), s.changed
		s.mu.Unlock()
		switch {
		case current != nil:
			return current, nil
		case err != nil:
			return nil, err
		}
		if err := s.wait(ctx, changed); err != nil {
			return nil, err
		}
	}
}

func (s *loginSession) replace(ctx context.Context, refused *vaultToken) (*vaultToken, error) {
	for {
		s.mu.Lock()
		current, err, changed := s.current, s.restingError(), s.changed
		if current == refused && err == nil && time.Since(refused.obtained) >= minLoginInterval {
			s.refused = refused
		}
		asked := s.refused == refused
		s.mu.Unlock()
		switch {
		case current != nil && current != refused:
			return current, nil
		case err != nil:
			return nil, err
		case current == refused && !asked:
			return nil, nil
		}
		select {
		case s.wake <- struct{}{}:
		default:
		}
		if err := s.wait(ctx, changed); err != nil {
			return nil, err
		}
	}
}

// restingError is why the last login failed, while it is too early for the next.
// The caller holds mu.
func (s *loginSession) restingError() error {
	if s.err != nil && time.Now().Before(s.restEnd) {
		return s.err
	}
	return nil
}

func (s *loginSession) wait(ctx context.Context, changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the login to Vault: %w", ctx.Err())
	case <-s.life.Done():
		return errClosed
	}
}

// leaseTimes says when the current token is to be renewed or replaced.
type leaseTimes struct {
	lease
	due time.Time // when to renew it or, if it cannot be, to log in again
	end time.Time // when it ends; zero: never
}

// newLeaseTimes begins a lease. It is due after six to seven tenths, at random, so
// that replicas that started together do not stay together.
func newLeaseTimes(l lease, start time.Time) leaseTimes {
	if l.duration == 0 {
		return leaseTimes{lease: l, due: start.Add(neverDue)}
	}
	return leaseTimes{
		lease: l,
		due:   start.Add(l.duration/10*6 + rand.N(l.duration/10+1)),
		end:   start.Add(l.duration),
	}
}

// backoff is how long to wait after so many failures in a row.
func backoff(failures int) time.Duration {
	longest := min(firstRest<<min(failures-1, 10), longestRest)
	return longest/2 + rand.N(longest/2)
}

func (s *loginSession) run(ctx context.Context, obtained func(context.Context)) {
	var (
		t        leaseTimes // of the current token, if there is one
		failures int        // in a row
		timer    = time.NewTimer(0)
	)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.wake:
		}
		start := time.Now()
		current, refused := s.take(t.end)
		switch {
		case current != nil && !refused && start.Before(t.due):
			// Somebody was told of the new token meanwhile.

		case current != nil && !refused && t.renewable:
			renewed, err := s.renew(ctx, current)
			switch {
			case isRefusal(err):
				t.renewable, t.due = false, start
			case err != nil:
				failures++
				t.due = time.Now().Add(backoff(failures))
			default:
				failures = 0
				// A shorter lease than asked for: the token nears its greatest age,
				// and the next step is a login.
				shortened := renewed.duration < t.duration/4*3
				renewed.renewable = renewed.renewable && !shortened
				t = newLeaseTimes(renewed, start)
			}

		default:
			l, err := s.logIn(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				failures++
				t.due = time.Now().Add(backoff(failures))
				s.fail(err, t.due)
				break
			}
			failures = 0
			t = newLeaseTimes(l, start)
			if refused {
				// Whatever is left of it: tokens must not pile up in Vault when it
				// is the policy that refuses.
				s.revoke(ctx, current)
			}
			obtained(ctx)
		}
		timer.Reset(time.Until(t.due))
	}
}

// take returns the current token, nil if it ended, and whether a request says
// that it was refused.
func (s *loginSession) take(end time.Time) (current *vaultToken, refused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !end.IsZero() && !time.Now().Before(end) {
		s.current = nil
	}
	refused = s.current != nil && s.refused == s.current
	s.refused = nil
	return s.current, refused
}

// logIn logs in and makes what comes of it the current token.
func (s *loginSession) logIn(ctx context.Context) (lease, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	token, l, err := s.auth.logIn(ctx, s.client)
	if err != nil {
		return lease{}, fmt.Errorf("login to Vault by %s failed: %w", s.auth.Method, err)
	}
	s.mu.Lock()
	s.current, s.refused, s.err = &vaultToken{token, time.Now()}, nil, nil
	s.tellChanged()
	s.mu.Unlock()

	if s.failing != "" {
		s.failing = ""
		s.log().Info("logged in to Vault again", "method", s.auth.Method)
	}
	return l, nil
}

// fail notes a failed login, after which there is none until restEnd. The current
// token stays: it may be good for what others ask.
func (s *loginSession) fail(err error, restEnd time.Time) {
	s.mu.Lock()
	s.err, s.restEnd, s.refused = err, restEnd, nil
	s.tellChanged()
	s.mu.Unlock()

	// A line for each change, not for each attempt: how connections fail varies
	// by port and by phase, so that all of those are one state.
	state := "no connection"
	var refusal *StatusError
	var file *fs.PathError
	if errors.As(err, &refusal) || errors.As(err, &file) {
		state = err.Error()
	}
	if s.failing != state {
		s.failing = state
		s.log().Warn("cannot log in to Vault, trying again", "error", err)
	}
}

// tellChanged wakes who waits. The caller holds mu.
func (s *loginSession) tellChanged() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// renew asks for the token's whole lease anew
// (https://developer.hashicorp.com/vault/api-docs/auth/token#renew-a-token-self).
func (s *loginSession) renew(ctx context.Context, g *vaultToken) (lease, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	a, err := send(ctx, s.client, g.token, request{method: http.MethodPost, path: "auth/token/renew-self", body: struct{}{}})
	if err != nil {
		return lease{}, err
	}
	if a.status != http.StatusOK {
		return lease{}, sessionError(a.status, messages(a.body), g.token)
	}
	secret, err := api.ParseSecret(bytes.NewReader(a.body))
	if err != nil || secret == nil || secret.Auth == nil {
		return lease{}, errNoToken
	}
	return leaseOf(secret), nil
}

// isRefusal reports whether Vault said no, rather than nothing.
func isRefusal(err error) bool {
	var e *StatusError
	return errors.As(err, &e) &&
		(e.Status == http.StatusForbidden || e.Status == http.StatusBadRequest || e.Status == http.StatusNotFound)
}

// revoke ends a token, if Vault lets it.
func (s *loginSession) revoke(ctx context.Context, g *vaultToken) {
	ctx, cancel := context.WithTimeout(ctx, revokeTimeout)
	defer cancel()
	_, _ = send(ctx, s.client, g.token, request{method: http.MethodPost, path: "auth/token/revoke-self", body: struct{}{}})
}
