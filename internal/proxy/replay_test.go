package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/body"
	"github.com/upstreamauth/caddy-upstream-auth/internal/body/bodytest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
)

// script is a transport that gives one answer after the other and notes the tokens
// that it was sent.
type script struct {
	answers []any // a status, a *http.Response or an error
	tokens  []string
	bodies  []string
}

func (s *script) RoundTrip(req *http.Request) (*http.Response, error) {
	s.tokens = append(s.tokens, strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "))
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		req.Body.Close()
		s.bodies = append(s.bodies, string(body))
	}
	next := s.answers[0]
	s.answers = s.answers[1:]
	switch next := next.(type) {
	case int:
		return answer(next), nil
	case *http.Response:
		return next, nil
	default:
		return nil, next.(error)
	}
}

func challenge(status int, challenges ...string) *http.Response {
	res := answer(status)
	res.Header["Www-Authenticate"] = challenges
	return res
}

func TestWhichAnswersAreRefreshedAndReplayed(t *testing.T) {
	on403 := func(status int, _ http.Header) bool { return status == 403 }
	for _, test := range []struct {
		name                         string
		refreshOn                    func(int, http.Header) bool
		answers                      []any
		status                       int
		attempts                     int
		refreshes, rejected, accepts int32
	}{
		{"200", nil, []any{200}, 200, 1, 0, 0, 0},
		{"401 then 200", nil, []any{401, 200}, 200, 2, 1, 0, 1},
		{"401 twice", nil, []any{401, 401}, 401, 2, 1, 1, 0},
		{"401 then 500", nil, []any{401, 500}, 500, 2, 1, 0, 1},
		{"401 then insufficient scope", nil, []any{401, challenge(401, `Bearer error="insufficient_scope"`)}, 401, 2, 1, 0, 1},
		{"403", nil, []any{403}, 403, 1, 0, 0, 0},
		{"407", nil, []any{407}, 407, 1, 0, 0, 0},
		{"403 if told so", on403, []any{403, 200}, 200, 2, 1, 0, 1},
		{"403 twice if told so", on403, []any{403, 403}, 403, 2, 1, 1, 0},
		{"401 if told of 403 alone", on403, []any{401}, 401, 1, 0, 0, 0},
		{"insufficient scope", nil, []any{challenge(401, `Basic realm="x", Bearer scope="a b", error="insufficient_scope"`)}, 401, 1, 0, 0, 0},
		{"insufficient scope if told of 403", on403, []any{challenge(403, `Bearer error=insufficient_scope`)}, 403, 1, 0, 0, 0},
		{"invalid token", nil, []any{challenge(401, `Bearer error="invalid_token"`), 200}, 200, 2, 1, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			x, c := newExchange(t)
			x.RefreshOn = test.refreshOn
			base := &script{answers: test.answers}
			res, err := (&Transport{Base: base}).RoundTrip(newRequest(t, x, "POST", "http://upstream.example/", strings.NewReader("body")))
			if err != nil || res.StatusCode != test.status {
				t.Fatal(res, err)
			}
			if len(base.tokens) != test.attempts || len(base.answers) > 0 {
				t.Errorf("%d attempts", len(base.tokens))
			}
			for i, body := range base.bodies {
				if want := []string{"old", "new"}[i]; body != "body" || base.tokens[i] != want {
					t.Errorf("attempt %d sent %q with %q", i, body, base.tokens[i])
				}
			}
			if len(res.Header[HeaderError]) > 0 || len(res.Header[HeaderReplay]) > 0 {
				t.Errorf("%v", res.Header)
			}
			c.expect(t, test.refreshes, test.rejected, test.accepts)
		})
	}
}

func TestWhatTheClientIsToldOfAFailedRefresh(t *testing.T) {
	withoutToken, err := credential.New(credential.Document{Data: []byte(`{}`), Version: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		fresh *credential.Credential
		err   error
		code  string
	}{
		{"for now", nil, fmt.Errorf("token endpoint: %w", renew.ErrFailed), "refresh_failed"},
		{"for good", nil, fmt.Errorf("token endpoint: %w", renew.ErrReauthorizationRequired), "reauthorization_required"},
		{"nothing new", nil, fmt.Errorf("no refresh: %w", renew.ErrUnchanged), ""},
		{"store down", nil, credential.ErrUnavailable, "refresh_failed"},
		{"caller waited too long", nil, context.DeadlineExceeded, "refresh_failed"},
		{"credential lacks a field", withoutToken, nil, "refresh_failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			x, c := newExchange(t)
			c.refresh = func(context.Context, *credential.Credential) (*credential.Credential, error) {
				return test.fresh, test.err
			}
			before := x.Credential
			res, err := (&Transport{Base: &script{answers: []any{401}}}).RoundTrip(newRequest(t, x, "GET", "http://upstream.example/", nil))
			if err != nil || res.StatusCode != 401 || res.Header.Get(HeaderError) != test.code || len(res.Header[HeaderReplay]) > 0 {
				t.Fatal(res, err)
			}
			if x.Credential != before {
				t.Error("the credential was replaced")
			}
			c.expect(t, 1, 0, 0)
		})
	}
}

func TestRefreshIsToldWhichCredentialWasRefused(t *testing.T) {
	x, c := newExchange(t)
	sent := x.Credential
	c.refresh = func(_ context.Context, rejected *credential.Credential) (*credential.Credential, error) {
		if rejected != sent {
			t.Error("another one")
		}
		return mustCredential(t, "new"), nil
	}
	if _, err := (&Transport{Base: &script{answers: []any{401, 200}}}).RoundTrip(newRequest(t, x, "GET", "http://upstream.example/", nil)); err != nil {
		t.Fatal(err)
	}
}

func TestBodyAboveTheLimitIsStreamedAndNotReplayed(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		body := string(bodytest.RandomBytes(200_000))
		for _, sized := range []bool{true, false} {
			t.Run(fmt.Sprintf("sized %v", sized), func(t *testing.T) {
				got := make(chan string, 2)
				u := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) {
					b, _ := io.ReadAll(r.Body)
					got <- string(b)
					http.Error(w, "refused", 401)
				})
				x, c := newExchange(t)
				x.Limits.MaxBody = int64(len(body)) - 1
				var source io.Reader = strings.NewReader(body)
				if !sized {
					source = unsized{source}
				}
				res := u.roundTrip(t, newRequest(t, x, "POST", u.URL, source))
				if <-got != body || len(got) > 0 {
					t.Error("the body did not arrive once")
				}
				if r := res.Header.Get(HeaderReplay); r != "skipped; reason=body-too-large" {
					t.Errorf("%s: %q", HeaderReplay, r)
				}
				expectAnswer(t, res, 401, "refused\n")
				c.expect(t, 1, 0, 0)
				if token, _ := x.Credential.Text("access_token"); token != "new" {
					t.Error("the credential was not replaced")
				}
			})
		}
	})
}

func TestFailedRecordingIsNotReplayed(t *testing.T) {
	x, _ := newExchange(t)
	noDirectory := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(noDirectory, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	x.Limits = body.Limits{MaxBody: 1 << 20, Dir: noDirectory}
	base := &script{answers: []any{401}}
	res, err := (&Transport{Base: base}).RoundTrip(newRequest(t, x, "POST", "http://upstream.example/", strings.NewReader("body")))
	if err != nil || res.Header.Get(HeaderReplay) != "skipped; reason=recording-failed" || base.bodies[0] != "body" {
		t.Fatal(res, err)
	}
}

func TestDirectoryOfRecordingsIsMade(t *testing.T) {
	x, _ := newExchange(t)
	x.Limits = body.Limits{MaxBody: 1 << 20, Dir: filepath.Join(t.TempDir(), "made", "too")}
	base := &script{answers: []any{401, 200}}
	res, err := (&Transport{Base: base}).RoundTrip(newRequest(t, x, "POST", "http://upstream.example/", strings.NewReader("body")))
	if err != nil || res.StatusCode != 200 || base.bodies[1] != "body" {
		t.Fatal(res, err)
	}
	if info, err := os.Stat(x.Limits.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info, err)
	}
}

func TestClientThatLeavesDuringTheRefresh(t *testing.T) {
	x, c := newExchange(t)
	ctx, leave := context.WithCancel(NewContext(t.Context(), x))
	c.refresh = func(ctx context.Context, _ *credential.Credential) (*credential.Credential, error) {
		leave()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	u := newUpstream(t, "h1", onlyNew)
	req := newRequest(t, x, "GET", u.URL, nil).WithContext(ctx)
	if res, err := u.RoundTrip(req); res != nil || err != context.Canceled {
		t.Fatal(res, err)
	}
	c.expect(t, 1, 0, 0)
}

func TestClientsReadErrorComesThroughAsItIs(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		u := newUpstream(t, protocol, onlyNew)
		x, _ := newExchange(t)
		body := http.MaxBytesReader(nil, io.NopCloser(strings.NewReader("0123456789")), 5)
		_, err := u.RoundTrip(newRequest(t, x, "POST", u.URL, body))
		var tooLarge *http.MaxBytesError
		if !errors.As(err, &tooLarge) {
			t.Fatal(err)
		}
	})
}

var errBroken = errors.New("connection broken")

func TestTransportsErrorsComeThroughAsTheyAre(t *testing.T) {
	for _, answers := range [][]any{{errBroken}, {401, errBroken}} {
		x, c := newExchange(t)
		res, err := (&Transport{Base: &script{answers: answers}}).RoundTrip(newRequest(t, x, "GET", "http://upstream.example/", nil))
		if res != nil || err != errBroken {
			t.Fatal(res, err)
		}
		c.expect(t, int32(len(answers)-1), 0, 0)
	}
}

// retry makes one round trip after the other for the same request of a client, as
// reverse_proxy does with lb_retries.
func retry(t *testing.T, base http.RoundTripper, req *http.Request) (*http.Response, error) {
	t.Helper()
	for {
		res, err := (&Transport{Base: base}).RoundTrip(req)
		if err == nil || !errors.Is(err, errBroken) {
			return res, err
		}
	}
}

func TestOneReplayOverAllRoundTrips(t *testing.T) {
	for _, test := range []struct {
		name     string
		answers  []any
		tokens   string
		status   int
		rejected int32
		accepted int32
	}{
		{"replay breaks, then 401", []any{401, errBroken, 401}, "old new new", 401, 1, 0},
		{"replay breaks twice, then 200", []any{401, errBroken, errBroken, 200}, "old new new new", 200, 0, 1},
		{"first try breaks", []any{errBroken, 401, 200}, "old old new", 200, 0, 1},
		{"all break", []any{errBroken, 401, errBroken, 401}, "old old new new", 401, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			x, c := newExchange(t)
			base := &script{answers: test.answers}
			res, err := retry(t, base, newRequest(t, x, "POST", "http://upstream.example/", unsized{strings.NewReader("body")}))
			if err != nil || res.StatusCode != test.status {
				t.Fatal(res, err)
			}
			if got := strings.Join(base.tokens, " "); got != test.tokens {
				t.Errorf("tokens %q", got)
			}
			for i, body := range base.bodies {
				if body != "body" {
					t.Errorf("attempt %d sent %q", i, body)
				}
			}
			c.expect(t, 1, test.rejected, test.accepted)
		})
	}
}

func TestOutcomeOfAReplayIsReportedOnce(t *testing.T) {
	x, c := newExchange(t)
	x.Retries = true
	base := &script{answers: []any{401, 200, 401, 200}}
	for _, want := range []int{200, 401, 200} {
		res, err := (&Transport{Base: base}).RoundTrip(newRequest(t, x, "GET", "http://upstream.example/", nil))
		if err != nil || res.StatusCode != want {
			t.Fatal(res, err)
		}
	}
	c.expect(t, 1, 0, 1)
}

func TestRetryNeverDeliversPartOfABody(t *testing.T) {
	for _, retries := range []bool{false, true} {
		for _, size := range []int{100, 500_000} {
			t.Run(fmt.Sprintf("%d bytes, retries expected %v", size, retries), func(t *testing.T) {
				text := string(bodytest.RandomBytes(size))
				x, _ := newExchange(t)
				x.Retries = retries
				req := newRequest(t, x, "POST", "http://upstream.example/", unsized{strings.NewReader(text)})
				first := &Transport{Base: roundTripperFunc(func(req *http.Request) (*http.Response, error) {
					_, err := io.ReadFull(req.Body, make([]byte, 50))
					return answer(503), err
				})}
				if res, err := first.RoundTrip(req); err != nil || res.StatusCode != 503 {
					t.Fatal(res, err)
				}
				base := &script{answers: []any{200}}
				res, err := (&Transport{Base: base}).RoundTrip(req)
				switch {
				case err == nil && res.StatusCode == 200 && base.bodies[0] == text:
					// All that was read is still there, as the first attempt goes on.
				case retries || !errors.Is(err, body.ErrGone) || len(base.bodies) > 0:
					t.Fatal(res, err)
				}
			})
		}
	}
}

func TestRetryAfterAFailedAttemptSendsAll(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		body := string(bodytest.RandomBytes(500_000))
		broken := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, 1000))
			panic(http.ErrAbortHandler)
		})
		good := newUpstream(t, protocol, onlyNew)
		x, c := newExchange(t)
		req := newRequest(t, x, "POST", broken.URL, unsized{strings.NewReader(body)})
		if res, err := broken.RoundTrip(req); err == nil {
			res.Body.Close()
			t.Fatal(res)
		}
		req = newRequest(t, x, "POST", good.URL, req.Body)
		expectAnswer(t, good.roundTrip(t, req), 200, body)
		c.expect(t, 1, 0, 1)
	})
}

func TestTransportBeneathMayReadTheBodyAgain(t *testing.T) {
	x, _ := newExchange(t)
	transport := &Transport{Base: roundTripperFunc(func(req *http.Request) (*http.Response, error) {
		if _, err := io.ReadFull(req.Body, make([]byte, 3)); err != nil {
			t.Error(err)
		}
		req.Body.Close()
		for range 2 {
			again, err := req.GetBody()
			if err != nil {
				t.Fatal(err)
			}
			bodytest.MustRead(t, again, []byte("whole body"))
			again.Close()
		}
		x.body.Stop()
		if _, err := req.GetBody(); !errors.Is(err, body.ErrGone) {
			t.Error(err)
		}
		return answer(200), nil
	})}
	if _, err := transport.RoundTrip(newRequest(t, x, "POST", "http://upstream.example/", strings.NewReader("whole body"))); err != nil {
		t.Fatal(err)
	}
}

func TestStreamInBothDirections(t *testing.T) {
	for _, protocol := range []string{"h2", "h2c"} {
		t.Run(protocol, func(t *testing.T) {
			u := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(200)
				w.(http.Flusher).Flush()
				line := make([]byte, 1000)
				for {
					n, err := r.Body.Read(line)
					_, _ = w.Write(line[:n])
					w.(http.Flusher).Flush()
					if err != nil {
						return
					}
				}
			})
			x, _ := newExchange(t)
			client, sender := io.Pipe()
			res := u.roundTrip(t, newRequest(t, x, "POST", u.URL, client))
			if x.body.IsWhole() {
				t.Error("it is still recorded")
			}
			for i := range 100 {
				line := fmt.Sprintf("line %d", i)
				fmt.Fprint(sender, line)
				got := make([]byte, len(line))
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != line {
					t.Fatal(string(got), err)
				}
			}
			sender.Close()
			expectAnswer(t, res, 200, "")
			if x.body.Held() > 0 {
				t.Error("something is kept")
			}
		})
	}
}

func TestExchangeClosesWhileAGivenUpAttemptStillReads(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		u := newUpstream(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, 5))
			refuseEarly(t, w, r)
		})
		x, c := newExchange(t)
		c.refresh = func(context.Context, *credential.Credential) (*credential.Credential, error) {
			return nil, renew.ErrFailed
		}
		client, sender := io.Pipe()
		go fmt.Fprint(sender, "first")
		res := u.roundTrip(t, newRequest(t, x, "POST", u.URL, client))
		if res.StatusCode != 401 {
			t.Fatal(res.Status)
		}
		x.Close()
		sender.Close() // As a server does when its handler has returned.
		res.Body.Close()
		x.Close()
	})
}
