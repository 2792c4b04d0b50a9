package vaultstore

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/vault/api"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Store is a [credential.Store] on Vault's KV secrets engine. It is safe for
// concurrent use, and made to be shared by all that use the same [Config].
type Store struct {
	cfg       Config // with its defaults
	client    *api.Client
	transport *http.Transport
	session   session
	mount     *mountCheck
	logger    atomic.Pointer[slog.Logger]

	// noForward is set when Vault's configuration refuses to be told to forward.
	noForward atomic.Bool

	open  sync.Once
	life  context.Context // done when the store is closed
	end   context.CancelFunc
	ended chan struct{} // closed when the session's goroutine is gone; nil: never started
}

var _ credential.Store = (*Store)(nil)

// New makes a store of a configuration, which it validates. It dials nothing and
// starts nothing. A nil logger discards.
func New(cfg Config, logger *slog.Logger) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg.WithDefaults(), mount: newMountCheck()}
	s.SetLogger(logger)
	var err error
	if s.transport, err = newTransport(&s.cfg); err != nil {
		return nil, err
	}
	if s.client, err = newClient(&s.cfg, s.transport); err != nil {
		return nil, err
	}
	s.life, s.end = context.WithCancel(context.Background())
	if s.cfg.Auth.Method == MethodTokenFile {
		s.session = &tokenFile{name: s.cfg.Auth.TokenFile, log: s.log}
	} else {
		s.session = newLoginSession(s.life, &s.cfg.Auth, s.client, s.log)
	}
	return s, nil
}

// SetLogger replaces the logger: the store may outlive the configuration that
// made it. A nil logger discards.
func (s *Store) SetLogger(logger *slog.Logger) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s.logger.Store(logger)
}

func (s *Store) log() *slog.Logger { return s.logger.Load() }

// Open starts the session with Vault: a goroutine that logs in now and keeps the
// store logged in until [Store.Close]. It does not wait for the login. The first
// request opens the store as well; opening again does nothing.
func (s *Store) Open() {
	s.open.Do(func() {
		s.ended = make(chan struct{})
		go func() {
			defer close(s.ended)
			s.session.run(s.life, func(ctx context.Context) {
				ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
				defer cancel()
				_ = s.checkMount(ctx, true) // logs; requests look for themselves
				s.warnOfRoot(ctx)
			})
		}()
	})
}

// Close ends the session and returns when its goroutine is gone. Requests that
// come later, of a configuration that is being replaced, are made with the token
// that there is; without one they fail. A closed store does not open again.
func (s *Store) Close() error {
	s.open.Do(func() {})
	s.end()
	if s.ended != nil {
		<-s.ended
	}
	s.transport.CloseIdleConnections()
	return nil
}

// call makes a request with the session's token. When Vault refuses it with 403,
// by which it did nothing, it is made once more with a new token. The error means
// that there is no answer.
func (s *Store) call(ctx context.Context, r request) (answer, error) {
	g, err := s.session.token(ctx)
	if err != nil {
		return answer{}, err
	}
	a, err := send(ctx, s.client, g.token, r)
	if err != nil || a.status != http.StatusForbidden {
		return a, err
	}
	fresh, err := s.session.replace(ctx, g)
	if err != nil {
		return answer{}, fmt.Errorf("permission denied, and %w", err)
	}
	if fresh == nil {
		return a, nil
	}
	return send(ctx, s.client, fresh.token, r)
}

// enter is the beginning of each operation.
func (s *Store) enter(ctx context.Context) error {
	s.Open()
	return s.checkMount(ctx, false)
}

// leave is the end of each operation.
func (s *Store) leave() {
	if s.life.Err() != nil {
		s.transport.CloseIdleConnections()
	}
}

// failure is what an operation returns for an answer that is none to it: an
// ErrUnavailable with Vault's words, or with what is wrong with the mount. It is
// also the needed permission, if Vault's policy does not give it.
func (s *Store) failure(ctx context.Context, doing string, needed *credential.PermissionError, a answer) error {
	err := documentError(a)
	switch a.status {
	case http.StatusForbidden:
		// A token that Vault does not know is no matter of the policy. There is no
		// better one to be had for now, or call would have used it.
		if !slices.Contains(err.Messages, "invalid token") {
			return unavailable(doing, fmt.Errorf("%w: %w", needed, err))
		}
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed:
		if wrong := s.checkMount(ctx, true); wrong != nil {
			return unavailable(doing, fmt.Errorf("%w: %w", wrong, err))
		}
	}
	return unavailable(doing, fmt.Errorf("mount %q: %w", s.cfg.Mount, err))
}

func unavailable(doing string, err error) error {
	return fmt.Errorf("%w: %s: %w", credential.ErrUnavailable, doing, err)
}
