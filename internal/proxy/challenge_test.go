package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// nonceScheme sends the access token and, once an upstream has told one, its nonce.
type nonceScheme struct {
	t     testing.TB
	nonce atomic.Pointer[string]
	asked atomic.Int32
}

func (s *nonceScheme) Names() scheme.Names { return scheme.Names{Header: []string{"Authorization"}} }

func (s *nonceScheme) Bind(c *credential.Credential) (scheme.Authenticator, error) {
	token, err := c.Text("access_token")
	return &nonceAuthenticator{s, token}, err
}

type nonceAuthenticator struct {
	scheme *nonceScheme
	token  string
}

func (a *nonceAuthenticator) Authenticate(req *http.Request, _ scheme.Body) error {
	value := "Bearer " + a.token
	if nonce := a.scheme.nonce.Load(); nonce != nil {
		value += " " + *nonce
	}
	req.Header["Authorization"] = []string{value}
	return nil
}

func (a *nonceAuthenticator) Challenge(res *http.Response) bool {
	a.scheme.asked.Add(1)
	if res.Body != http.NoBody {
		a.scheme.t.Error("the challenge has a body")
	}
	nonce := res.Header.Get("X-Nonce")
	if nonce == "" {
		return false
	}
	a.scheme.nonce.Store(&nonce)
	return true
}

// withNonce is a refusal that asks for a nonce.
func withNonce(nonce string) *http.Response {
	res := challenge(401, "DPoP")
	res.Header["X-Nonce"] = []string{nonce}
	return res
}

func TestChallengeIsAnsweredBeforeTheCredentialIsRenewed(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		for name, refreshes := range map[string]int32{"old": 0, "new": 1} {
			t.Run("the upstream wants the "+name+" token", func(t *testing.T) {
				var attempts atomic.Int32
				u := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) {
					attempts.Add(1)
					switch r.Header.Get("Authorization") {
					case "Bearer " + name + " n1":
						body, _ := io.ReadAll(r.Body)
						_, _ = w.Write(body)
					case "Bearer old":
						w.Header().Set("X-Nonce", "n1")
						http.Error(w, "refused", http.StatusUnauthorized)
					default:
						http.Error(w, "refused", http.StatusUnauthorized)
					}
				})
				s := &nonceScheme{t: t}
				x, c := newExchange(t, s)
				body := string(bodytest.RandomBytes(100_000))
				res := u.roundTrip(t, newRequest(t, x, "POST", u.URL, unsized{strings.NewReader(body)}))
				expectAnswer(t, res, 200, body)
				c.expect(t, refreshes, 0, refreshes)
				if attempts.Load() != 2+refreshes || s.asked.Load() != 1 {
					t.Errorf("%d attempts, asked %d times", attempts.Load(), s.asked.Load())
				}
			})
		}
	})
}

func TestOneReplayForAChallengeAndOneForARenewal(t *testing.T) {
	for _, test := range []struct {
		name                         string
		fresh                        bool
		answers                      []any
		sent                         string
		status                       int
		asked                        int32
		refreshes, rejected, accepts int32
	}{
		{"nothing to answer", false, []any{200}, "old", 200, 0, 0, 0, 0},
		{"a nonce", false, []any{withNonce("n1"), 200}, "old, old n1", 200, 1, 0, 0, 0},
		{"a nonce, then no", false, []any{withNonce("n1"), 401, 200}, "old, old n1, new n1", 200, 1, 1, 0, 1},
		{"a nonce each time", false, []any{withNonce("n1"), withNonce("n2"), withNonce("n3")}, "old, old n1, new n1", 401, 1, 1, 1, 0},
		{"no nonce", false, []any{401, 200}, "old, new", 200, 1, 1, 0, 1},
		{"a nonce after the renewal", false, []any{401, withNonce("n1")}, "old, new", 401, 1, 1, 1, 0},
		{"insufficient scope", false, []any{challenge(401, `DPoP error="insufficient_scope"`)}, "old", 401, 0, 0, 0, 0},
		{"the replay breaks", false, []any{withNonce("n1"), errBroken, withNonce("n2"), 200}, "old, old n1, old n1, new n1", 200, 1, 1, 0, 1},

		// The upstream has not rejected a fresh token by asking for a nonce.
		{"a fresh token and a nonce", true, []any{withNonce("n1"), 200}, "old, old n1", 200, 1, 0, 0, 1},
		{"a fresh token and a nonce, then no", true, []any{withNonce("n1"), 401, 200}, "old, old n1, new n1", 200, 1, 1, 1, 1},
		{"a fresh token and no nonce", true, []any{401, 200}, "old, new", 200, 1, 1, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &nonceScheme{t: t}
			x, c := newExchange(t, s)
			x.Fresh = test.fresh
			base := &script{answers: test.answers}
			res, err := retry(t, base, newRequest(t, x, "POST", "http://upstream.example/", unsized{strings.NewReader("body")}))
			if err != nil || res.StatusCode != test.status || len(base.answers) > 0 {
				t.Fatal(res, err)
			}
			if got := strings.Join(base.tokens, ", "); got != test.sent {
				t.Errorf("sent %q, want %q", got, test.sent)
			}
			for i, body := range base.bodies {
				if body != "body" {
					t.Errorf("attempt %d sent %q", i, body)
				}
			}
			if s.asked.Load() != test.asked {
				t.Errorf("asked %d times", s.asked.Load())
			}
			c.expect(t, test.refreshes, test.rejected, test.accepts)
		})
	}
}

func TestEachChallengerIsTold(t *testing.T) {
	one, two := &nonceScheme{t: t}, &nonceScheme{t: t}
	x, _ := newExchange(t, one, &schemeFunc{names: scheme.Names{Header: []string{"X-Proof"}}, bind: func(token string) scheme.Authenticator {
		return &nonceAuthenticator{two, token}
	}})
	if _, err := (&Transport{Base: &script{answers: []any{withNonce("n1"), 200}}}).RoundTrip(newRequest(t, x, "GET", "http://upstream.example/", nil)); err != nil {
		t.Fatal(err)
	}
	if one.asked.Load() != 1 || two.asked.Load() != 1 {
		t.Errorf("asked %d and %d times", one.asked.Load(), two.asked.Load())
	}
}

func TestChallengeWithABodyThatCannotBeReplayed(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		for _, fresh := range []bool{false, true} {
			t.Run(fmt.Sprintf("fresh %v", fresh), func(t *testing.T) {
				var attempts atomic.Int32
				u := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) {
					attempts.Add(1)
					_, _ = io.Copy(io.Discard, r.Body)
					w.Header().Set("X-Nonce", "n1")
					http.Error(w, "refused", http.StatusUnauthorized)
				})
				x, c := newExchange(t, &nonceScheme{t: t})
				x.Limits.MaxBody, x.Fresh = 3, fresh
				res := u.roundTrip(t, newRequest(t, x, "POST", u.URL, unsized{strings.NewReader("body")}))
				if got := res.Header.Get(HeaderReplay); got != "skipped; reason=body-too-large" || len(res.Header[HeaderError]) > 0 {
					t.Errorf("%v", res.Header)
				}
				expectAnswer(t, res, 401, "refused\n")
				if attempts.Load() != 1 {
					t.Errorf("%d attempts", attempts.Load())
				}
				c.expect(t, 0, 0, 0) // Nobody said that the token is no good.
			})
		}
	})
}

func TestChallengeThatNobodyAnswersIsPassedOnWhole(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		u := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "refused", http.StatusUnauthorized) })
		x, c := newExchange(t, &nonceScheme{t: t})
		c.refresh = func(context.Context, *credential.Credential) (*credential.Credential, error) {
			return nil, errors.New("no")
		}
		res := u.roundTrip(t, newRequest(t, x, "GET", u.URL, nil))
		expectAnswer(t, res, 401, "refused\n")
		c.expect(t, 1, 0, 0)
	})
}
