package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/ory/fosite"
)

// Outcome is what became of one token request.
type Outcome string

// The outcomes.
const (
	Pending Outcome = "pending" // not answered yet
	Granted Outcome = "granted" // a code, or what needs neither code nor refresh token, answered with the first tokens
	Rotated Outcome = "rotated" // a refresh token, answered with new tokens
	Kept    Outcome = "kept"    // a refresh token that stays as it is, answered with a new access token
	Lost    Outcome = "lost"    // granted or rotated, but the client was not told
	Invalid Outcome = "invalid" // invalid_grant
	Reused  Outcome = "reused"  // invalid_grant for a spent or revoked token, or a spent code; its family is revoked
	Refused Outcome = "refused" // anything else; the token is as it was
)

// Entry is one token request.
type Entry struct {
	Grant   string // the parameter "grant_type"
	Tenant  string // whose refresh token, code or assertion it was, or who asked; empty if nobody's
	Token   string // SHA-256 of the refresh token, code or assertion presented, in hex; empty if there was none
	Sender  string // the parameter "sender", by which a test tells its clients apart
	Outcome Outcome
	At      time.Time // when it arrived
	Settled time.Time // when its outcome was certain

	// Answered is when the server began to answer, or closed the connection. It is zero
	// before, though the outcome may be certain already.
	Answered time.Time
}

// Behaviour is what the server does with one token request.
type Behaviour struct {
	// Before, if not nil, runs before anything else: a delay, or a gate.
	Before func()

	// Instead, if not nil, answers, and nothing is spent.
	Instead http.HandlerFunc

	// Keep leaves the refresh token as it is, and answers with it again.
	Keep bool

	// Between, if not nil, runs when the grant is made, or refused, and is not
	// answered yet. The ledger has its outcome already.
	Between func()

	// After is what follows a successful grant.
	After After

	// Claims, if not nil, may change the claims of the ID token before it is signed.
	Claims func(claims map[string]any)

	// ForeignKey signs the ID token with a key that the key set does not have, under
	// the ID of the one that it has.
	ForeignKey bool
}

// After is how the server ends a request whose token or code it has spent.
type After int

// What may follow.
const (
	Answer   After = iota // send the new tokens
	Drop                  // close the connection without an answer
	Error500              // answer 500
)

// HangUp closes the connection without an answer.
func HangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// Unavailable answers 503 with a Retry-After header.
func Unavailable(retryAfter string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", retryAfter)
		http.Error(w, "try later", http.StatusServiceUnavailable)
	}
}

// Script decides on each token request, in the order of their arrival. It is
// called under a lock: it must not block, nor call the server. Its argument has
// the outcome Pending.
type Script func(e Entry) Behaviour

// Play sets the script for all token requests from now on; nil behaves well.
func (s *Server) Play(script Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

// PlayFor is Play for the token requests of one tenant. With nil that tenant goes
// by the script for all.
func (s *Server) PlayFor(tenant string, script Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[tenant] = script
}

// Ledger returns all token requests so far, in the order of their arrival.
func (s *Server) Ledger() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ledger)
}

// Of returns the token requests of one tenant.
func (s *Server) Of(tenant string) []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var entries []Entry // no copy of the whole, which may be long
	for _, e := range s.ledger {
		if e.Tenant == tenant {
			entries = append(entries, e)
		}
	}
	return entries
}

// PresentedTwice returns the entries whose refresh token, or code, came before. A token
// that was kept may come as often as it likes.
func (s *Server) PresentedTwice() []Entry {
	var twice []Entry
	seen := make(map[string]bool)
	for _, e := range s.Ledger() {
		if e.Token != "" && seen[e.Token] {
			twice = append(twice, e)
		}
		seen[e.Token] = e.Outcome != Kept
	}
	return twice
}

// Await returns once ready holds of the ledger, or ctx is done.
func (s *Server) Await(ctx context.Context, ready func([]Entry) bool) error {
	for {
		s.mu.Lock()
		ledger, changed := slices.Clone(s.ledger), s.changed
		s.mu.Unlock()
		if ready(ledger) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// present notes a request and returns its number and what to do with it.
func (s *Server) present(r *http.Request) (number int, b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := Entry{Grant: r.PostForm.Get("grant_type"), Sender: r.PostForm.Get("sender"), Outcome: Pending, At: time.Now()}
	switch e.Grant {
	case "authorization_code":
		code := r.PostForm.Get("code")
		e.Tenant, e.Token = s.ownerOfCode(code), fingerprint(code)
	case grantClientCredentials:
		e.Tenant = clientOf(r)
	case grantPassword:
		e.Tenant = r.PostForm.Get("username")
	case grantJWTBearer:
		assertion := r.PostForm.Get("assertion")
		e.Tenant, e.Token = aboutWhom(assertion), fingerprint(assertion)
	default:
		token := r.PostForm.Get("refresh_token")
		e.Tenant, e.Token = s.ownerOf(token), fingerprint(token)
	}
	s.ledger = append(s.ledger, e)
	s.wake()
	script := s.scripts[e.Tenant]
	if script == nil {
		script = s.script
	}
	if script != nil {
		b = script(e)
	}
	return len(s.ledger) - 1, b
}

func (s *Server) settle(number int, outcome Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger[number].Outcome, s.ledger[number].Settled = outcome, time.Now()
	s.wake()
}

func (s *Server) answering(number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger[number].Answered = time.Now()
	s.wake()
}

func (s *Server) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) ownerOf(refreshToken string) string {
	signature := s.strategy.RefreshTokenSignature(context.Background(), refreshToken)
	if session, ok := s.store.RefreshTokens[signature]; ok {
		return session.GetSession().GetSubject()
	}
	return ""
}

func (s *Server) ownerOfCode(code string) string {
	signature := s.strategy.AuthorizeCodeSignature(context.Background(), code)
	if session, ok := s.store.AuthorizeCodes[signature]; ok {
		return session.GetSession().GetSubject()
	}
	return ""
}

func fingerprint(secret string) string {
	hash := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(hash[:])
}

func outcomeOf(err error) Outcome {
	switch {
	case errors.Is(err, fosite.ErrInactiveToken):
		return Reused
	case errors.Is(err, fosite.ErrInvalidGrant):
		return Invalid
	default:
		return Refused
	}
}
